"""Training on features that an engine computed, and what is remembered of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dinoseg.inference import predict
from dinoseg.model.opening import load
from tests.training.folders import make_data, read_decoder, train_small

pytestmark = pytest.mark.slow  # the graph of a backbone of twelve blocks takes ten seconds to make


def test_an_engine_trains_the_model_that_torch_trains(tmp_path: Path) -> None:
    """To the last digits of the features, which have keys of their own in the same cache."""
    data, cache = make_data(tmp_path / "data"), tmp_path / "cache"
    settings = {"train.warmup_epochs": 0}
    train_small(data, tmp_path / "torch", cache, changes=settings, seed=0)
    before = set(cache.glob("??/*.safetensors"))
    train_small(
        data,
        tmp_path / "engine",
        cache,
        changes={**settings, "model.backbone.engine": "onnxruntime"},
        seed=0,
    )
    assert len(set(cache.glob("??/*.safetensors")) - before) >= 18  # of nine cases in two views
    one, other = read_decoder(tmp_path / "torch"), read_decoder(tmp_path / "engine")
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=0, atol=1e-2)
    model = load(tmp_path / "engine")
    assert model.settings.backbone.engine == "onnxruntime"
    image = next((data / "images").iterdir())
    found, plain = (predict(each, image) for each in (model, load(tmp_path / "engine", engine="torch")))
    assert (found.mask == plain.mask).mean() > 0.999
    assert model.describe()["backbone_digest"] != load(tmp_path / "torch").describe()["backbone_digest"]
