"""Key layouts of the same weights, each one table of renames into the published names (see `published`).

Meta's `.pth`, timm's `.safetensors` and the files on the Hugging Face hub hold the same tensors under other
names. A row says what one tensor becomes; a row with several targets cuts its tensor along dimension 0 into
equal parts. Every tensor of a file must match a row.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from dinoseg.backbones.architecture import DINOv3ViTSettings, Settings
from dinoseg.backbones.catalog import Family
from dinoseg.errors import WeightsError

Layout = Literal["meta", "timm", "huggingface"]


@dataclass(frozen=True)
class Rename:
    """One row: a pattern for the whole name, and what it becomes; no target: known, and left out."""

    pattern: str
    targets: tuple[str, ...]


def _row(pattern: str, *targets: str) -> Rename:
    return Rename(pattern, targets)


_QKV = tuple(rf"model.layer.\1.attention.{part}_proj.\2" for part in ("q", "k", "v"))
_BLOCK = r"blocks\.(\d+)\."
_ENDS = r"(weight|bias)"

META_VIT: tuple[Rename, ...] = (
    _row(r"cls_token", "embeddings.cls_token"),
    _row(r"storage_tokens", "embeddings.register_tokens"),
    _row(r"mask_token", "embeddings.mask_token"),
    _row(rf"patch_embed\.proj\.{_ENDS}", r"embeddings.patch_embeddings.\1"),
    _row(rf"{_BLOCK}norm([12])\.{_ENDS}", r"model.layer.\1.norm\2.\3"),
    _row(rf"{_BLOCK}attn\.qkv\.{_ENDS}", *_QKV),
    _row(rf"{_BLOCK}attn\.proj\.{_ENDS}", r"model.layer.\1.attention.o_proj.\2"),
    _row(rf"{_BLOCK}ls([12])\.gamma", r"model.layer.\1.layer_scale\2.lambda1"),
    _row(rf"{_BLOCK}mlp\.fc1\.{_ENDS}", r"model.layer.\1.mlp.up_proj.\2"),
    _row(rf"{_BLOCK}mlp\.fc2\.{_ENDS}", r"model.layer.\1.mlp.down_proj.\2"),
    _row(rf"{_BLOCK}mlp\.w1\.{_ENDS}", r"model.layer.\1.mlp.gate_proj.\2"),
    _row(rf"{_BLOCK}mlp\.w2\.{_ENDS}", r"model.layer.\1.mlp.up_proj.\2"),
    _row(rf"{_BLOCK}mlp\.w3\.{_ENDS}", r"model.layer.\1.mlp.down_proj.\2"),
    _row(rf"norm\.{_ENDS}", r"norm.\1"),
    # Used in pretraining only.
    _row(rf"local_cls_norm\.{_ENDS}"),
)

TIMM_VIT: tuple[Rename, ...] = (
    _row(r"cls_token", "embeddings.cls_token"),
    _row(r"reg_token", "embeddings.register_tokens"),
    _row(rf"patch_embed\.proj\.{_ENDS}", r"embeddings.patch_embeddings.\1"),
    _row(rf"{_BLOCK}norm([12])\.{_ENDS}", r"model.layer.\1.norm\2.\3"),
    _row(rf"{_BLOCK}attn\.qkv\.(weight)", *_QKV),
    _row(rf"{_BLOCK}attn\.proj\.{_ENDS}", r"model.layer.\1.attention.o_proj.\2"),
    _row(rf"{_BLOCK}gamma_([12])", r"model.layer.\1.layer_scale\2.lambda1"),
    _row(rf"{_BLOCK}mlp\.fc1\.{_ENDS}", r"model.layer.\1.mlp.up_proj.\2"),
    _row(rf"{_BLOCK}mlp\.fc1_g\.{_ENDS}", r"model.layer.\1.mlp.gate_proj.\2"),
    _row(rf"{_BLOCK}mlp\.fc1_x\.{_ENDS}", r"model.layer.\1.mlp.up_proj.\2"),
    _row(rf"{_BLOCK}mlp\.fc2\.{_ENDS}", r"model.layer.\1.mlp.down_proj.\2"),
    _row(rf"norm\.{_ENDS}", r"norm.\1"),
)

META_CONVNEXT: tuple[Rename, ...] = (
    _row(rf"downsample_layers\.(\d)\.(\d)\.{_ENDS}", r"model.stages.\1.downsample_layers.\2.\3"),
    _row(rf"stages\.(\d)\.(\d+)\.dwconv\.{_ENDS}", r"model.stages.\1.layers.\2.depthwise_conv.\3"),
    _row(rf"stages\.(\d)\.(\d+)\.norm\.{_ENDS}", r"model.stages.\1.layers.\2.layer_norm.\3"),
    _row(rf"stages\.(\d)\.(\d+)\.pwconv([12])\.{_ENDS}", r"model.stages.\1.layers.\2.pointwise_conv\3.\4"),
    _row(r"stages\.(\d)\.(\d+)\.gamma", r"model.stages.\1.layers.\2.gamma"),
    _row(rf"norm\.{_ENDS}", r"layer_norm.\1"),
)

TIMM_CONVNEXT: tuple[Rename, ...] = (
    _row(rf"stem\.([01])\.{_ENDS}", r"model.stages.0.downsample_layers.\1.\2"),
    _row(rf"stages\.(\d)\.downsample\.([01])\.{_ENDS}", r"model.stages.\1.downsample_layers.\2.\3"),
    _row(rf"stages\.(\d)\.blocks\.(\d+)\.conv_dw\.{_ENDS}", r"model.stages.\1.layers.\2.depthwise_conv.\3"),
    _row(rf"stages\.(\d)\.blocks\.(\d+)\.norm\.{_ENDS}", r"model.stages.\1.layers.\2.layer_norm.\3"),
    _row(
        rf"stages\.(\d)\.blocks\.(\d+)\.mlp\.fc([12])\.{_ENDS}",
        r"model.stages.\1.layers.\2.pointwise_conv\3.\4",
    ),
    _row(r"stages\.(\d)\.blocks\.(\d+)\.gamma", r"model.stages.\1.layers.\2.gamma"),
    _row(rf"head\.norm\.{_ENDS}", r"layer_norm.\1"),
)

# Files on the hub have the names of transformers 4; those of version 5's modules pass as they are.
_REST = _row(r"(.+)", r"\1")
HUB_VIT: tuple[Rename, ...] = (_row(r"layer\.(.+)", r"model.layer.\1"), _REST)
HUB_CONVNEXT: tuple[Rename, ...] = (_row(r"stages\.(.+)", r"model.stages.\1"), _REST)
HUB_DINOV2: tuple[Rename, ...] = (
    *(
        _row(rf"(.+)\.attention\.attention\.{part}\.{_ENDS}", rf"\1.attention.{part[0]}_proj.\2")
        for part in ("query", "key", "value")
    ),
    _row(rf"(.+)\.attention\.output\.dense\.{_ENDS}", r"\1.attention.o_proj.\2"),
    _row(rf"(.+)\.mlp\.weights_in\.{_ENDS}", r"\1.mlp.gate_proj.\2", r"\1.mlp.up_proj.\2"),
    _row(rf"(.+)\.mlp\.weights_out\.{_ENDS}", r"\1.mlp.down_proj.\2"),
    _REST,
)

TABLES: Mapping[tuple[Family, Layout], tuple[Rename, ...]] = {
    ("dinov3_vit", "meta"): META_VIT,
    ("dinov3_vit", "timm"): TIMM_VIT,
    ("dinov3_vit", "huggingface"): HUB_VIT,
    ("dinov3_convnext", "meta"): META_CONVNEXT,
    ("dinov3_convnext", "timm"): TIMM_CONVNEXT,
    ("dinov3_convnext", "huggingface"): HUB_CONVNEXT,
    ("dinov2", "huggingface"): HUB_DINOV2,
    ("dinov2_registers", "huggingface"): HUB_DINOV2,
}

#: One tensor that only this layout has.
SIGNATURES: Mapping[tuple[Family, Layout], str] = {
    ("dinov3_vit", "meta"): "storage_tokens",
    ("dinov3_vit", "timm"): "reg_token",
    ("dinov3_vit", "huggingface"): "embeddings.patch_embeddings.weight",
    ("dinov3_convnext", "meta"): "downsample_layers.0.0.weight",
    ("dinov3_convnext", "timm"): "stem.0.weight",
    ("dinov3_convnext", "huggingface"): "layer_norm.weight",
    ("dinov2", "huggingface"): "embeddings.position_embeddings",
    ("dinov2_registers", "huggingface"): "embeddings.register_tokens",
}


def find_layout(names: Collection[str], family: Family, *, source: str) -> Layout:
    """Tell the layout from the tensor names of a file.

    Raises:
        WeightsError: no known layout of this family has such names.
    """
    for (candidate, layout), signature in SIGNATURES.items():
        if candidate == family and signature in names:
            return layout
    shown = ", ".join(sorted(names)[:3]) or "no tensors at all"
    raise WeightsError(
        f"{source} holds no {family} weights in a known key layout (found {shown}, …); "
        f"accepted are Meta's .pth and the .safetensors of timm and Hugging Face for this backbone"
    )


def convert(
    state: Mapping[str, Tensor], family: Family, settings: Settings, *, source: str
) -> dict[str, Tensor]:
    """Rename a whole file into the published names; nothing may be left over.

    Args:
        state: tensors under the names of any known layout.
        family: of the backbone they are for.
        settings: of that backbone.
        source: the file, for messages.

    Returns:
        The tensors in float32; whether they are all there, the loader finds out.

    Raises:
        WeightsError: tensors are unknown or not finite, or the layout is not known.
    """
    layout = find_layout(state, family, source=source)
    given = _settle_meta(dict(state), source) if layout == "meta" else dict(state)
    converted, unknown = _rename(given, TABLES[family, layout], source)
    if unknown:
        raise WeightsError(
            f"{source} was not loaded: {len(unknown)} unexpected tensors ({name_some(unknown)})"
        )
    if isinstance(settings, DINOv3ViTSettings) and layout == "timm":
        _add_what_timm_omits(converted, settings)
    if family == "dinov3_vit" and layout == "meta":
        _drop_masked_key_bias(converted, source)
    return {name: _clean(name, tensor, source) for name, tensor in converted.items()}


def _rename(
    state: Mapping[str, Tensor], table: tuple[Rename, ...], source: str
) -> tuple[dict[str, Tensor], list[str]]:
    """Apply a table; return the renamed tensors, and the names that no row knows or that come twice."""
    converted: dict[str, Tensor] = {}
    unknown: list[str] = []
    for name, tensor in state.items():
        row = next((row for row in table if re.fullmatch(row.pattern, name)), None)
        if row is None:
            unknown.append(name)
            continue
        targets = [re.sub(row.pattern, target, name) for target in row.targets]
        if any(target in converted for target in targets):
            unknown.append(name)
        elif targets:
            converted.update(zip(targets, _cut(name, tensor, len(targets), source), strict=True))
    return converted, unknown


def _cut(name: str, tensor: Tensor, count: int, source: str) -> tuple[Tensor, ...]:
    """Equal parts of a tensor along dimension 0."""
    if count == 1:
        return (tensor,)
    if tensor.ndim == 0 or len(tensor) == 0 or len(tensor) % count:
        shape = tuple(tensor.shape)
        raise WeightsError(f"{source} was not loaded: {name} is {shape}, which makes no {count} equal parts")
    return tensor.chunk(count)


def _settle_meta(state: dict[str, Tensor], source: str) -> dict[str, Tensor]:
    """Fold in what only Meta's files hold: bias masks, RoPE periods, and the last norm's second name."""
    for name in [name for name in state if name.endswith(".attn.qkv.bias_mask")]:
        bias = name.removesuffix("_mask")
        if bias not in state:
            raise WeightsError(f"{source} has {name} but not {bias}: it is incomplete")
        # Not a product: the mask may stand beside numbers that were never trained, even NaN.
        state[bias] = torch.where(state.pop(name) != 0, state[bias], torch.zeros_like(state[bias]))
    if "mask_token" in state:
        state["mask_token"] = state["mask_token"].reshape(1, 1, -1)  # (1, C) -> (1, 1, C)
    state.pop("rope_embed.periods", None)  # compared with the configuration by `check_periods`
    for end in ("weight", "bias"):
        twin = state.pop(f"norms.3.{end}", None)
        if twin is not None and not torch.equal(twin, state.get(f"norm.{end}", torch.empty(0))):
            raise WeightsError(f"{source}: norms.3.{end} differs from norm.{end}, which it should repeat")
    return state


def check_periods(state: Mapping[str, Tensor], *, theta: float, head_width: int, source: str) -> None:
    """Compare the RoPE periods stored in Meta's files with those of the configuration.

    Args:
        state: tensors as read; files without periods pass.
        theta: base of the periods.
        head_width: channels per attention head.
        source: the file, for messages.

    Raises:
        WeightsError: they differ by more than bfloat16 rounding.
    """
    stored = state.get("rope_embed.periods")
    if stored is None:
        return
    expected = theta ** torch.arange(0, 1, 4 / head_width, dtype=torch.float32)
    if stored.shape != expected.shape or not torch.allclose(stored.float(), expected, rtol=1e-2):
        raise WeightsError(f"{source}: rope_embed.periods are not those of base {theta:g}: another model")


def _add_what_timm_omits(converted: dict[str, Tensor], settings: DINOv3ViTSettings) -> None:
    """Add zeros where timm leaves out what is zero in the originals, or unused outside pretraining."""
    width = settings.hidden_size
    converted["embeddings.mask_token"] = torch.zeros(1, 1, width)
    for part in ("query", "value"):
        if settings.has_bias(part):
            for block in range(settings.num_hidden_layers):
                converted[f"model.layer.{block}.attention.{part[0]}_proj.bias"] = torch.zeros(
                    settings.hidden_size
                )


def _drop_masked_key_bias(converted: dict[str, Tensor], source: str) -> None:
    """Drop the key part of the bias, which the module does not have; it must be zero (masked)."""
    for name in [name for name in converted if name.endswith(".attention.k_proj.bias")]:
        if torch.count_nonzero(converted.pop(name)):
            raise WeightsError(f"{source}: {name} is not zero, but DINOv3 masks it; its bias_mask is missing")


def _clean(name: str, tensor: Tensor, source: str) -> Tensor:
    if not tensor.is_floating_point() or not torch.isfinite(tensor).all():
        raise WeightsError(f"{source} was not loaded: {name} holds values that are no finite numbers")
    return tensor.to(torch.float32)


def name_some(names: Collection[str]) -> str:
    """Return the first three names, and whether there are more."""
    shown = ", ".join(sorted(names)[:3])
    return shown if len(names) <= 3 else f"{shown}, …"
