"""The published samples: read, compared with what others made of them, written and read back."""

from __future__ import annotations

from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from matplotlib.path import Path as Outline

from dinoseg.data.dicom import (
    find_series,
    read_segmentation,
    read_series,
    read_structures,
    write_segmentation,
)
from dinoseg.data.volumes import LabelVolume, check_same_geometry, read_label, to_canonical
from dinoseg.errors import LabelError, UsageError

SAMPLES = Path(__file__).parents[3] / "../shared/data/dicom-samples"
pytestmark = pytest.mark.skipif(not SAMPLES.is_dir(), reason="needs the DICOM samples in ../shared/data")


def test_listing_and_choice() -> None:
    found = {each.uid: each for each in find_series(SAMPLES)}
    shapes = {each.shape for each in found.values() if each.is_image}
    assert shapes == {(3, 512, 512), (32, 51, 35), (2, 512, 512), (20, 512, 512)}
    assert sorted(each.modality for each in found.values() if not each.is_image) == [
        "RTSTRUCT",
        "RTSTRUCT",
        "SEG",
        "SEG",
    ]
    assert not [each for each in found.values() if each.problem]
    with pytest.raises(UsageError, match="holds 4 series"):
        read_series(SAMPLES)


def test_existing_segmentation_is_the_label_of_its_series() -> None:
    volume = read_series(SAMPLES / "dcmqi-seg")
    label = read_segmentation(SAMPLES / "dcmqi-seg" / "liver.dcm", volume.reference)
    assert label.classes == {1: "Liver"}
    check_same_geometry(volume, label)
    # The same voxels, exported by the program that drew them.
    other = read_label(SAMPLES / "dcmqi-seg" / "liver_seg.nrrd")
    check_same_geometry(volume, other)
    np.testing.assert_array_equal(label.array, other.array)
    assert 40 < np.median(volume.array[0][label.array == 1]) < 150  # Hounsfield units of a liver


def test_overlapping_segments() -> None:
    path = SAMPLES / "dcmqi-seg" / "partial_overlaps.dcm"
    with pytest.raises(LabelError, match="the segments GREEN and ORANGE overlap"):
        read_segmentation(path, SAMPLES / "dcmqi-seg")
    label = read_segmentation(path, SAMPLES / "dcmqi-seg", names=["ORANGE"])
    expected = highdicom.seg.segread(path).get_pixels_by_source_instance(
        [each.sop_uid for each in read_series(SAMPLES / "dcmqi-seg").reference.slices],
        segment_numbers=[2],
        ignore_spatial_locations=True,
        assert_missing_frames_are_empty=True,
    )
    np.testing.assert_array_equal(label.array, expected[..., 0])
    assert label.array.any()


def test_structures() -> None:
    folder = SAMPLES / "rt-utils-rtstruct"
    label = read_structures(folder / "rt.dcm", folder)
    assert label.classes == {1: "ROI-1"}
    assert not label.array[1].any()
    # The square without the octagon in it, by the centres of pixels in mm.
    dataset = pydicom.dcmread(folder / "rt.dcm")
    slice_ = pydicom.dcmread(folder / "ct_1.dcm")
    spacing, origin = float(slice_.PixelSpacing[0]), np.array(slice_.ImagePositionPatient[:2], dtype=float)
    columns, rows = np.meshgrid(np.arange(512), np.arange(512))
    centres = origin + spacing * np.stack([columns.ravel(), rows.ravel()], axis=1)
    inside = np.zeros(512 * 512, dtype=bool)
    for contour in dataset.ROIContourSequence[0].ContourSequence:
        points = np.array(contour.ContourData, dtype=float).reshape(-1, 3)[:, :2]
        inside ^= Outline(points).contains_points(centres)
    np.testing.assert_array_equal(label.array[0] == 1, inside.reshape(512, 512))


@pytest.mark.parametrize("name", ["invalid_reference_rt.dcm", "non_existent_reference_rt.dcm"])
def test_structures_whose_slice_is_missing(name: str) -> None:
    folder = SAMPLES / "rt-utils-rtstruct"
    with pytest.raises(LabelError, match=r"ROI-1 at \(-50\.05, -42\.48, 70\.00\) lies on none of the 2"):
        read_structures(folder / name, folder)


def test_jpeg_2000_series_lies_where_its_label_says() -> None:
    volume = read_series(SAMPLES / "totalseg-ct-jpeg2000")
    assert (volume.array.dtype, int(volume.array.min())) == (np.int16, -1024)
    label = to_canonical(read_label(SAMPLES / "totalseg-ct-jpeg2000" / "example_seg_dicom.nii.gz")).volume
    turned = to_canonical(volume).volume
    check_same_geometry(turned, label)
    assert turned.array[0][label.array == 5].mean() > 40  # soft tissue
    assert turned.array[0][label.array == 0].mean() < -500  # mostly air


def test_emptied_identifiers_cannot_be_pointed_to(tmp_path: Path) -> None:
    volume = read_series(SAMPLES / "totalseg-ct-jpeg2000")
    label = LabelVolume(np.ones(volume.geometry.shape, np.uint8), volume.geometry, tmp_path, "mask")
    with pytest.raises(LabelError, match="has no StudyInstanceUID, SeriesInstanceUID"):
        write_segmentation(
            tmp_path / "seg.dcm",
            label,
            reference=volume.reference,
            classes={1: "liver"},
            algorithm_name="a",
            algorithm_version="1",
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["dcmqi-seg", "mr-hcrop-series", "rt-utils-rtstruct"])
def test_masks_are_written_and_read_back(tmp_path: Path, name: str) -> None:
    volume = read_series(SAMPLES / name)
    values = volume.array[0]
    ids = np.digitize(values, np.quantile(values, [0.6, 0.9])).astype(np.uint8)
    label = LabelVolume(ids, volume.geometry, volume.source, "mask")
    write_segmentation(
        tmp_path / "seg.dcm",
        label,
        reference=volume.reference,
        classes={1: "liver", 2: "something bright", 3: "spleen"},
        algorithm_name="threshold",
        algorithm_version="1",
    )
    back = read_segmentation(tmp_path / "seg.dcm", SAMPLES / name)
    np.testing.assert_array_equal(back.array, ids)
    frames = highdicom.seg.segread(tmp_path / "seg.dcm").get_pixels_by_source_instance(
        [each.sop_uid for each in volume.reference.slices],
        combine_segments=True,
        ignore_spatial_locations=True,
    )
    np.testing.assert_array_equal(frames, ids)
