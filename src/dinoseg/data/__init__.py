"""Files <-> `Case`: reading, layouts, splits, checks, phantoms."""

from __future__ import annotations

from dinoseg.data.case import Case, Image, LabelMap
from dinoseg.data.cases.images import read_case
from dinoseg.data.images import content_digest
from dinoseg.data.labels.mapping import LabelMapping
from dinoseg.data.layouts.dataset import CaseFiles, Dataset, open_dataset

__all__ = [
    "Case",
    "CaseFiles",
    "Dataset",
    "Image",
    "LabelMap",
    "LabelMapping",
    "content_digest",
    "open_dataset",
    "read_case",
]
