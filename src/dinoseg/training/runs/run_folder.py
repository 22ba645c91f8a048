"""The run folder: where everything about a training run lies, and what may happen to an older one."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dinoseg import __version__
from dinoseg.backbones.catalog import BACKBONES
from dinoseg.backbones.extractors import Backbone
from dinoseg.config import from_yaml, override, to_yaml
from dinoseg.data.sources.arrays import IN_MEMORY
from dinoseg.data.splits.splits import PARTS as SPLITS_OF_FOLDERS
from dinoseg.data.splits.splits import Splits, load_splits, save_splits
from dinoseg.errors import ConfigError, OutputError, RunError
from dinoseg.model.settings import RunSettings
from dinoseg.outputs import claim, holds_files, refuse_filled, remove_ours, write_json, write_text
from dinoseg.training.learning.checkpoints import BEST, LAST

ADVICE = "advice.json"
PACKAGES = ("torch", "lightning", "numpy", "scipy", "pillow", "safetensors")
# while a run is resumed: no model depends on them
FREE_TO_CHANGE = (
    *("cache.folder", "cache.limit_gb", "train.advice"),
    *("train.logger", "train.wandb_mode", "train.mlflow_uri"),
)
MAY_GROW = "train.epochs"


@dataclass(frozen=True)
class RunFolder:
    """Paths of a run."""

    root: Path

    @property
    def config(self) -> Path:
        """Settings of the run."""
        return self.root / "config.yaml"

    @property
    def splits(self) -> Path:
        """The cases that were used for what."""
        return self.root / "splits.json"

    def part(self, name: str) -> Path:
        """The splits of one of several data folders."""
        return self.root / SPLITS_OF_FOLDERS / f"{name}.json"

    @property
    def metrics(self) -> Path:
        """One row per epoch."""
        return self.root / "metrics.csv"

    @property
    def checkpoints(self) -> Path:
        """Folder of `last.ckpt` and `best.ckpt`."""
        return self.root / "checkpoints"

    @property
    def last(self) -> Path:
        """State after the last finished epoch, to resume from."""
        return self.checkpoints / f"{LAST}.ckpt"

    @property
    def best(self) -> Path:
        """Decoder of the epoch with the best validation Dice."""
        return self.checkpoints / f"{BEST}.ckpt"

    @property
    def model(self) -> Path:
        """The finished model."""
        return self.root / "model"

    @property
    def curve(self) -> Path:
        """Picture of the learning curves."""
        return self.root / "report" / "learning_curve.png"

    @property
    def advice(self) -> Path:
        """What would help next."""
        return self.root / "report" / ADVICE

    def open(self, settings: RunSettings, *, resume: bool, overwrite: bool) -> int:
        """Make the folder ready for a run with these settings.

        Returns:
            How many epochs the run was to have so far; fewer than now where it shall go on for longer.

        Raises:
            OutputError: it holds something already and neither flag was given, or `overwrite`, and
                it holds a file that is not ours.
            RunError: `resume`, and the folder holds a run with other settings, or with more epochs.
        """
        if resume and self.config.is_file():
            claim(self.root)
            return self._go_on(settings)
        self.refuse_older(resume=resume, overwrite=overwrite)
        remove_ours(self.root)
        claim(self.root)
        write_text(self.config, to_yaml(settings), overwrite=True)
        return settings.train.epochs

    def read_config(self) -> RunSettings:
        """The settings that the run was begun with.

        Raises:
            RunError: they cannot be read.
        """
        try:
            return from_yaml(RunSettings, self.config.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, ConfigError) as error:
            raise RunError(
                f"{self.config} is damaged ({error}); restore it, or choose another --out"
            ) from error

    def refuse_older(self, *, resume: bool, overwrite: bool) -> None:
        """Raise `OutputError` if the folder holds something and no flag says what to do with it.

        With `overwrite` also where it holds a file that is not ours; it is named.
        """
        started = self.config.is_file()
        if resume and started:
            return
        if resume and holds_files(self.root):
            raise OutputError(
                f"{self.root} is not empty and holds no run to resume (no {self.config.name}); "
                "choose another --out"
            )
        refuse_filled(self.root, overwrite=overwrite, resumable=started)

    def record_splits(self, splits: Splits) -> None:
        """Write splits.json.

        Raises:
            RunError: a resumed run was started with other cases.
        """
        if self.splits.is_file() and load_splits(self.splits) != splits:
            raise RunError(
                f"{self.splits} has other cases than the data now; restore the data's splits to resume, "
                "or start anew with --overwrite"
            )
        save_splits(self.splits, splits, overwrite=True)

    def record_parts(self, parts: Mapping[str, Splits]) -> None:
        """Write the splits of each of several data folders into splits/, under its name."""
        for name, splits in parts.items():
            save_splits(self.part(name), splits, overwrite=True)

    def record_environment(self, backbone: Backbone, device: str, content: str) -> None:
        """Write environment.json, replacing what held when an interrupted run began.

        Args:
            backbone: what computes the features.
            device: what computes.
            content: digest of all images and masks of the run.

        Raises:
            RunError: a resumed run was started with another backbone, or other pixels.
        """
        path = self.root / "environment.json"
        before_content = _recorded(path, "data", "digest")
        if before_content is not None and before_content != content:
            raise RunError(
                f"images or masks of {self.root} have changed since it was started; "
                "restore them to resume, or start anew with --overwrite"
            )
        before = _recorded(path, "backbone", "digest")
        if before is not None and before != backbone.digest:
            raise RunError(
                f"{self.root} was started with a backbone of digest {before[:12]}, "
                f"now {backbone.digest[:12]}; restore its weights to resume, or start anew with --overwrite"
            )
        described = {**describe_environment(backbone, device), "data": {"digest": content}}
        write_json(path, described, overwrite=True)

    def _go_on(self, settings: RunSettings) -> int:
        """Let an older run have the epochs that are wanted now; how many it was to have before."""
        recorded = _complete(self.read_config(), settings)
        before, wanted = recorded.train.epochs, settings.train.epochs
        longer = override(recorded, {MAY_GROW: wanted}) if wanted > before else recorded
        self._require_same(longer, settings)
        if longer != self.read_config():
            write_text(self.config, to_yaml(longer), overwrite=True)
        return before

    def _require_same(self, recorded: RunSettings, settings: RunSettings) -> None:
        before = flatten(_anchor_settings(recorded).model_dump(mode="json"))
        now = flatten(_anchor_settings(settings).model_dump(mode="json"))
        keys = {*before, *now} - {*FREE_TO_CHANGE}
        different = [key for key in sorted(keys) if before.get(key) != now.get(key)]
        if different:
            key = different[0]
            raise RunError(
                f"{self.root} was started with {key}={before.get(key)}, now {now.get(key)}"
                f"{f' ({len(different)} settings differ)' if len(different) > 1 else ''}; "
                "resume with the same settings or start anew with --overwrite"
            )


def _complete(recorded: RunSettings, settings: RunSettings) -> RunSettings:
    """What a run was begun with; what its release did not ask for yet, and no step depends on, is as now."""
    new = {"symmetries", "decision"} - recorded.model.model_fields_set
    return override(recorded, {f"model.{name}": getattr(settings.model, name) for name in new})


def anchor(path: Path) -> Path:
    """`path` from the root: a run is used from other working folders than it was made in."""
    return Path(os.path.normpath(path.absolute()))


def anchor_data(folders: Sequence[Path | str]) -> Path | tuple[Path, ...]:
    """Data folders from the root; one of them is no list."""
    paths = tuple(IN_MEMORY if folder == IN_MEMORY else anchor(Path(folder)) for folder in folders)
    return paths[0] if len(paths) == 1 else paths


def anchor_backbone(name: str) -> str:
    """A catalog name as it is, a folder from the root."""
    return str(anchor(Path(name))) if name not in BACKBONES and Path(name).is_dir() else name


def _anchor_settings(settings: RunSettings) -> RunSettings:
    """The same with paths from the root, which runs of older versions may lack."""
    changes = {
        "data": anchor_data(settings.folders),
        "splits": settings.splits and anchor(settings.splits),
        "model.backbone.name": anchor_backbone(settings.model.backbone.name),
    }
    return override(settings, changes)


def describe_environment(backbone: Backbone, device: str) -> dict[str, Any]:
    """Versions, machine and backbone of a run, for environment.json."""
    return {
        "dinoseg": __version__,
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "device": device,
        "gpu": torch.cuda.get_device_name(device) if device.startswith("cuda") else None,
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "backbone": {
            "name": backbone.name,
            "digest": backbone.digest,
            "source": backbone.source,
            "license": backbone.license,
        },
    }


def _recorded(path: Path, part: str, key: str) -> str | None:
    """What environment.json says of a run, where that is on record."""
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))[part][key])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings as dotted key -> value in JSON, to be compared."""
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = json.dumps(value)
    return flat
