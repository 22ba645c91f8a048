"""The settings of the published networks: the keys of a Hugging Face config.json, typed and checked.

A key that is not listed here is refused: it may be misspelt, change the features in a way that our
networks do not know, or name code to run.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dinoseg.backbones.catalog import BackboneSpec, Family
from dinoseg.errors import WeightsError

Activation = Literal["gelu", "silu"]
Count = Annotated[int, Field(ge=1, le=65_536)]
Depth = Annotated[int, Field(ge=1, le=1_000)]
Side = Annotated[int, Field(ge=1, le=16_384)]
Sides = Side | list[Side]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Rate = Annotated[float, Field(ge=0, lt=1)]

# fmt: off
#: Says where the file comes from or what a call returns; no part of the network.
BOOKKEEPING = frozenset((
    "_attn_implementation_autoset", "_commit_hash", "_name_or_path", "_out_features", "_out_indices",
    "architectures", "dtype", "finetuning_task", "id2label", "label2id", "name_or_path", "num_labels",
    "out_features", "out_indices", "output_attentions", "output_hidden_states", "prefix", "problem_type",
    "reshape_hidden_states", "return_dict", "stage_names", "task_specific_params", "tf_legacy_loss",
    "tie_last_hidden_states", "tie_word_embeddings", "tokenizer_class", "torch_dtype", "torchscript",
    "transformers_version", "use_cache",
    # of text generation: transformers 4 may write them for any network
    "bad_words_ids", "begin_suppress_tokens", "bos_token_id", "decoder_start_token_id", "diversity_penalty",
    "do_sample", "early_stopping", "encoder_no_repeat_ngram_size", "eos_token_id",
    "exponential_decay_length_penalty", "forced_bos_token_id", "forced_eos_token_id", "length_penalty",
    "max_length", "min_length", "no_repeat_ngram_size", "num_beam_groups", "num_beams",
    "num_return_sequences", "output_scores", "pad_token_id", "remove_invalid_values", "repetition_penalty",
    "return_dict_in_generate", "sep_token_id", "suppress_tokens", "temperature", "top_k", "top_p",
    "typical_p",
))
# fmt: on

#: Of any network in transformers; here they must have the value that leaves the network alone.
NEUTRAL: Mapping[str, Any] = {
    "add_cross_attention": False,
    "chunk_size_feed_forward": 0,
    "cross_attention_hidden_size": None,
    "is_decoder": False,
    "is_encoder_decoder": False,
    "pruned_heads": {},
    "tie_encoder_decoder": False,
    "use_bfloat16": False,
}

#: Settings that change the features without changing the shape of any weight: part of the digest.
_RESULT_SETTINGS = (
    "patch_size",
    "num_attention_heads",
    "num_register_tokens",
    "hidden_act",
    "layer_norm_eps",
    "rope_theta",
)


class _Published(BaseModel):
    """What all families have.

    Rates, initial values and `pos_embed_*` belong to training: they are checked, and not used.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    model_type: ClassVar[str]

    num_channels: Count = 3
    hidden_act: Activation = "gelu"
    image_size: Sides = 224
    initializer_range: Number = 0.02
    drop_path_rate: Rate = 0.0

    @property
    def result_settings(self) -> dict[str, Any]:
        """What the digest takes from the settings, as the file writes it."""
        values = {key: getattr(self, key) for key in _RESULT_SETTINGS if hasattr(self, key)}
        return {"model_type": self.model_type, **values}


class ViTSettings(_Published):
    """Settings that the ViTs share, and what our network reads in all of them."""

    hidden_size: Count
    num_hidden_layers: Depth = 12
    num_attention_heads: Count
    layer_norm_eps: Positive
    patch_size: Sides
    layerscale_value: Number = 1.0
    apply_layernorm: Literal[True] = True

    #: What our network is told where a family has no such setting.
    learned_positions: ClassVar[bool] = True
    antialias: ClassVar[bool] = False

    @property
    def patch(self) -> int:
        """Pixels per side of a token."""
        return _side(self.patch_size)

    @property
    def registers(self) -> int:
        """Tokens beside the class token that stand for no patch."""
        return int(getattr(self, "num_register_tokens", 0))

    @property
    def gated(self) -> bool:
        """Whether half of the MLP's hidden units gate the other half (SwiGLU)."""
        return bool(getattr(self, "use_gated_mlp", False) or getattr(self, "use_swiglu_ffn", False))

    @property
    def hidden(self) -> int:
        """Hidden units of the MLP; of each half where it is gated."""
        raise NotImplementedError

    @property
    def activation(self) -> Activation:
        """What bends the hidden units, or their gates."""
        return self.hidden_act

    @property
    def grid(self) -> int:
        """Cells per side of the learned positions."""
        return _side(self.image_size) // self.patch

    def has_bias(self, part: str) -> bool:
        """Whether the `query`, `key`, `value`, `proj` or `mlp` layers have a published bias."""
        raise NotImplementedError


class DINOv3ViTSettings(ViTSettings):
    """Model type `dinov3_vit`: rotary positions."""

    model_type: ClassVar[str] = "dinov3_vit"
    learned_positions: ClassVar[bool] = False

    patch_size: Sides = 16
    hidden_size: Count = 384
    intermediate_size: Count = 1536
    num_attention_heads: Count = 6
    layer_norm_eps: Positive = 1e-5
    rope_theta: Positive = 100.0
    num_register_tokens: Annotated[int, Field(ge=0, le=1_024)] = 0
    use_gated_mlp: bool = False
    query_bias: bool = True
    key_bias: bool = False
    value_bias: bool = True
    proj_bias: bool = True
    mlp_bias: bool = True
    attention_dropout: Rate = 0.0
    pos_embed_shift: Number | None = None
    pos_embed_jitter: Number | None = None
    pos_embed_rescale: Number | None = 2.0

    @property
    def hidden(self) -> int:
        """See `ViTSettings.hidden`."""
        return self.intermediate_size

    def has_bias(self, part: str) -> bool:
        """See `ViTSettings.has_bias`."""
        return bool(getattr(self, f"{part}_bias"))


class _DINOv2(ViTSettings):
    """Both kinds of DINOv2: learned positions."""

    hidden_size: Count = 768
    num_attention_heads: Count = 12
    layer_norm_eps: Positive = 1e-6
    mlp_ratio: Count | Positive = 4
    qkv_bias: bool = True
    use_swiglu_ffn: bool = False
    hidden_dropout_prob: Rate = 0.0
    attention_probs_dropout_prob: Rate = 0.0

    @property
    def hidden(self) -> int:
        """See `ViTSettings.hidden`; a gated one has two thirds, rounded up to a multiple of 8."""
        hidden = int(self.hidden_size * self.mlp_ratio)
        return (int(hidden * 2 / 3) + 7) // 8 * 8 if self.gated else hidden

    @property
    def activation(self) -> Activation:
        """See `ViTSettings.activation`; gates are SiLU whatever the setting says."""
        return "silu" if self.gated else self.hidden_act

    def has_bias(self, part: str) -> bool:
        """See `ViTSettings.has_bias`."""
        return self.qkv_bias if part in ("query", "key", "value") else True


class DINOv2Settings(_DINOv2):
    """Model type `dinov2`."""

    model_type: ClassVar[str] = "dinov2"

    patch_size: Sides = 14
    use_mask_token: bool = True


class DINOv2RegistersSettings(_DINOv2):
    """Model type `dinov2_with_registers`: its positions are smoothed where they are made fewer."""

    model_type: ClassVar[str] = "dinov2_with_registers"
    antialias: ClassVar[bool] = True

    patch_size: Sides = 16
    num_register_tokens: Annotated[int, Field(ge=0, le=1_024)] = 4


class ConvNeXtSettings(_Published):
    """Model type `dinov3_convnext`."""

    model_type: ClassVar[str] = "dinov3_convnext"

    hidden_sizes: Annotated[list[Count], Field(min_length=1, max_length=8)] = [96, 192, 384, 768]
    depths: Annotated[list[Depth], Field(min_length=1, max_length=8)] = [3, 3, 9, 3]
    layer_norm_eps: Positive = 1e-6
    layer_scale_init_value: Number = 1e-6


Settings = ViTSettings | ConvNeXtSettings

FAMILIES: Mapping[Family, type[ViTSettings] | type[ConvNeXtSettings]] = {
    "dinov3_vit": DINOv3ViTSettings,
    "dinov3_convnext": ConvNeXtSettings,
    "dinov2": DINOv2Settings,
    "dinov2_registers": DINOv2RegistersSettings,
}


def read_settings(spec: BackboneSpec) -> Settings:
    """The settings of `spec`, checked.

    Raises:
        WeightsError: a key (of a local folder) is unknown, or a value is not accepted.
    """
    kind = FAMILIES[spec.family]
    values = {key: value for key, value in spec.config.items() if key not in BOOKKEEPING}
    for key in [key for key in values if key in NEUTRAL]:
        if values.pop(key) != NEUTRAL[key]:
            raise _refusal(spec, f"'{key}' must be {NEUTRAL[key]!r}, given {spec.config[key]!r}")
    try:
        settings = kind.model_validate(values)
    except ValidationError as error:
        raise _refusal(spec, _describe(error.errors()[0], list(kind.model_fields))) from error
    _check_geometry(settings, spec.name)
    return settings


def _check_geometry(settings: Settings, name: str) -> None:
    """Raise for sizes that are each possible but do not go together."""
    if settings.num_channels != 3:
        raise WeightsError(f"{name} takes {settings.num_channels} channels; accepted are RGB backbones (3)")
    if isinstance(settings, ConvNeXtSettings):
        if len(settings.hidden_sizes) != len(settings.depths):
            raise WeightsError(
                f"{name}: its config.json is not accepted (hidden_sizes names {len(settings.hidden_sizes)} "
                f"stages, depths {len(settings.depths)})"
            )
        return
    for key, sides in (("patches", settings.patch_size), ("a grid of positions", settings.image_size)):
        if not isinstance(sides, int) and (len(set(sides)) != 1 or len(sides) > 2):
            raise WeightsError(f"{name} has {key} of {sides} pixels; accepted are square ones")
    multiple = settings.num_attention_heads * (1 if settings.learned_positions else 4)
    if settings.hidden_size % multiple:
        raise WeightsError(
            f"{name}: its config.json is not accepted (hidden_size {settings.hidden_size} is no multiple of "
            f"{multiple}, which {settings.num_attention_heads} heads need)"
        )
    if settings.learned_positions and not settings.grid:
        raise WeightsError(f"{name}: its config.json is not accepted (image_size is below patch_size)")


def _describe(problem: Any, known: list[str]) -> str:
    """Say in a few words what is wrong with the first key."""
    key = str(problem["loc"][0]) if problem["loc"] else "settings"
    if problem["type"] == "extra_forbidden":
        close = get_close_matches(key, known, n=1, cutoff=0.8)
        hint = f": did you mean '{close[0]}'?" if close else " here, and may change the result: remove it"
        return f"the key '{key}' is unknown{hint}"
    return f"'{key}': {problem['msg']}, given {problem['input']!r:.60}"


def _refusal(spec: BackboneSpec, reason: str) -> WeightsError:
    return WeightsError(f"{spec.name}: its config.json is not accepted ({' '.join(reason.split())})")


def _side(sides: int | list[int]) -> int:
    return sides if isinstance(sides, int) else sides[0]
