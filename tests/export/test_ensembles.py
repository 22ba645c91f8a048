"""Several decoders on one backbone are one bundle; what looks at images differently is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import dinoseg
from dinoseg.data.phantoms.phantoms import draw_phantom
from dinoseg.errors import UsageError
from dinoseg.export import export
from dinoseg.model.assembling import make_ensemble
from dinoseg.model.bundles import read_pipeline
from dinoseg.model.runtime import average
from tests.export.runs import BINARY, FOUR, make_run


@pytest.mark.slow
@pytest.mark.parametrize("classes", [BINARY, FOUR], ids=["1", "4"])
def test_an_ensemble_is_one_bundle(tmp_path: Path, classes: dict[int, str]) -> None:
    """Two methods, one of which looks at the image."""
    runs = [make_run(tmp_path / name, name, classes=classes) for name in ("segdino-v1", "guided")]
    make_ensemble(runs, tmp_path / "both")
    found = export(tmp_path / "both", tmp_path / "bundle")
    assert found.comparison.logits <= 1e-3
    pipeline = read_pipeline(tmp_path / "bundle")
    assert [decoder.file for decoder in pipeline.decoders] == ["decoder-1.onnx", "decoder-2.onnx"]
    assert [decoder.needs_image for decoder in pipeline.decoders] == [False, True]
    model, torch_model = dinoseg.load(tmp_path / "bundle"), dinoseg.load(tmp_path / "both")
    assert model.describe()["method"] == torch_model.describe()["method"]
    image = draw_phantom("endoscopy", size=(60, 80), seed=0).image
    masks = [dinoseg.predict(each, image).mask for each in (model, torch_model)]
    assert np.mean(masks[0] == masks[1]) > 0.99


@pytest.mark.parametrize("key", ["size", "symmetries"])
def test_members_that_see_images_differently_are_refused(tmp_path: Path, key: str) -> None:
    values = {"size": (32, 48), "symmetries": (1, 8)}[key]
    runs = [make_run(tmp_path / str(each), "linear", **{key: each}, seed=each) for each in values]
    make_ensemble(runs, tmp_path / "both")
    with pytest.raises(UsageError, match="export them one by one"):
        export(tmp_path / "both", tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_probabilities_are_averaged() -> None:
    rng = np.random.default_rng(0)
    for channels in (1, 3):
        votes = [rng.standard_normal((2, channels, 4, 5)).astype(np.float32) * 3 for _ in range(3)]
        found = average(votes)
        if channels == 1:
            shares = [1 / (1 + np.exp(-vote)) for vote in votes]
            np.testing.assert_allclose(1 / (1 + np.exp(-found)), np.mean(shares, axis=0), atol=1e-6)
        else:
            scores = [np.exp(vote) / np.exp(vote).sum(axis=1, keepdims=True) for vote in votes]
            np.testing.assert_allclose(np.exp(found), np.mean(scores, axis=0), atol=1e-6)
