"""Settings of a whole model and of a training run; the decoder's are those of its method; needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny

from dinoseg.config import (
    BackboneSettings,
    CacheSettings,
    Classes,
    Decision,
    DecoderSettings,
    PreprocessingSettings,
    Preset,
    Settings,
    TrainSettings,
)
from dinoseg.methods import METHODS, find_method


def _look_up(values: Any) -> Any:
    """Values of a decoder as settings of their method."""
    if not isinstance(values, Mapping):
        return values
    if "method" not in values:
        raise ValueError(f"'method' is missing; accepted: {', '.join(METHODS)}")
    return find_method(str(values["method"])).settings.model_validate(values)


#: Settings of any known method: looked up by `method`, written with all options of that method.
AnyDecoderSettings = Annotated[SerializeAsAny[DecoderSettings], BeforeValidator(_look_up)]


class ModelSettings(Settings):
    """Everything that defines a model besides its weights."""

    backbone: BackboneSettings
    decoder: AnyDecoderSettings
    preprocessing: PreprocessingSettings = PreprocessingSettings()
    classes: Classes = Field(description="id -> name, 0 is background")
    symmetries: Literal[1, 2, 4, 8] = Field(
        1,
        description="symmetries of the square whose probabilities are averaged in prediction; guided takes "
        "as many as its training shows",
    )
    decision: Decision = Field(
        "probable",
        description="of masks of images: each pixel's most probable class, or the extent of each class whose "
        "Dice is expected to be greatest",
    )

    @property
    def outputs(self) -> int:
        """Channels K of the logits: 1 for one foreground class (sigmoid), else one per class (softmax)."""
        return 1 if len(self.classes) == 2 else len(self.classes)


class RunSettings(Settings):
    """Everything that defines a training run; written to config.yaml of the run folder."""

    data: Path | tuple[Path, ...] = Field(description="a folder, or several")
    preset: Preset = "default"
    splits: Path | None = None
    fold: int = Field(0, ge=0, description="of splits_final.json")
    shots: int | None = Field(None, ge=1)
    shots_from: Literal["random", "first"] = "random"
    shot_unit: Literal["case", "group"] = "case"
    init: Path | None = Field(
        None, description="run whose decoder this one begins with; null: random weights"
    )
    model: ModelSettings
    train: TrainSettings = TrainSettings()
    cache: CacheSettings = CacheSettings()

    @property
    def folders(self) -> tuple[Path, ...]:
        """The data folders, one or several."""
        return (self.data,) if isinstance(self.data, Path) else self.data
