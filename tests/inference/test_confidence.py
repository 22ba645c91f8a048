"""Confidence on its way out: predictions.json, maps in the input's format, and the page to look at first."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image as PillowImage

from dinoseg.config import RangeIntensity
from dinoseg.errors import OutputError, UsageError
from dinoseg.inference import predict, predict_files, segment_volume
from dinoseg.inference.logits import FromLogits
from tests.inference.conftest import Draw
from tests.inference.models import THREE, make_glass
from tests.inference.test_ensembles import make_member
from tests.inference.volumes import make_volume, save_nifti

VOLUMES = {"intensity": RangeIntensity(minimum=0, maximum=1000)}


def test_numpy_and_torch_count_the_same() -> None:
    model = make_member("linear", seed=1)
    pixels = np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype(np.float32)
    for symmetries in (1, 2, 4, 8):
        torch_s = model.answer(pixels, [(40, 50)] * 2, symmetries=symmetries)
        numpy_s = FromLogits(model).answer(pixels, [(40, 50)] * 2, symmetries=symmetries)
        for one, two in zip(torch_s, numpy_s, strict=True):
            for name in ("predicted", "probable", "agreed"):
                assert getattr(one.tally, name) == pytest.approx(getattr(two.tally, name), rel=1e-4, abs=1e-3)
    assert torch_s[0].embedding.shape == (model.backbone.channels[-1],)


@pytest.mark.parametrize("options", [{}, {"window": 16}, {"flips": True}])
def test_uncertainty_is_high_between_the_classes(options: dict[str, object]) -> None:
    image = np.tile(np.linspace(0, 1, 64, dtype=np.float32), (48, 1))
    found = predict(make_glass(size=64), image, uncertainty=True, **options)
    assert found.uncertainty.shape == (48, 64)
    assert found.uncertainty[:, 30:34].min() > 0.7 > 0.1 > found.uncertainty[:, [0, 63]].max()
    assert found.probabilities is None
    assert np.array_equal(found.mask, predict(make_glass(size=64), image, **options).mask)


def test_map_of_an_image_is_a_grey_png_of_sixteen_bits(draw: Draw, tmp_path: Path) -> None:
    path, out = draw("sub/a.png"), tmp_path / "out"
    model = make_glass(THREE)
    report = predict_files(model, [path.parent], out, uncertainty=True)
    stored = np.asarray(PillowImage.open(out / "uncertainty" / "a.png"))
    expected = predict(model, path, uncertainty=True).uncertainty
    assert stored.dtype == np.uint16
    assert np.abs(stored / 65535 - expected).max() < 1e-4
    (row,) = json.loads((out / "predictions.json").read_text())["files"]
    assert row["uncertainty"] == "uncertainty/a.png"
    assert row["confidence"] == report.files[0].confidence.describe()
    again = predict_files(model, [path.parent], out, uncertainty=True, resume=True)
    assert again.files[0].skipped
    assert again.files[0].confidence.describe() == row["confidence"]


@pytest.mark.parametrize("planes", [None, ("axial", "coronal")])
def test_map_of_a_volume_lies_on_its_grid(planes: tuple[str, ...] | None, tmp_path: Path) -> None:
    volume = make_volume((6, 20, 24), seed=0)
    path = save_nifti(tmp_path / "in" / "ct.nii.gz", volume)
    model = make_glass(size=24, **VOLUMES)
    predict_files(model, [path], tmp_path / "out", uncertainty=True, planes=planes)
    stored = nibabel.load(tmp_path / "out" / "uncertainty" / "ct.nii.gz")
    assert stored.get_data_dtype() == np.float32
    assert np.allclose(stored.affine, nibabel.load(path).affine)
    found = predict(model, path, uncertainty=True, planes=planes)
    assert np.array_equal(np.asarray(stored.dataobj).transpose(2, 1, 0), found.uncertainty)
    assert 0 <= found.uncertainty.min() < 0.2 < found.uncertainty.max() <= 1
    assert np.array_equal(found.mask, predict(model, path, planes=planes).mask)
    assert found.confidence.expected_dice > 0


def test_probabilities_of_slices_can_be_watched() -> None:
    volume, seen = make_volume((6, 20, 24), seed=0), {}
    found = segment_volume(make_glass(size=24, **VOLUMES), volume, watch=seen.__setitem__)
    assert sorted(seen) == list(range(len(seen)))
    total = sum(scores.shape[1] * scores.shape[2] for scores in seen.values())
    assert total == found.mask.size
    assert sum(int((scores.argmax(axis=0) == 1).sum()) for scores in seen.values()) == found.voxels[1]


def test_page_shows_the_least_sure_first_and_replaces_nothing_of_others(draw: Draw, tmp_path: Path) -> None:
    out, model = tmp_path / "out", make_glass()
    dull = tmp_path / "in" / "dull.png"
    draw("clear.png")
    PillowImage.fromarray(np.full((20, 30, 3), 131, np.uint8)).save(dull)
    report = predict_files(model, [dull.parent], out, review=True)
    page = (out / "review.html").read_text()
    assert report.review == out / "review.html"
    assert page.index("dull.png") < page.index("clear.png")
    assert page.count("data:image/jpeg;base64,") == 2
    assert "Not calibrated" in page
    assert "http" not in page
    page_of_others = tmp_path / "more" / "review.html"
    page_of_others.parent.mkdir()
    page_of_others.write_text("mine")
    with pytest.raises(OutputError, match=r"review\.html exists already, and was not written by dinoseg"):
        predict_files(model, [dull], tmp_path / "more", review=True)
    assert page_of_others.read_text() == "mine"
    with pytest.raises(UsageError, match="shows the overlays"):
        predict_files(model, [dull], tmp_path / "other", review=True, overlays=False)
