"""The settings of a decoder, read from the shapes of its tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dinoseg.config import DecoderSettings, decoder_settings
from dinoseg.decoders.deformable import POINTS
from dinoseg.errors import RunError
from dinoseg.releases.checkpoints import State

LEVELS = range(4)
FINEST = 2  # stage of the U-Net that makes the finest logits


@dataclass(frozen=True)
class Found:
    """What the shapes of a decoder's tensors say.

    Attributes:
        settings: of the decoder.
        outputs: channels of the logits.
        channels: widths of the maps that it reads.
        classifiers: our prefix of the layers that make logits.
    """

    settings: DecoderSettings
    outputs: int
    channels: tuple[int, ...]
    classifiers: str


def infer_decoder(method: str, state: State) -> Found | None:
    """Read widths and options from the tensors, under our names; None if one is not there.

    Raises:
        RunError: a tensor has fewer dimensions than the method's.
        ConfigError: a size that no decoder of the method has.
    """
    try:
        return READERS[method](_Sizes(state))
    except KeyError:
        return None


class _Sizes:
    """Sizes of tensors by name: `sizes("classify.weight", 0)`; KeyError if there is no such tensor."""

    def __init__(self, state: State) -> None:
        self.state = state

    def __contains__(self, name: str) -> bool:
        return name in self.state

    def __call__(self, name: str, axis: int = 0) -> int:
        shape = tuple(self.state[name].shape)
        if len(shape) <= axis:
            raise RunError(f"{name} has shape {shape}, which it has in no checkpoint of the method")
        return shape[axis]


def _read_segdino_v1(sizes: _Sizes) -> Found:
    settings = decoder_settings(
        "segdino-v1",
        features=sizes("mix.0.weight"),
        widths=tuple(sizes(f"project.{i}.weight") for i in LEVELS),
        upsample="enlarge.weight" in sizes,
    )
    channels = tuple(sizes(f"project.{i}.weight", 1) for i in LEVELS)
    return Found(settings, sizes("classify.weight"), channels, "classify.")


def _read_segdino_v2(sizes: _Sizes) -> Found:
    settings = decoder_settings(
        "segdino-v2",
        width=sizes("classify.weight", 1),
        norm="batch" if "sad.intra.0.norm.running_mean" in sizes else "group",
    )
    channels = tuple(sizes(f"tpa.project.{i}.weight", 1) for i in LEVELS)
    return Found(settings, sizes("classify.weight"), channels, "classify.")


def _read_dino_unet(sizes: _Sizes) -> Found:
    settings = decoder_settings(
        "dino-unet",
        features_per_stage=tuple(sizes(f"fapm.scales.{i}.project.weight") for i in LEVELS),
        fapm_rank=sizes("fapm.shared.weight"),
        spm_width=sizes("adapter.spm.stem.0.weight"),
        heads=sizes("adapter.interactions.0.extractors.0.attention.weights.weight") // POINTS,
        deep_supervision=any(f"unet.classify.{stage}.weight" in sizes for stage in range(FINEST)),
    )
    outputs = sizes(f"unet.classify.{FINEST}.weight")
    return Found(settings, outputs, (sizes("adapter.level_embed", 1),) * len(LEVELS), "unet.classify.")


def _read_dino_augseg(sizes: _Sizes) -> Found:
    """Heads stay as published: they cut the rows of square matrices, which shows in no shape."""
    settings = decoder_settings("dino-augseg", final_width=sizes("up.weight", 1))
    widths = tuple(sizes(f"cg_fuse.{i}.attention.norm_query.weight") for i in range(3))
    deepest = sizes("cg_fuse.2.up.weight")
    return Found(settings, sizes("classify.weight"), (*widths, deepest), "classify.")


READERS: Mapping[str, Callable[[_Sizes], Found]] = {
    "segdino-v1": _read_segdino_v1,
    "segdino-v2": _read_segdino_v2,
    "dino-unet": _read_dino_unet,
    "dino-augseg": _read_dino_augseg,
}
