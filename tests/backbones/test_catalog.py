from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from dinoseg.backbones.architecture import ViTSettings, read_settings
from dinoseg.backbones.catalog import (
    BACKBONES,
    IMAGENET_MEAN,
    SAT493M_MEAN,
    SAT493M_STD,
    find_spec,
    published_layers,
)
from dinoseg.backbones.networks import arrange, build_empty
from dinoseg.backbones.published import PublishedWeights, count_parameters, list_shapes
from dinoseg.errors import UsageError

# Blocks, channels, and millions of parameters as published.
PUBLISHED = {
    "dinov3_vits16": (12, (384,) * 4, 21.6),
    "dinov3_vits16plus": (12, (384,) * 4, 28.7),
    "dinov3_vitb16": (12, (768,) * 4, 85.7),
    "dinov3_vitl16.lvd1689m": (24, (1024,) * 4, 303),
    "dinov3_vitl16.sat493m": (24, (1024,) * 4, 303),
    "dinov3_vith16plus": (32, (1280,) * 4, 841),
    "dinov3_vit7b16.lvd1689m": (40, (4096,) * 4, 6716),
    "dinov3_vit7b16.sat493m": (40, (4096,) * 4, 6716),
    "dinov3_convnext_tiny": (4, (96, 192, 384, 768), 28),
    "dinov3_convnext_small": (4, (96, 192, 384, 768), 50),
    "dinov3_convnext_base": (4, (128, 256, 512, 1024), 88),
    "dinov3_convnext_large": (4, (192, 384, 768, 1536), 196),
    "dinov2_vits14": (12, (384,) * 4, 22.1),
    "dinov2_vitb14": (12, (768,) * 4, 86.6),
    "dinov2_vitl14": (24, (1024,) * 4, 304),
    "dinov2_vitg14": (40, (1536,) * 4, 1136),
    "dinov2_vits14_reg": (12, (384,) * 4, 22.1),
    "dinov2_vitb14_reg": (12, (768,) * 4, 86.6),
    "dinov2_vitl14_reg": (24, (1024,) * 4, 304),
    "dinov2_vitg14_reg": (40, (1536,) * 4, 1136),
}


def test_catalog_is_complete() -> None:
    assert set(BACKBONES) == {*PUBLISHED, "untrained-vitt16"}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes(name: str) -> None:
    spec = BACKBONES[name]
    depth, channels, millions = PUBLISHED[name]
    assert (spec.depth, spec.channels) == (depth, channels)
    assert spec.parameters / 1e6 == pytest.approx(millions, rel=0.015)
    assert len(spec.layers) == len(spec.strides) == 4
    assert spec.layers[-1] == depth - 1


@pytest.mark.parametrize("name", BACKBONES)
def test_settings_have_the_stated_parameters(name: str) -> None:
    spec = BACKBONES[name]
    settings = read_settings(spec)
    assert count_parameters(settings) == spec.parameters
    if isinstance(settings, ViTSettings):
        assert settings.num_hidden_layers == spec.depth
        assert settings.hidden_size == spec.channels[0]


@pytest.mark.parametrize("name", BACKBONES)
def test_every_weight_of_the_network_is_given_once(name: str) -> None:
    """Also of the largest, which have 6.7 billion: on a device that keeps no numbers."""
    settings = read_settings(BACKBONES[name])
    tensors = {key: torch.empty(shape, device="meta") for key, shape in list_shapes(settings).items()}
    network = build_empty(settings)
    given = list(arrange(PublishedWeights(settings, tensors), depth=BACKBONES[name].depth))
    assert len(given) == len(dict(given))
    assert {key: tensor.shape for key, tensor in given} == {
        key: weight.shape for key, weight in network.named_parameters()
    }


@pytest.mark.parametrize("name", BACKBONES)
@torch.no_grad()
def test_the_network_of_every_size_runs(name: str) -> None:
    spec = BACKBONES[name]
    image = torch.empty(2, 3, 2 * spec.strides[-1], 3 * spec.strides[-1], device="meta")
    maps, classes = build_empty(read_settings(spec))(image, spec.layers)
    expected = [
        (2, width, image.shape[-2] // stride, image.shape[-1] // stride)
        for width, stride in zip(spec.channels, spec.strides, strict=True)
    ]
    assert [level.shape for level in maps] == expected
    if classes is not None:
        assert [token.shape for token in classes] == [(2, width) for width in spec.channels]


def test_layers_are_the_published_ones() -> None:
    assert published_layers(12) == (2, 5, 8, 11)
    assert published_layers(24) == (4, 11, 17, 23)
    assert published_layers(32) == (7, 15, 23, 31)
    assert published_layers(40) == (9, 19, 29, 39)
    assert published_layers(3) == (0, 1, 2)


def test_places_and_names_follow_the_hub() -> None:
    large = BACKBONES["dinov3_vitl16.sat493m"]
    assert large.timm_repo == "timm/vit_large_patch16_dinov3.sat493m"
    assert large.hf_repo == "facebook/dinov3-vitl16-pretrain-sat493m"
    assert large.meta_prefix == "dinov3_vitl16_pretrain_sat493m-eadcf0ff"
    tiny = BACKBONES["dinov3_convnext_tiny"]
    assert tiny.timm_repo == "timm/convnext_tiny.dinov3_lvd1689m"
    assert tiny.hf_repo == "facebook/dinov3-convnext-tiny-pretrain-lvd1689m"
    assert BACKBONES["dinov2_vitg14_reg"].hf_repo == "facebook/dinov2-with-registers-giant"
    assert BACKBONES["dinov3_vits16plus"].timm_repo == "timm/vit_small_plus_patch16_dinov3.lvd1689m"


def test_satellite_backbones_have_their_own_normalisation() -> None:
    for name, spec in BACKBONES.items():
        satellite = name.endswith(".sat493m")
        assert spec.mean == (SAT493M_MEAN if satellite else IMAGENET_MEAN)
        assert (spec.std == SAT493M_STD) == satellite


def test_licences() -> None:
    for name, spec in BACKBONES.items():
        expected = {"dinov3": "dinov3-license", "dinov2": "apache-2.0"}.get(name[:6], "none")
        assert spec.license == expected
        assert spec.hf_gated == (expected == "dinov3-license")


def test_ambiguous_name_is_refused_with_both_corrections() -> None:
    with pytest.raises(UsageError, match=r"dinov3_vitl16\.lvd1689m or dinov3_vitl16\.sat493m") as caught:
        find_spec("dinov3_vitl16")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("dinov3_vits61", "dinov3_vits16"),
        ("DINOV3_VITB16", "dinov3_vitb16"),
        ("dinov3_vits16.lvd1689m", "dinov3_vits16"),
        ("dinov3-convnext-tiny", "dinov3_convnext_tiny"),
    ],
)
def test_unknown_name_suggests_the_closest(given: str, meant: str) -> None:
    with pytest.raises(UsageError, match=f"did you mean .*{meant}"):
        find_spec(given)


def test_unknown_name_without_a_likeness_names_the_command() -> None:
    with pytest.raises(UsageError, match="dinoseg info backbones"):
        find_spec("resnet50")


def test_importing_the_catalog_does_not_import_torch() -> None:
    code = (
        "import sys, dinoseg.backbones, dinoseg.backbones.catalog, dinoseg.backbones.weights;"
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'huggingface_hub')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
