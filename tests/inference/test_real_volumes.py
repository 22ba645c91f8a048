"""Real files: what is predicted lies in place over what was given."""

from __future__ import annotations

from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest

from dinoseg.config import PercentileIntensity, PreprocessingSettings, WindowIntensity
from dinoseg.data.volumes import read_label, read_volume
from dinoseg.inference import predict, predict_files
from dinoseg.model.segmenter import Segmenter
from dinoseg.outputs.manifest import MANIFEST
from tests.data.samples import shared_data
from tests.inference.models import make_vit

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model() -> Segmenter:
    settings = PreprocessingSettings(size=64, intensity=PercentileIntensity(), context=3)
    return make_vit("segdino-v1", preprocessing=settings)


def test_masks_of_nifti_files_open_in_place(model: Segmenter, tmp_path: Path) -> None:
    root = shared_data("nifti-samples")
    images = [root / f"{name}.nii.gz" for name in ("example_ct", "example_ct_sm", "example_mr_sm")]
    report = predict_files(model, images, tmp_path, planes=("axial", "coronal", "sagittal"))
    assert report.exit_code == 0
    for file in report.files:
        given, written = nibabel.load(file.source), nibabel.load(file.mask)
        assert written.shape == given.shape
        assert np.abs(written.affine - given.affine).max() < 1e-6
        assert written.get_data_dtype() == np.uint8
        voxel = abs(np.linalg.det(given.affine[:3, :3])) / 1000
        assert sum(file.volumes_ml.values()) == pytest.approx(np.prod(given.shape) * voxel)
        assert file.overlay.stat().st_size > 10_000


def test_masks_of_nrrd_files_open_in_place(model: Segmenter, tmp_path: Path) -> None:
    images = sorted(shared_data("nrrd-samples").glob("*_image.nrrd"))
    assert len(images) == 3
    report = predict_files(model, images, tmp_path)
    assert report.exit_code == 0
    for file in report.files:
        given, written = nrrd.read_header(str(file.source)), nrrd.read_header(str(file.mask))
        assert written["sizes"].tolist() == given["sizes"].tolist()
        label, volume = read_label(file.mask), read_volume(file.source)
        assert np.abs(label.affine - volume.affine).max() < 1e-6


def test_segmentations_of_dicom_series_point_to_their_slices(tmp_path: Path) -> None:
    pydicom, highdicom = pytest.importorskip("pydicom"), pytest.importorskip("highdicom")
    root = shared_data("dicom-samples")
    settings = PreprocessingSettings(size=64, intensity=WindowIntensity())
    model = make_vit("segdino-v1", {0: "background", 1: "liver", 2: "spleen"}, preprocessing=settings)
    series = root / "dcmqi-seg" / "ct-3slice"
    report = predict_files(model, [series], tmp_path, volume_format="dicom-seg")
    assert [failure.reason for failure in report.failures] == []
    found = highdicom.seg.segread(report.files[0].mask)
    uids = {pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID for path in series.iterdir()}
    (referenced,) = found.ReferencedSeriesSequence
    assert {item.ReferencedSOPInstanceUID for item in referenced.ReferencedInstanceSequence} <= uids
    mask = predict(model, series).mask
    pixels = {int(segment.SegmentNumber): segment.SegmentLabel for segment in found.SegmentSequence}
    counts = {label: int((mask == {"liver": 1, "spleen": 2}[label]).sum()) for label in pixels.values()}
    frames = found.pixel_array.reshape(-1, *mask.shape[1:])
    assert int(frames.sum()) == sum(counts.values()) == int((mask > 0).sum())


def test_a_compressed_series_becomes_a_nifti_file_in_place(tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    root = shared_data("dicom-samples") / "totalseg-ct-jpeg2000"
    settings = PreprocessingSettings(size=64, intensity=WindowIntensity())
    model = make_vit("linear", preprocessing=settings)
    report = predict_files(model, [root / "ct"], tmp_path)
    assert [failure.reason for failure in report.failures] == []
    assert report.files[0].mask.name == "ct.nii.gz"
    assert np.abs(read_label(report.files[0].mask).affine - predict(model, root / "ct").affine).max() < 1e-5
    # Its SOP UIDs are there, those of study and series are not: a SEG would point to nothing.
    refused = predict_files(model, [root / "ct"], tmp_path / "seg", volume_format="dicom-seg")
    assert refused.exit_code == 3
    assert "could not point to it: write NIfTI" in refused.failures[0].reason
    written = {path.name for path in (tmp_path / "seg").rglob("*")}
    assert written == {"predictions.json", "predictions.jsonl", MANIFEST}
