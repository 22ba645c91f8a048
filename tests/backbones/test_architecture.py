"""config.json: every key known and checked, whichever version of transformers wrote it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dinoseg.backbones import create_backbone
from dinoseg.backbones.architecture import BOOKKEEPING, FAMILIES, NEUTRAL, read_settings
from dinoseg.backbones.extractors import Extractor
from dinoseg.errors import WeightsError
from tests.backbones.oracle import ORACLES, build_oracle, save_pretrained, take_weights
from tests.backbones.tiny import save_folder, tiny_spec

DANGEROUS: list[tuple[str, Any]] = [
    ("attn_implementation", "x/y"),
    ("_attn_implementation", "sdpa"),
    ("_attn_implementation_internal", "x/y"),
    ("experts_implementation", "x/y"),
    ("auto_map", {"AutoModel": "code.Model"}),
    ("trust_remote_code", True),
    ("custom_pipelines", {}),
    ("quantization_config", {"quant_method": "bitsandbytes"}),
    ("per_layer_config", {"0": {"num_attention_heads": 4}}),
    ("head_dim", 8),
    ("rope_scaling", {"type": "linear", "factor": 2.0}),
]
REFUSED: list[tuple[str, str, Any, str]] = [
    ("dinov3_vit", "hidden_act", "quick_gelu", "'gelu' or 'silu'"),
    ("dinov3_vit", "hidden_size", 0, "greater than or equal to 1"),
    ("dinov3_vit", "hidden_size", 32.0, "valid integer"),
    ("dinov3_vit", "num_attention_heads", True, "valid integer"),
    ("dinov3_vit", "num_attention_heads", 3, "no multiple of 12"),
    ("dinov3_vit", "num_hidden_layers", 10**9, "less than or equal"),
    ("dinov3_vit", "num_register_tokens", -1, "greater than or equal to 0"),
    ("dinov3_vit", "layer_norm_eps", 0.0, "greater than 0"),
    ("dinov3_vit", "layer_norm_eps", float("nan"), "finite number"),
    ("dinov3_vit", "rope_theta", "100", "valid number"),
    ("dinov3_vit", "query_bias", 1, "valid boolean"),
    ("dinov3_vit", "apply_layernorm", False, "should be True"),
    ("dinov3_vit", "drop_path_rate", 1.5, "less than 1"),
    ("dinov3_vit", "pos_embed_rescale", "no", "valid number"),
    ("dinov2", "patch_size", [14, 7], "accepted are square ones"),
    ("dinov2", "image_size", [56, 70], "accepted are square ones"),
    ("dinov2", "image_size", 13, "image_size is below patch_size"),
    ("dinov2", "mlp_ratio", -1, "greater than"),
    ("dinov2", "num_attention_heads", 5, "no multiple of 5"),
    ("dinov2", "num_register_tokens", 4, "unknown"),
    ("dinov2_registers", "use_mask_token", False, "unknown"),
    ("dinov3_convnext", "depths", [1, 1], "hidden_sizes names 4 stages, depths 2"),
    ("dinov3_convnext", "depths", [], "at least 1 item"),
    ("dinov3_convnext", "hidden_sizes", [8, 16, 24, "x"], "valid integer"),
    ("dinov3_convnext", "num_channels", 1, "takes 1 channels"),
]


def change(folder: Path, **changes: Any) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return folder


@pytest.mark.parametrize(("key", "value"), DANGEROUS)
@pytest.mark.parametrize("family", FAMILIES)
def test_keys_that_choose_code_or_another_network_are_refused(
    family: str, key: str, value: Any, tmp_path: Path
) -> None:
    folder = change(save_folder(tmp_path / "mine", tiny_spec(family)), **{key: value})
    with pytest.raises(WeightsError, match=f"mine: its config.json is not accepted .*'{key}'") as caught:
        create_backbone(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("family", "key", "value", "message"), REFUSED)
def test_values_that_are_not_accepted(
    family: str, key: str, value: Any, message: str, tmp_path: Path
) -> None:
    folder = change(save_folder(tmp_path / "mine", tiny_spec(family)), **{key: value})
    with pytest.raises(WeightsError, match=message) as caught:
        create_backbone(folder)
    assert "\n" not in str(caught.value)


def test_a_misspelt_key_is_named_with_what_was_meant(tmp_path: Path) -> None:
    folder = change(save_folder(tmp_path / "mine", tiny_spec("dinov3_vit")), layer_norm_epz=1e-3)
    with pytest.raises(WeightsError, match="'layer_norm_epz' is unknown: did you mean 'layer_norm_eps'"):
        create_backbone(folder)


@pytest.mark.parametrize("family", FAMILIES)
def test_everything_that_transformers_writes_is_known(family: str, tmp_path: Path) -> None:
    """By default, and with every value written out."""
    spec = tiny_spec(family)
    oracle = build_oracle(spec)
    save_pretrained(tmp_path, oracle)
    expected = Extractor(take_weights(oracle, spec), spec, source="test").digest
    assert create_backbone(tmp_path).digest == expected
    oracle.config.to_json_file(tmp_path / "config.json", use_diff=False)
    assert create_backbone(tmp_path).digest == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_what_transformers_4_wrote_beside_the_network_is_ignored(family: str, tmp_path: Path) -> None:
    folder = save_folder(tmp_path / "mine", tiny_spec(family))
    expected = create_backbone(folder).digest
    assert create_backbone(change(folder, **dict.fromkeys(BOOKKEEPING, 1), **NEUTRAL)).digest == expected


@pytest.mark.parametrize("key", NEUTRAL)
def test_what_must_be_neutral_is_refused_otherwise(key: str, tmp_path: Path) -> None:
    folder = change(save_folder(tmp_path / "mine", tiny_spec("dinov2")), **{key: {"0": [1]}})
    with pytest.raises(WeightsError, match=f"'{key}' must be"):
        create_backbone(folder)


@pytest.mark.parametrize("family", FAMILIES)
def test_defaults_are_those_of_transformers(family: Any) -> None:
    theirs = ORACLES[family][0]()
    ours = read_settings(replace(tiny_spec(family), config={}))
    written = ours.model_dump()
    assert written == {key: getattr(theirs, key) for key in written}
    assert ours.model_type == theirs.model_type
    assert set(theirs.to_dict()) <= {*written, *BOOKKEEPING, *NEUTRAL, "model_type"}
