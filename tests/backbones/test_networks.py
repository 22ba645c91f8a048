"""Our networks give what transformers' modules give, to rounding."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dinoseg.backbones import create_backbone
from dinoseg.backbones.catalog import BackboneSpec
from dinoseg.backbones.extractors import Extractor
from tests.backbones.oracle import build_oracle, run_oracle, save_pretrained, take_weights
from tests.backbones.tiny import convnext_spec, dinov2_spec, random_images, vit_spec

TOLERANCE = 1e-6  # of the largest feature
SPECS = {
    "dinov3": vit_spec(),
    "dinov3 gated": vit_spec(use_gated_mlp=True, hidden_act="silu"),
    "dinov3 gated by GELU": vit_spec(use_gated_mlp=True),
    "dinov3 without registers": vit_spec(num_register_tokens=0, rope_theta=50.0),
    "dinov3 bent by SiLU, other norms": vit_spec(hidden_act="silu", layer_norm_eps=1e-2),
    "dinov3 one head, small patches": vit_spec(num_attention_heads=1, patch_size=4),
    "dinov3 biases": vit_spec(
        key_bias=True, query_bias=False, value_bias=False, proj_bias=False, mlp_bias=False
    ),
    "dinov3 gated without biases": vit_spec(query_bias=False, mlp_bias=False, use_gated_mlp=True),
    "dinov2": dinov2_spec(),
    "dinov2 gated": dinov2_spec(use_swiglu_ffn=True, use_mask_token=False, mlp_ratio=3),
    "dinov2 without biases": dinov2_spec(qkv_bias=False, mlp_ratio=2),
    "dinov2 registers": dinov2_spec("dinov2_registers"),
    "dinov2 registers gated": dinov2_spec("dinov2_registers", use_swiglu_ffn=True, num_register_tokens=2),
    "dinov2 without a register": dinov2_spec("dinov2_registers", num_register_tokens=0, hidden_act="silu"),
    "convnext": convnext_spec(),
    "convnext bent by SiLU": convnext_spec(hidden_act="silu", layer_norm_eps=1e-2),
    "convnext of three stages": convnext_spec((8, 16, 24), (2, 1, 1)),
}
CELLS = [(1, 1), (4, 4), (2, 8), (3, 5), (7, 2), (11, 9)]  # 4 x 4 and 2 x 8 have as many as were learned


def worst_error(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> float:
    """The largest difference, relative to the largest feature."""
    assert [each.shape for each in ours] == [each.shape for each in theirs]
    difference = max(float((a - b).abs().max()) for a, b in zip(ours, theirs, strict=True))
    return difference / max(float(each.abs().max()) for each in theirs)


def compare(spec: BackboneSpec, size: tuple[int, int]) -> None:
    oracle = build_oracle(spec)
    backbone = Extractor(take_weights(oracle, spec), spec, source="test")
    image = random_images(2, 3, *size)
    features = backbone(image)
    maps, classes = run_oracle(oracle, spec, image)
    assert worst_error([*features.levels, *(features.cls or ())], [*maps, *classes]) <= TOLERANCE


@pytest.mark.parametrize("name", SPECS)
def test_features_are_those_of_the_oracle(name: str) -> None:
    spec = SPECS[name]
    cell = spec.strides[-1]
    for rows, columns in CELLS:
        compare(spec, (rows * cell, columns * cell))


@pytest.mark.parametrize("size", [(32, 32), (36, 60), (112, 80), (100, 132), (64, 44)])
def test_a_convnext_gives_the_published_stages_at_every_multiple_of_four(size: tuple[int, int]) -> None:
    """Sides are rounded down before each halving, as the published network does it."""
    compare(SPECS["convnext"], size)


@pytest.mark.parametrize("size", [(33, 47), (5, 90), (110, 81)])
def test_a_convnext_is_padded_to_its_stem_and_its_smallest_side(size: tuple[int, int]) -> None:
    spec = SPECS["convnext"]
    oracle = build_oracle(spec)
    backbone = Extractor(take_weights(oracle, spec), spec, source="test")
    image = random_images(1, 3, *size)
    features = backbone(image)
    assert features.padded == tuple(max(32, -(-side // 4) * 4) for side in size)
    bottom, right = (padded - side for padded, side in zip(features.padded, size, strict=True))
    padded = torch.nn.functional.pad(image, (0, right, 0, bottom), mode="replicate")
    maps, _ = run_oracle(oracle, spec, padded)
    assert worst_error(features.levels, maps) <= TOLERANCE
    for level, stride in zip(features.levels, features.strides, strict=True):
        assert level.shape[-2:] == tuple(side // stride for side in features.padded)


@pytest.mark.parametrize("name", SPECS)
def test_a_folder_of_transformers_is_read(name: str, tmp_path: Path) -> None:
    spec = SPECS[name]
    oracle = build_oracle(spec)
    save_pretrained(tmp_path, oracle)
    backbone = create_backbone(tmp_path)
    assert backbone.digest == Extractor(take_weights(oracle, spec), spec, source="").digest
    image = random_images(1, 3, 64, 96)
    if 64 % backbone.stride == 0:
        assert worst_error(backbone(image).levels, run_oracle(oracle, spec, image)[0]) <= TOLERANCE


@pytest.mark.parametrize("name", SPECS)
def test_our_folder_is_read_by_transformers(name: str, tmp_path: Path) -> None:
    import transformers

    from dinoseg.backbones.folders import write_folder

    spec = SPECS[name]
    oracle = build_oracle(spec)
    write_folder(tmp_path, take_weights(oracle, spec))
    module, report = transformers.AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values())
    state = module.state_dict()
    assert all(torch.equal(state[key], tensor) for key, tensor in oracle.state_dict().items())
