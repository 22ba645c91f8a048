"""The settings themselves: frozen, typed, checked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from dinoseg.config.class_weights import ClassWeights
from dinoseg.config.loggers import Address, Loggers

Preset = Literal["paper", "default"]
Decision = Literal["probable", "dice"]
LossName = Literal["cross_entropy", "dice_cross_entropy", "half_dice_half_cross_entropy", "focal"]
Probability = Annotated[float, Field(ge=0, le=1)]
BackboneEngine = Literal["torch", "onnxruntime", "openvino"]
LARGEST_WINDOW = 4096  # px: 65,536 patches, beyond what attention takes
Scale = Annotated[float, Field(gt=0, le=4)]


def _require_numbering(classes: dict[int, str]) -> dict[int, str]:
    if len(classes) < 2 or sorted(classes) != list(range(len(classes))):
        raise ValueError("ids go from 0 (background) up without a hole, and there are two at least")
    return dict(sorted(classes.items()))


def _require_whole_first(scales: tuple[float, ...]) -> tuple[float, ...]:
    if not scales or scales[0] != 1 or len(set(scales)) < len(scales):
        raise ValueError("give 1.0 first, then different ones, for example [1.0, 0.5]")
    return scales


Classes = Annotated[dict[int, str], AfterValidator(_require_numbering)]


class Settings(BaseModel):
    """Base of all settings: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DecoderSettings(Settings):
    """Base of the settings of a method's decoder: whose it is, then its options."""

    method: str


class WindowIntensity(Settings):
    """CT: windows in Hounsfield units; three of them are the three channels."""

    kind: Literal["window"] = Field("window", description="CT, in Hounsfield units")
    windows: tuple[tuple[float, float], ...] = Field(
        ((40.0, 400.0),), description="one or three of (centre, width)"
    )

    @model_validator(mode="after")
    def _require_windows(self) -> WindowIntensity:
        if len(self.windows) not in (1, 3) or any(width <= 0 for _, width in self.windows):
            raise ValueError("give one or three windows (centre, width) with widths above 0")
        return self


class PercentileIntensity(Settings):
    """MR and unknown: between two percentiles of each volume and channel."""

    kind: Literal["percentiles"] = Field(
        "percentiles", description="MR and unknown: of each volume and channel"
    )
    low: float = Field(0.5, ge=0, le=100, description="percentile that becomes 0")
    high: float = Field(99.5, ge=0, le=100, description="percentile that becomes 1")
    region: Literal["foreground", "all"] = Field(
        "foreground", description="foreground leaves out the voxels with the volume's smallest value"
    )

    @model_validator(mode="after")
    def _require_order(self) -> PercentileIntensity:
        if self.low >= self.high:
            raise ValueError(f"low {self.low} is not below high {self.high}")
        return self


class RangeIntensity(Settings):
    """A fixed range for every volume."""

    kind: Literal["range"] = Field("range", description="the same for every volume")
    minimum: float = Field(0.0, description="value that becomes 0")
    maximum: float = Field(255.0, description="value that becomes 1")

    @model_validator(mode="after")
    def _require_order(self) -> RangeIntensity:
        if self.minimum >= self.maximum:
            raise ValueError(f"minimum {self.minimum} is not below maximum {self.maximum}")
        return self


IntensitySettings = Annotated[
    WindowIntensity | PercentileIntensity | RangeIntensity, Field(discriminator="kind")
]


class PreprocessingSettings(Settings):
    """How an image, or a slice of a volume, becomes the input of the backbone."""

    size: int = Field(320, ge=1, le=8192, description="side of the square that images are resized to, px")
    window: int | None = Field(
        None, ge=1, le=LARGEST_WINDOW, description="images are seen through windows of this side, as trained"
    )
    intensity: IntensitySettings | None = Field(
        None,
        description="of volumes: {kind: window, windows: [[40, 400]]}, {kind: percentiles, low: 0.5, "
        "high: 99.5, region: foreground} or {kind: range, minimum: 0, maximum: 255}; null: for images",
    )
    context: Literal[1, 3] = Field(
        1, description="of volumes: 3 shows a slice between its neighbours as the three channels"
    )
    plane: Literal["axial", "coronal", "sagittal"] = Field(
        "axial", description="of volumes: how they are cut"
    )
    channels: int = Field(1, ge=1, description="of volumes: how many each has; read from the data")
    slice_spacing: float | None = Field(
        None,
        gt=0,
        description="of volumes, for methods that read the slices around: mm of a step from one to the next; "
        "read from the data",
    )

    @model_validator(mode="after")
    def _require_size_of_window(self) -> PreprocessingSettings:
        if self.window is not None and self.window != self.size:
            raise ValueError(f"a window is seen at its own size, so size is {self.window} as well")
        return self

    @model_validator(mode="after")
    def _require_three_channels(self) -> PreprocessingSettings:
        if self.context == 1:
            return self
        if self.intensity is None:
            raise ValueError("context 3 is for volumes; images have no neighbours")
        if isinstance(self.intensity, WindowIntensity) and len(self.intensity.windows) > 1:
            raise ValueError("context 3 and three windows are nine channels; choose one of the two")
        return self

    @property
    def for_volumes(self) -> bool:
        """Whether the model takes volumes (and no images)."""
        return self.intensity is not None


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
    steps_per_epoch: int | None = Field(
        None, ge=1, description="batches of an epoch; null: one pass over the training cases"
    )
    batch_size: int = Field(4, ge=1)
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    momentum: float = Field(0.99, ge=0, lt=1, description="Nesterov's, of sgd; the others have none")
    lr: float = Field(1e-4, gt=0)
    weight_decay: float = Field(1e-4, ge=0)
    gradient_clip: float | None = Field(
        None, gt=0, description="a gradient with a larger norm is scaled down to it"
    )
    loss: LossName = Field(
        "dice_cross_entropy", description="binary cross-entropy where there is one foreground class"
    )
    class_weights: ClassWeights | None = Field(
        None,
        description="of the classes in the loss: a list, background first, or {name: weight}",
    )
    schedule: Literal["constant", "cosine", "poly"] = "cosine"
    warmup_epochs: int = Field(0, ge=0)
    window: int | None = Field(
        None,
        ge=1,
        le=LARGEST_WINDOW,
        description="side in px of random windows at native resolution; null: whole images, resized",
    )
    window_foreground: Probability = Field(
        0.5, description="share of the windows that are centred on a class, where the image shows one"
    )
    foreground_share: Probability = Field(
        0.5, description="of volumes: at least so much of an epoch's slices shows a class"
    )
    views: int = Field(
        1, ge=1, le=1024, description="copies of each image in the bank; the first is not augmented"
    )
    min_bank: int = Field(0, ge=0, description="few images get more views each, until the bank holds so many")
    min_epoch_samples: int = Field(
        0,
        ge=0,
        description="few images are repeated within an epoch up to so many; steps_per_epoch replaces it",
    )
    augmentation: AugmentationSettings | None = None
    feature_augmentation: Literal["wavelet"] | None = Field(
        None, description="WT-Aug of DINO-AugSeg: drops Haar coefficients of the features in training"
    )
    wavelet_probability: Probability = Field(0.7, description="of changing the features of a sample at all")
    wavelet_drop: Probability = Field(0.3, description="share of the coefficients that is dropped")
    keep: Literal["best", "last"] = Field(
        "best", description="best by validation Dice at native size, or the last"
    )
    patience: int | None = Field(
        None, ge=1, description="stop after so many epochs without a better validation Dice"
    )
    validate_every: int = Field(1, ge=1, description="epochs between validations")
    logger: Loggers = Field(("tensorboard",), description="one or several, below logs/ of the run; or none")
    wandb_mode: Literal["offline", "online"] = Field(
        "offline", description="of the logger wandb; offline sends nothing, wandb sync does so later"
    )
    mlflow_uri: Address | None = Field(
        None, description="of the logger mlflow: address of a server; null: a file in the run folder"
    )
    advice: bool = Field(
        True, description="measure what would help next, after a single run: labels, epochs, input size"
    )
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
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="what it computes in; bfloat16 is faster where the processor has it"
    )
    engine: BackboneEngine = Field(
        "torch", description="what computes it on the processor; bfloat16 is for torch and openvino"
    )
    scales: Annotated[tuple[Scale, ...], AfterValidator(_require_whole_first)] = Field(
        (1.0,),
        description="input sizes relative to model.preprocessing.size, side by side; the first is 1.0",
    )
