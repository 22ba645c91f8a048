"""`Backbone` is a protocol: what is put together of others is one, all the way into the cache and a model."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dinoseg.backbones.backbone import Backbone, Precision
from dinoseg.backbones.cache import EntryStore, FeatureCache
from dinoseg.backbones.features import Features
from dinoseg.config import BackboneSettings, PreprocessingSettings
from dinoseg.methods import decoder_settings
from dinoseg.model.segmenter import Segmenter
from dinoseg.model.settings import ModelSettings
from tests.backbones.tiny import make_extractor, random_images, vit_spec


class TwoSizes(nn.Module):
    """The maps of an image and of its half, side by side."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.whole = backbone
        self.calls = 0
        self.name = f"{backbone.name} at two sizes"
        self.layers, self.strides, self.stride = backbone.layers, backbone.strides, backbone.stride
        self.mean, self.std = backbone.mean, backbone.std
        self.precision: Precision = backbone.precision
        self.channels = tuple(2 * width for width in backbone.channels)
        self.digest, self.identity = (
            hashlib.sha256(f"two sizes of {digest}".encode()).hexdigest()
            for digest in (backbone.digest, backbone.identity)
        )
        self.weights_sha256, self.license, self.source = (
            backbone.weights_sha256,
            backbone.license,
            backbone.source,
        )

    def forward(self, image: Tensor) -> Features:
        self.calls += 1
        whole, half = self.whole(image), self.whole(F.interpolate(image, scale_factor=0.5))
        levels = tuple(
            torch.cat([level, F.interpolate(coarse, size=level.shape[-2:])], dim=1)
            for level, coarse in zip(whole.levels, half.levels, strict=True)
        )
        return replace(whole, levels=levels, cls=None)


def make_wrapper() -> tuple[Backbone, TwoSizes]:
    wrapper = TwoSizes(make_extractor(vit_spec()))
    checked: Backbone = wrapper  # mypy says whether it fits
    return checked, wrapper


def test_a_wrapper_is_remembered_under_its_own_digest(tmp_path: Path) -> None:
    backbone, wrapper = make_wrapper()
    images = random_images(2, 3, 40, 56)
    fresh = backbone(images)
    assert [level.shape for level in fresh.levels] == [(2, 64, 3, 4)] * 4

    def ask(of: Backbone) -> Features:
        cache = FeatureCache(of, of.digest, EntryStore(tmp_path, limit_gb=1), dtype="float32")
        return cache.features([cache.key(str(i)) for i in range(2)], lambda i: images[i])

    ask(backbone)
    before = wrapper.calls
    remembered = ask(backbone)
    assert wrapper.calls == before
    for level, expected in zip(remembered.levels, fresh.levels, strict=True):
        assert torch.allclose(level, expected, atol=1e-5)
    plain = ask(wrapper.whole)  # the same store: it must not find the wrapper's
    assert [level.shape for level in plain.levels] == [(2, 32, 3, 4)] * 4


def test_a_model_runs_on_a_wrapper() -> None:
    backbone, _ = make_wrapper()
    settings = ModelSettings(
        backbone=BackboneSettings(name="two-sizes"),
        decoder=decoder_settings("linear"),
        preprocessing=PreprocessingSettings(size=64),
        classes={0: "background", 1: "lesion"},
    )
    model = Segmenter(settings, backbone).eval()
    assert model(random_images(1, 3, 40, 56)).shape == (1, 1, 40, 56)
    assert {name.split(".")[0] for name, _ in model.named_parameters()} == {"backbone", "decoder"}
