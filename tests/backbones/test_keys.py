from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from dinoseg.backbones import create_backbone
from dinoseg.backbones.extractors import Extractor
from dinoseg.backbones.folders import write_folder
from dinoseg.backbones.keys import check_periods, find_layout
from dinoseg.backbones.published import load_weights
from dinoseg.errors import WeightsError
from tests.backbones.oracle import build_oracle, save_pretrained
from tests.backbones.tiny import CASES, CONVNEXTS, VITS, ParityCase, dinov2_spec, read_parity

TOLERANCE = 1e-4


def load(case: ParityCase) -> Extractor:
    return Extractor(load_weights(case.spec, case.state, source="file"), case.spec, source="file")


def worst_error(backbone: Any, case: ParityCase) -> float:
    levels = backbone(case.pixels).levels
    assert [level.shape for level in levels] == [output.shape for output in case.outputs]
    return max(float((a - b).abs().max()) for a, b in zip(levels, case.outputs, strict=True))


@pytest.mark.parametrize("name", CASES)
def test_parity_with_the_released_programs(name: str) -> None:
    case = read_parity(name)
    assert worst_error(load(case), case) <= TOLERANCE


@pytest.mark.parametrize("name", CASES)
def test_parity_through_the_hugging_face_layout(name: str, tmp_path: Path) -> None:
    case = read_parity(name)
    write_folder(tmp_path, load_weights(case.spec, case.state, source="file"))
    backbone = create_backbone(tmp_path)
    assert backbone.layers == (0, 1, 2, 3)
    assert worst_error(backbone, case) <= TOLERANCE
    assert backbone.digest == load(case).digest


@pytest.mark.parametrize("name", CASES)
def test_every_tensor_is_needed(name: str) -> None:
    case = read_parity(name)
    # Known copies, statistics of pretraining, and what the configuration says as well.
    spare = ("local_cls_norm.", "rope_embed.periods", "norms.3.")
    others = ("blocks.1.", "blocks.2.", "stages.0.", "stages.1.")  # as the blocks that are tried
    for key in (key for key in case.state if not key.startswith(spare + others)):
        state = {other: tensor for other, tensor in case.state.items() if other != key}
        with pytest.raises(WeightsError) as caught:
            load_weights(case.spec, state, source="half.pth")
        assert "half.pth" in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", CASES)
def test_a_tensor_too_many_is_refused_by_name(name: str) -> None:
    case = read_parity(name)
    for extra in ("head.weight", "blocks.4.norm1.weight", "stages.3.9.gamma", "stages.3.blocks.9.gamma"):
        with pytest.raises(WeightsError, match=r"unexpected .*|in a known key layout"):
            load_weights(case.spec, {**case.state, extra: torch.ones(4)}, source="file")


@pytest.mark.parametrize("name", CASES)
def test_wrong_shapes_and_numbers_are_refused(name: str) -> None:
    case = read_parity(name)
    key = next(key for key in case.state if key.endswith("weight") and case.state[key].ndim == 2)
    with pytest.raises(WeightsError, match="another shape"):
        load_weights(case.spec, {**case.state, key: case.state[key][:, :-1]}, source="file")
    broken = case.state[key].clone()
    broken[0, 0] = float("nan")
    with pytest.raises(WeightsError, match="no finite numbers"):
        load_weights(case.spec, {**case.state, key: broken}, source="file")


def test_messages_count_and_name_what_is_missing() -> None:
    case = read_parity("timm_vit_mlp")
    state = {key: tensor for key, tensor in case.state.items() if not key.startswith("blocks.3.mlp")}
    with pytest.raises(WeightsError, match=r"4 of \d+ tensors are missing \(.*layer\.3\.mlp.*, …\)"):
        load_weights(case.spec, state, source="file")


def test_meta_key_bias_is_masked_and_must_be() -> None:
    case = read_parity("dinov3_vit_mlp")
    masked = {**case.state, "blocks.0.attn.qkv.bias": case.state["blocks.0.attn.qkv.bias"].clone()}
    masked["blocks.0.attn.qkv.bias"][32:64] = float("nan")  # what the mask covers does not matter
    assert torch.equal(
        load_weights(case.spec, masked, source="a").tensors["model.layer.0.attention.q_proj.bias"],
        case.state["blocks.0.attn.qkv.bias"][:32],
    )
    unmasked = {**case.state, "blocks.0.attn.qkv.bias_mask": torch.ones(96)}
    with pytest.raises(WeightsError, match="is not zero, but DINOv3 masks it"):
        load_weights(case.spec, unmasked, source="file")


def test_meta_periods_are_compared() -> None:
    case = read_parity("dinov3_vit_mlp")
    periods = case.state["rope_embed.periods"]
    check_periods({"rope_embed.periods": periods.bfloat16()}, theta=100.0, head_width=16, source="file")
    with pytest.raises(WeightsError, match="not those of base 100"):
        load_weights(case.spec, {**case.state, "rope_embed.periods": periods * 1.1}, source="file")
    with pytest.raises(WeightsError, match="not those of base 50"):
        check_periods(case.state, theta=50.0, head_width=16, source="file")


def test_meta_convnext_norm_has_two_equal_names() -> None:
    case = read_parity("dinov3_convnext")
    with pytest.raises(WeightsError, match=r"norms\.3\.weight differs"):
        load_weights(case.spec, {**case.state, "norms.3.weight": torch.zeros(32)}, source="file")


def test_timm_omissions_become_zeros() -> None:
    case = read_parity("timm_vit_swiglu")
    state = load_weights(case.spec, case.state, source="file").tensors
    assert not state["model.layer.2.attention.v_proj.bias"].any()
    assert not state["embeddings.mask_token"].any()
    assert "model.layer.2.attention.k_proj.bias" not in state


def test_layouts_are_told_apart() -> None:
    for name in VITS + CONVNEXTS:
        case = read_parity(name)
        expected = "timm" if name.startswith("timm") else "meta"
        assert find_layout(case.state, case.spec.family, source="file") == expected


def test_files_of_another_family_are_refused() -> None:
    vit, convnext = read_parity("dinov3_vit_mlp"), read_parity("dinov3_convnext")
    with pytest.raises(WeightsError, match="no dinov3_convnext weights in a known key layout"):
        load_weights(convnext.spec, vit.state, source="file")
    with pytest.raises(WeightsError, match="no tensors at all"):
        load_weights(vit.spec, {}, source="file")


@pytest.mark.parametrize("family", ["dinov2", "dinov2_registers"])
@pytest.mark.parametrize("swiglu", [False, True])
def test_dinov2_needs_every_tensor_too(family: str, swiglu: bool, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    spec = dinov2_spec(family, use_swiglu_ffn=swiglu, num_hidden_layers=1)
    module = build_oracle(spec)
    save_pretrained(tmp_path, module)
    state = load_file(tmp_path / "model.safetensors")
    loaded = load_weights(spec, state, source="file").tensors
    assert all(torch.equal(loaded[key], tensor) for key, tensor in module.state_dict().items())
    for key in state:
        with pytest.raises(WeightsError, match=r"missing|known key layout"):
            load_weights(spec, {k: v for k, v in state.items() if k != key}, source="file")
    with pytest.raises(WeightsError, match="1 are unexpected"):
        load_weights(spec, {**state, "classifier.weight": torch.ones(2, 2)}, source="file")
