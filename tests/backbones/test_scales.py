"""Several input sizes side by side: exact in their parts, remembered apart, part of what a model is."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from dinoseg.backbones.backbone import Backbone
from dinoseg.backbones.scales import ScaledBackbone
from dinoseg.config import BackboneSettings
from dinoseg.errors import UsageError
from tests.backbones.tiny import convnext_spec, make_extractor, random_images, vit_spec

SPECS = {"vit": vit_spec(), "convnext": convnext_spec([4, 8, 12, 16], [1, 1, 1, 1])}


@pytest.mark.parametrize("family", SPECS)
@pytest.mark.parametrize("size", [(1, 1), (40, 56), (64, 96), (33, 150)])
def test_the_first_channels_are_those_of_the_backbone(family: str, size: tuple[int, int]) -> None:
    backbone = make_extractor(SPECS[family])
    scaled: Backbone = ScaledBackbone(backbone, [1.0, 0.5, 1.5])  # mypy says whether it fits
    image = random_images(2, 3, *size)
    plain, found = backbone(image), scaled(image)
    assert (found.size, found.padded, found.strides) == (plain.size, plain.padded, plain.strides)
    assert found.channels == scaled.channels == tuple(3 * width for width in plain.channels)
    for level, expected in zip(found.levels, plain.levels, strict=True):
        assert torch.equal(level[:, : expected.shape[1]], expected)


def test_the_other_channels_are_those_of_the_image_in_its_other_size() -> None:
    backbone = make_extractor(vit_spec())
    image = random_images(1, 3, 64, 96)
    found = ScaledBackbone(backbone, [1.0, 0.5])(image)
    half = backbone(F.interpolate(image, size=(32, 48), mode="bilinear", antialias=True))
    for level, coarse in zip(found.levels, half.levels, strict=True):
        wanted = F.interpolate(coarse, size=(4, 6), mode="bilinear")
        assert torch.equal(level[:, coarse.shape[1] :], wanted)


def test_scales_change_the_digest_and_the_identity() -> None:
    backbone = make_extractor(vit_spec())
    found = [ScaledBackbone(backbone, scales) for scales in ([1.0, 0.5], [1.0, 0.75])]
    assert len({backbone.digest, *(each.digest for each in found)}) == 3
    assert len({backbone.identity, *(each.identity for each in found)}) == 3


@pytest.mark.parametrize("scales", [[], [0.5], [0.5, 1.0], [1.0, 1.0], [1.0, 0.0]])
def test_other_scales_are_refused(scales: list[float]) -> None:
    with pytest.raises(UsageError, match=r"give 1\.0 first"):
        ScaledBackbone(make_extractor(vit_spec()), scales)
    with pytest.raises(ValueError, match="scales"):
        BackboneSettings(name="untrained", scales=tuple(scales))


def test_one_scale_is_the_backbone_itself() -> None:
    from dinoseg.backbones import create_backbone
    from dinoseg.backbones.extractors import Extractor

    assert isinstance(create_backbone("untrained-vitt16"), Extractor)
    assert isinstance(create_backbone("untrained-vitt16", scales=(1.0, 0.5)), ScaledBackbone)


def test_it_stays_frozen_in_a_model_that_trains() -> None:
    scaled = ScaledBackbone(make_extractor(vit_spec()), [1.0, 0.5]).train()
    assert not any(parameter.requires_grad for parameter in scaled.parameters())
    assert not any(part.training for part in scaled.backbone.modules())  # type: ignore[attr-defined]
