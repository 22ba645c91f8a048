"""DICOM: series as volumes, SEG and RTSTRUCT as labels, SEG out of labels.

pydicom and highdicom come with the extra `dicom` and are loaded on first use.
"""

from __future__ import annotations

from dinoseg.data.dicom.reading import DicomVolume, read_series
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
    "NamedLabelVolume",
    "Series",
    "SeriesReference",
    "SeriesSurvey",
    "WrittenSegmentation",
    "find_series",
    "group_files",
    "read_reference",
    "read_segmentation",
    "read_series",
    "read_structures",
    "survey_series",
    "write_segmentation",
]
