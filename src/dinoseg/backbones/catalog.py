"""The backbones that dinoseg knows by name: one visible table, read without importing torch."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from dinoseg.errors import UsageError

Family = Literal["dinov3_vit", "dinov3_convnext", "dinov2", "dinov2_registers"]
Triple = tuple[float, float, float]

DINOV3_LICENSE = "dinov3-license"
UNTRAINED = "untrained-vitt16"

IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)
SAT493M_MEAN: Triple = (0.430, 0.411, 0.296)
SAT493M_STD: Triple = (0.213, 0.156, 0.143)


@dataclass(frozen=True)
class BackboneSpec:
    """What is known of a backbone before its weights are there.

    Attributes:
        name: catalog name, or the name of a local folder.
        family: which network of ours runs it, and which settings it has.
        patch: pixels per side of a token; a ConvNeXt's finest cell (4).
        stride: height and width are padded to a multiple of this.
        channels: width of each tapped level, from shallow to deep.
        strides: pixels per cell of each tapped level.
        layers: tapped blocks (ViT) or stages (ConvNeXt), counted from 0.
        depth: number of blocks or stages.
        mean: per-channel mean to subtract from RGB in [0, 1].
        std: per-channel deviation to divide by.
        parameters: number of weights, exactly.
        license: `dinov3-license`, `apache-2.0`, `none`, or what a local folder states.
        config: settings as in a Hugging Face config.json; enough to build the network offline.
        smallest: no side is padded to less.
        timm_repo: timm's open copy on the Hugging Face hub.
        hf_repo: the publisher's own repository there.
        hf_gated: whether that repository asks for an accepted request and a token.
        meta_prefix: how the name of Meta's `.pth` begins; ends in the first 8 digits of its sha256.
    """

    name: str
    family: Family
    patch: int
    stride: int
    channels: tuple[int, ...]
    strides: tuple[int, ...]
    layers: tuple[int, ...]
    depth: int
    mean: Triple
    std: Triple
    parameters: int
    license: str
    config: Mapping[str, Any] = field(hash=False)
    smallest: int = 1
    timm_repo: str | None = None
    hf_repo: str | None = None
    hf_gated: bool = False
    meta_prefix: str | None = None


def published_layers(depth: int) -> tuple[int, ...]:
    """Four taps of a ViT with `depth` blocks, counted from 0: the quarter points.

    With 24 blocks the published choice (4, 11, 17, 23) differs from the quarters by one.
    Fewer than four blocks are all tapped.
    """
    if depth == 24:
        return (4, 11, 17, 23)
    if depth < 4:
        return tuple(range(depth))
    return tuple(depth * quarter // 4 - 1 for quarter in (1, 2, 3, 4))


def _dinov3_vit(
    name: str,
    size: str,
    digits: str,
    *,
    width: int,
    hidden: int,
    depth: int,
    heads: int,
    parameters: int,
    gated_mlp: bool = False,
    qkv_bias: bool = True,
    data: str = "lvd1689m",
) -> BackboneSpec:
    layers = published_layers(depth)
    config = {
        "patch_size": 16,
        "hidden_size": width,
        "intermediate_size": hidden,
        "num_hidden_layers": depth,
        "num_attention_heads": heads,
        "hidden_act": "silu" if gated_mlp else "gelu",
        "use_gated_mlp": gated_mlp,
        "query_bias": qkv_bias,
        "value_bias": qkv_bias,
        "num_register_tokens": 4,
        "layer_norm_eps": 1e-5,
        "rope_theta": 100.0,
    }
    base = name.partition(".")[0]
    satellite = data == "sat493m"
    return BackboneSpec(
        name=name,
        family="dinov3_vit",
        patch=16,
        stride=16,
        channels=(width,) * len(layers),
        strides=(16,) * len(layers),
        layers=layers,
        depth=depth,
        mean=SAT493M_MEAN if satellite else IMAGENET_MEAN,
        std=SAT493M_STD if satellite else IMAGENET_STD,
        parameters=parameters,
        license=DINOV3_LICENSE,
        config=config,
        timm_repo=f"timm/vit_{size}_patch16_dinov3.{data}",
        hf_repo=f"facebook/{base.replace('_', '-')}-pretrain-{data}",
        hf_gated=True,
        meta_prefix=f"{base}_pretrain_{data}-{digits}",
    )


def _dinov3_convnext(
    size: str, digits: str, *, channels: tuple[int, ...], blocks: tuple[int, ...], parameters: int
) -> BackboneSpec:
    return BackboneSpec(
        name=f"dinov3_convnext_{size}",
        family="dinov3_convnext",
        patch=4,
        stride=4,
        channels=channels,
        strides=(4, 8, 16, 32),
        layers=(0, 1, 2, 3),
        depth=4,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        parameters=parameters,
        license=DINOV3_LICENSE,
        config={"hidden_sizes": list(channels), "depths": list(blocks)},
        smallest=32,
        timm_repo=f"timm/convnext_{size}.dinov3_lvd1689m",
        hf_repo=f"facebook/dinov3-convnext-{size}-pretrain-lvd1689m",
        hf_gated=True,
        meta_prefix=f"dinov3_convnext_{size}_pretrain_lvd1689m-{digits}",
    )


def _dinov2(
    name: str, size: str, *, width: int, depth: int, heads: int, parameters: int, swiglu: bool = False
) -> BackboneSpec:
    layers = published_layers(depth)
    registers = name.endswith("_reg")
    config: dict[str, Any] = {
        "patch_size": 14,
        "image_size": 518,
        "hidden_size": width,
        "num_hidden_layers": depth,
        "num_attention_heads": heads,
        "use_swiglu_ffn": swiglu,
    }
    if registers:
        config["num_register_tokens"] = 4
    return BackboneSpec(
        name=name,
        family="dinov2_registers" if registers else "dinov2",
        patch=14,
        stride=14,
        channels=(width,) * len(layers),
        strides=(14,) * len(layers),
        layers=layers,
        depth=depth,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        parameters=parameters,
        license="apache-2.0",
        config=config,
        hf_repo=f"facebook/dinov2-{'with-registers-' if registers else ''}{size}",
    )


def _untrained() -> BackboneSpec:
    """A random ViT of the smallest useful size: no weights to fetch, no licence, no claim."""
    config = {
        "patch_size": 16,
        "hidden_size": 192,
        "intermediate_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 3,
        "num_register_tokens": 4,
        "layer_norm_eps": 1e-5,
        "rope_theta": 100.0,
    }
    return BackboneSpec(
        name=UNTRAINED,
        family="dinov3_vit",
        patch=16,
        stride=16,
        channels=(192,) * 4,
        strides=(16,) * 4,
        layers=(2, 5, 8, 11),
        depth=12,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        parameters=5_489_856,
        license="none",
        config=config,
    )


# fmt: off
_TABLE: tuple[BackboneSpec, ...] = (
    _dinov3_vit("dinov3_vits16", "small", "08c60483", width=384, hidden=1536, depth=12, heads=6,
                parameters=21_596_544),
    _dinov3_vit("dinov3_vits16plus", "small_plus", "4057cbaa", width=384, hidden=1536, depth=12, heads=6,
                parameters=28_692_864, gated_mlp=True),
    _dinov3_vit("dinov3_vitb16", "base", "73cec8be", width=768, hidden=3072, depth=12, heads=12,
                parameters=85_660_416),
    _dinov3_vit("dinov3_vitl16.lvd1689m", "large", "8aa4cbdd", width=1024, hidden=4096, depth=24, heads=16,
                parameters=303_129_600),
    _dinov3_vit("dinov3_vitl16.sat493m", "large", "eadcf0ff", width=1024, hidden=4096, depth=24, heads=16,
                parameters=303_129_600, data="sat493m"),
    _dinov3_vit("dinov3_vith16plus", "huge_plus", "7c1da9a5", width=1280, hidden=5120, depth=32, heads=20,
                parameters=840_592_640, gated_mlp=True),
    _dinov3_vit("dinov3_vit7b16.lvd1689m", "7b", "a955f4ea", width=4096, hidden=8192, depth=40, heads=32,
                parameters=6_716_035_072, gated_mlp=True, qkv_bias=False),
    _dinov3_vit("dinov3_vit7b16.sat493m", "7b", "a6675841", width=4096, hidden=8192, depth=40, heads=32,
                parameters=6_716_035_072, gated_mlp=True, qkv_bias=False, data="sat493m"),
    _dinov3_convnext("tiny", "21b726bb", channels=(96, 192, 384, 768), blocks=(3, 3, 9, 3),
                     parameters=27_820_128),
    _dinov3_convnext("small", "296db49d", channels=(96, 192, 384, 768), blocks=(3, 3, 27, 3),
                     parameters=49_454_688),
    _dinov3_convnext("base", "801f2ba9", channels=(128, 256, 512, 1024), blocks=(3, 3, 27, 3),
                     parameters=87_566_464),
    _dinov3_convnext("large", "61fa432d", channels=(192, 384, 768, 1536), blocks=(3, 3, 27, 3),
                     parameters=196_230_336),
    _dinov2("dinov2_vits14", "small", width=384, depth=12, heads=6, parameters=22_056_576),
    _dinov2("dinov2_vitb14", "base", width=768, depth=12, heads=12, parameters=86_580_480),
    _dinov2("dinov2_vitl14", "large", width=1024, depth=24, heads=16, parameters=304_368_640),
    _dinov2("dinov2_vitg14", "giant", width=1536, depth=40, heads=24, parameters=1_136_480_768, swiglu=True),
    _dinov2("dinov2_vits14_reg", "small", width=384, depth=12, heads=6, parameters=22_058_112),
    _dinov2("dinov2_vitb14_reg", "base", width=768, depth=12, heads=12, parameters=86_583_552),
    _dinov2("dinov2_vitl14_reg", "large", width=1024, depth=24, heads=16, parameters=304_372_736),
    _dinov2("dinov2_vitg14_reg", "giant", width=1536, depth=40, heads=24,
            parameters=1_136_486_912, swiglu=True),
    _untrained(),
)
# fmt: on

BACKBONES: Mapping[str, BackboneSpec] = MappingProxyType({spec.name: spec for spec in _TABLE})


def find_spec(name: str) -> BackboneSpec:
    """Return the entry of `name`.

    Raises:
        UsageError: the name is unknown (the message names the closest ones), or it leaves
            open which training set is meant (the message names them all).
    """
    if name in BACKBONES:
        return BACKBONES[name]
    variants = [known for known in BACKBONES if known.startswith(f"{name}.")]
    if variants:
        raise UsageError(f"backbone '{name}' exists for two training sets; say {' or '.join(variants)}")
    raise UsageError(f"unknown backbone '{name}'; {_suggest(name)}")


def _suggest(name: str) -> str:
    stem = name.partition(".")[0]
    lowered = {known.lower(): known for known in BACKBONES}
    close = difflib.get_close_matches(name.lower(), lowered, n=3, cutoff=0.6)
    close = [stem] if stem in BACKBONES else [lowered[match] for match in close]
    if not close:
        return "give a local Hugging Face folder, or a name from `dinoseg info backbones`"
    return f"did you mean {' or '.join(close)}? `dinoseg info backbones` lists them all"
