"""What is trained and how, said once: for one run, draws, learning curves, and whatever trains later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from dinoseg.errors import ConfigError, UsageError

Preset = Literal["paper", "default"]
ShotsFrom = Literal["random", "first"]
ShotUnit = Literal["case", "group"]
ScoredSplit = Literal["test", "val"]
DEVICES = ("cpu", "cuda")
DEFAULT_METHOD = "guided"  # docs/guided.md compares it with the published ones

_WORDS: Mapping[str, tuple[str, ...]] = {
    "preset": get_args(Preset),
    "shots_from": get_args(ShotsFrom),
    "shot_unit": get_args(ShotUnit),
}


@dataclass(frozen=True)
class Training:
    """Options of `train`, `train_draws` and `learn_curve`.

    Attributes:
        method: one of `dinoseg.METHODS`.
        backbone: catalog name or local Hugging Face folder.
        preset: "paper", the method's published recipe and input size, or "default", ours.
        shots: train on so many labelled cases only; the last epoch is then kept, because
            choosing one would need more labels.
        shots_from: draw the shots at random (seeded) or take the first of the split.
        shot_unit: what is counted: cases, or groups (patients, videos).
        splits: a splits.json; default: the data set's own, else one drawn by group.
        init: a run whose decoder this one begins with, instead of random weights: of the same method
            and backbone; a classifier of another number of classes begins anew.
        changes: dotted settings to change, such as {"train.lr": 1e-4}.
        seed: of initial weights, order, views, shots and drawn splits.
        device: "cpu", "cuda" or "cuda:1".
        devices: processes on each machine that train together, each on a device of its own; they share every
            batch, so that the result is that of one. `dinoseg train` starts them; a program is started
            with torchrun, or by SLURM.
        nodes: machines, which see the run folder under one path.
        accept_license: accept the licence of the backbone's weights.
        resume: continue what was interrupted; the result equals an uninterrupted one.
        overwrite: delete what an older call wrote first, where nobody added or changed a file.

    Raises:
        ConfigError: a word is none of those that are accepted.
        UsageError: the device is neither cpu nor cuda.
    """

    method: Any = DEFAULT_METHOD
    backbone: str | Path = "dinov3_vits16"
    preset: Preset = "default"
    shots: int | None = None
    shots_from: ShotsFrom = "random"
    shot_unit: ShotUnit = "case"
    splits: Path | str | None = None
    init: Path | str | None = None
    changes: Mapping[str, Any] | None = None
    seed: int = 0
    device: str = "cpu"
    devices: int = 1
    nodes: int = 1
    accept_license: bool = False
    resume: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        for name, accepted in _WORDS.items():
            given = getattr(self, name)
            if given not in accepted:
                raise ConfigError(f"{name!r} takes {' or '.join(accepted)}, given {given!r}")
        if self.devices < 1 or self.nodes < 1:
            raise UsageError(f"devices and nodes are at least 1, given {self.devices} and {self.nodes}")
        if self.devices * self.nodes > 1 and ":" in self.device:
            raise UsageError(
                f"{self.devices * self.nodes} processes take a device each, given {self.device!r}; say 'cuda'"
            )
        if self.device.partition(":")[0] not in DEVICES:
            kinds = " or ".join(DEVICES)
            raise UsageError(f"training runs on {kinds}, given {self.device!r}; `dinoseg predict` takes more")
