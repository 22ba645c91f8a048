"""Settings of a model and of a training run: frozen, typed, checked; YAML in and out.

`preset(name, method)` gives the two recipes: `paper` (as published) and `default` (ours).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from dinoseg.errors import ConfigError

Method = Literal["segdino-v1", "segdino-v2", "dino-unet", "dino-augseg", "linear"]
Preset = Literal["paper", "default"]
Probability = Annotated[float, Field(ge=0, le=1)]
EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")  # YAML 1.1 reads 1e-4 as text
S = TypeVar("S", bound="Settings")
T = TypeVar("T")


def _require_numbering(classes: dict[int, str]) -> dict[int, str]:
    if len(classes) < 2 or sorted(classes) != list(range(len(classes))):
        raise ValueError("ids go from 0 (background) up without a hole, and there are two at least")
    return dict(sorted(classes.items()))


Classes = Annotated[dict[int, str], AfterValidator(_require_numbering)]


class Settings(BaseModel):
    """Base of all settings: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class SegDINOv1Settings(Settings):
    """Decoder of SegDINO, first version."""

    method: Literal["segdino-v1"] = "segdino-v1"
    features: int = Field(128, ge=1, description="width after the 3x3 convolutions")
    widths: tuple[int, int, int, int] = Field((96, 192, 384, 768), description="width after each 1x1")
    upsample: bool = Field(
        True, description="enlarge the first layer x4, as released; the paper has no such step"
    )


class SegDINOv2Settings(Settings):
    """Decoder of SegDINO, second version: TPA + SAD."""

    method: Literal["segdino-v2"] = "segdino-v2"
    width: int = Field(256, ge=1, description="D: 128, 256 or 512 are published")
    norm: Literal["group", "batch"] = "group"


class DinoUNetSettings(Settings):
    """Decoder of Dino U-Net: adapter, FAPM, U-Net; published at an input of 512 px."""

    method: Literal["dino-unet"] = "dino-unet"
    features_per_stage: tuple[
        Annotated[int, Field(ge=1)],
        Annotated[int, Field(ge=1)],
        Annotated[int, Field(ge=1)],
        Annotated[int, Field(ge=1)],
    ] = Field((32, 64, 128, 256), description="widths of the U-Net, from fine to coarse")
    fapm_rank: int = Field(256, ge=1, description="channels between the two projections of FAPM")
    spm_width: int = Field(64, ge=1, description="width of the spatial prior's stem")
    heads: int = Field(
        16, ge=1, description="of the deformable attention; divides half the width of the features"
    )
    drop_path: float = Field(
        0.3, ge=0, lt=1, description="probability of dropping a branch of the adapter, in training"
    )
    deep_supervision: bool = Field(False, description="classifiers at the coarser stages too")


class DinoAugSegSettings(Settings):
    """Decoder of DINO-AugSeg: CG-Fuse at three scales; published at an input of 768 px."""

    method: Literal["dino-augseg"] = "dino-augseg"
    final_width: int = Field(64, ge=1, description="channels at stride 2")
    heads: int = Field(4, ge=1, description="of the attention; each needs an even number of channels")


class LinearSettings(Settings):
    """The baseline: one 1x1 convolution on the concatenated maps."""

    method: Literal["linear"] = "linear"


DecoderSettings = Annotated[
    SegDINOv1Settings | SegDINOv2Settings | DinoUNetSettings | DinoAugSegSettings | LinearSettings,
    Field(discriminator="method"),
]


class PreprocessingSettings(Settings):
    """How an image becomes the input of the backbone."""

    size: int = Field(256, ge=1, le=8192, description="side of the square that images are resized to, px")


class AugmentationSettings(Settings):
    """Random changes of one augmented view; each group has its own probability."""

    horizontal_flip: Probability = 0.5
    vertical_flip: Probability = 0.5
    rotation: float = Field(15.0, ge=0, le=180, description="degrees either way")
    rotation_probability: Probability = 0.5
    zoom: float = Field(0.0, ge=0, lt=1, description="relative change of scale either way")
    zoom_probability: Probability = 0.0
    brightness: float = Field(0.2, ge=0, le=1)
    contrast: float = Field(0.2, ge=0, le=1)
    saturation: float = Field(0.1, ge=0, le=1)
    hue: float = Field(0.05, ge=0, le=0.5, description="fraction of the colour circle")
    colour_probability: Probability = 0.5


class TrainSettings(Settings):
    """How the decoder learns."""

    epochs: int = Field(50, ge=1)
    batch_size: int = Field(4, ge=1)
    lr: float = Field(1e-4, gt=0)
    weight_decay: float = Field(1e-4, ge=0)
    loss: Literal["cross_entropy", "dice_cross_entropy", "focal"] = Field(
        "dice_cross_entropy", description="binary cross-entropy where there is one foreground class"
    )
    schedule: Literal["constant", "cosine"] = "cosine"
    warmup_epochs: int = Field(0, ge=0)
    views: int = Field(
        1, ge=1, le=1024, description="copies of each image in the bank; the first is not augmented"
    )
    min_bank: int = Field(0, ge=0, description="few images get more views each, until the bank holds so many")
    min_epoch_samples: int = Field(
        0, ge=0, description="few images are repeated within an epoch up to so many"
    )
    augmentation: AugmentationSettings | None = None
    keep: Literal["best", "last"] = Field(
        "best", description="best by validation Dice at native size, or the last"
    )
    patience: int | None = Field(
        None, ge=1, description="stop after so many epochs without a better validation Dice"
    )
    validate_every: int = Field(1, ge=1, description="epochs between validations")
    seed: int = Field(0, ge=0, lt=2**32)

    @model_validator(mode="after")
    def _require_validation(self) -> TrainSettings:
        if self.validate_every > self.epochs:
            raise ValueError(f"validate_every {self.validate_every} is above epochs {self.epochs}")
        return self


class CacheSettings(Settings):
    """Where the features of the frozen backbone are remembered, and how much of them."""

    folder: Path | None = Field(None, description="default: features/ in the dinoseg home folder")
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    limit_gb: float = Field(20.0, gt=0, description="oldest entries go first beyond this")


class BackboneSettings(Settings):
    """Which frozen backbone, and which of its layers."""

    name: str = Field(description="catalog name or local Hugging Face folder")
    layers: tuple[int, ...] | None = Field(None, description="0-based; default: the published layers")


class ModelSettings(Settings):
    """Everything that defines a model besides its weights."""

    backbone: BackboneSettings
    decoder: DecoderSettings
    preprocessing: PreprocessingSettings = PreprocessingSettings()
    classes: Classes = Field(description="id -> name, 0 is background")

    @property
    def outputs(self) -> int:
        """Channels K of the logits: 1 for one foreground class (sigmoid), else one per class (softmax)."""
        return 1 if len(self.classes) == 2 else len(self.classes)


class RunSettings(Settings):
    """Everything that defines a training run; written to config.yaml of the run folder."""

    data: Path
    preset: Preset = "default"
    splits: Path | None = None
    shots: int | None = Field(None, ge=1)
    shots_from: Literal["random", "first"] = "random"
    shot_unit: Literal["case", "group"] = "case"
    model: ModelSettings
    train: TrainSettings = TrainSettings()
    cache: CacheSettings = CacheSettings()


def decoder_settings(method: str, **changes: Any) -> DecoderSettings:
    """Settings of a method's decoder with the published widths, changed by keyword."""
    known = get_args(Method)
    if method not in known:
        raise ConfigError(
            f"method {method!r} is unknown{_did_you_mean(method, known)}; accepted: {', '.join(known)}"
        )
    adapter: TypeAdapter[DecoderSettings] = TypeAdapter(DecoderSettings)
    return _check(adapter, {"method": method, **changes})


def preset(name: str, method: str) -> TrainSettings:
    """The training recipe of a preset: `paper` as published for the method, or `default`, ours."""
    if name == "default":
        return TrainSettings(
            epochs=50,
            lr=1e-3,
            weight_decay=0.01,
            loss="dice_cross_entropy",
            schedule="cosine",
            warmup_epochs=2,
            views=8,
            min_bank=400,
            min_epoch_samples=200,
            augmentation=AugmentationSettings(zoom=0.2, zoom_probability=0.5),
        )
    recipes = {
        "segdino-v1": TrainSettings(loss="cross_entropy", schedule="constant"),
        "segdino-v2": TrainSettings(
            loss="cross_entropy",
            schedule="constant",
            weight_decay=0.01,
            views=8,
            augmentation=AugmentationSettings(),
        ),
        # AdamW without decay is Adam, and Adam does not see the factor of 1/2 before both losses.
        "dino-augseg": TrainSettings(
            epochs=2000,
            batch_size=2,
            weight_decay=0.0,
            loss="dice_cross_entropy",
            schedule="constant",
            keep="last",
        ),
        "linear": TrainSettings(loss="cross_entropy", schedule="constant"),
    }
    if name != "paper":
        raise ConfigError(f"preset {name!r} is unknown; accepted: paper, default")
    if method not in recipes:
        raise ConfigError(f"preset 'paper' has no recipe for {method!r}; accepted: {', '.join(recipes)}")
    return recipes[method]


def override(settings: S, changes: Mapping[str, Any]) -> S:
    """Return `settings` with dotted keys changed, checked again.

    Args:
        settings: any settings object.
        changes: dotted key -> value, e.g. {"train.lr": 1e-4}; `None` clears an optional one.

    Raises:
        ConfigError: a key is unknown or a value is not accepted.
    """
    values = settings.model_dump()
    known = _list_keys(values)
    for key, value in changes.items():
        *parents, last = key.split(".")
        target: Any = values
        for parent in parents:
            if target.get(parent, "") is None:
                target[parent] = {}
            target = target.get(parent)
            if not isinstance(target, dict):
                raise ConfigError(_describe_unknown(key, known) + "; `dinoseg info settings` lists all")
        target[last] = value
    return _check(TypeAdapter(type(settings)), values, known)


def parse_assignments(assignments: Sequence[str]) -> dict[str, Any]:
    """Turn `key=value` words of the command line into a dictionary; values are read as YAML."""
    changes: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set takes key=value, given {assignment!r}; for example --set train.lr=1e-4")
        changes[key] = _parse_value(value)
    return changes


def to_yaml(settings: Settings) -> str:
    """The settings as YAML text that `from_yaml` reads back unchanged."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def from_yaml(kind: type[S], text: str) -> S:
    """Read settings of the given kind from YAML text.

    Raises:
        ConfigError: the text is no YAML, a key is unknown, or a value is not accepted.
    """
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"the settings are not valid YAML: {' '.join(str(error).split())}") from error
    return _check(TypeAdapter(kind), values)


def _parse_value(text: str) -> Any:
    if EXPONENT.fullmatch(text):
        return float(text)
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _check(adapter: TypeAdapter[T], values: Any, known: Sequence[str] = ()) -> T:
    try:
        return adapter.validate_python(values)
    except ValidationError as error:
        problems = "; ".join(_describe(item, known) for item in error.errors()[:5])
        raise ConfigError(f"{problems}; `dinoseg info settings` lists what is accepted") from error


def _describe(item: Any, known: Sequence[str]) -> str:
    # The name of the method within `model.decoder` is no part of the key that a person writes.
    parts = [str(part) for part in item["loc"] if part not in get_args(Method)]
    where = ".".join(parts) or "settings"
    if item["type"] == "extra_forbidden":
        return _describe_unknown(where, known)
    reason = item["msg"].removeprefix("Value error, ")
    given = "" if isinstance(item["input"], dict) else f" (given {item['input']!r})"
    return f"setting {where!r}: {reason}{given}"


def _describe_unknown(key: str, known: Sequence[str]) -> str:
    # `epochs` for `train.epochs` is the commonest mistake, a letter the next.
    same = [name for name in known if name.split(".")[-1] == key.split(".")[-1] and name != key]
    hint = f": did you mean {same[0]!r}?" if same else _did_you_mean(key, known)
    return f"setting {key!r} is unknown{hint}"


def _did_you_mean(word: str, known: Sequence[str]) -> str:
    close = get_close_matches(word, known, n=1, cutoff=0.7)
    return f": did you mean {close[0]!r}?" if close else ""


def _list_keys(values: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted keys of all settings that are there; the classes' ids are none."""
    keys = []
    for key, value in values.items():
        if isinstance(value, Mapping) and key != "classes":
            keys += _list_keys(value, f"{prefix}{key}.")
        else:
            keys.append(f"{prefix}{key}")
    return keys
