"""DICOM: series as volumes, SEG and RTSTRUCT as labels, SEG out of labels.

pydicom and highdicom come with the extra `dicom` and are loaded on first use.
"""

from __future__ import annotations

from dinoseg.data.dicom.labels import LabelledSeries, LabelObject, read_label_object, read_series_label
from dinoseg.data.dicom.reading import DicomVolume, read_series, read_series_shape
from dinoseg.data.dicom.reference import SeriesReference, read_reference
from dinoseg.data.dicom.segmentation_reader import NamedLabelVolume, read_segmentation
from dinoseg.data.dicom.segmentation_writer import WrittenSegmentation, write_segmentation
from dinoseg.data.dicom.series import (
    GivenSeries,
    Series,
    SeriesSurvey,
    find_series,
    group_files,
    survey_series,
)
from dinoseg.data.dicom.structures import read_structures

__all__ = [
    "DicomVolume",
    "GivenSeries",
    "LabelObject",
    "LabelledSeries",
    "NamedLabelVolume",
    "Series",
    "SeriesReference",
    "SeriesSurvey",
    "WrittenSegmentation",
    "find_series",
    "group_files",
    "read_label_object",
    "read_reference",
    "read_segmentation",
    "read_series",
    "read_series_label",
    "read_series_shape",
    "read_structures",
    "survey_series",
    "write_segmentation",
]
