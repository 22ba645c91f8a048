"""Every command that writes files, at its smallest: what it is called with, and where it writes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dinoseg.outputs import is_temporary
from dinoseg.outputs.manifest import MANIFEST
from tests.releases.files import open_release, write
from tests.training.folders import make_data

TINY = {
    "model.preprocessing.size": 64,
    "train.epochs": 2,
    "train.views": 1,
    "train.min_bank": 0,
    "train.min_epoch_samples": 0,
}


@dataclass(frozen=True)
class Inputs:
    """What the commands read; never to be changed.

    Attributes:
        data: pictures and masks.
        run: a trained model.
        checkpoint: of a released program, and a backbone beside it.
        backbone: that it belongs to.
        features: where a training keeps its features.
        reports: of two evaluations.
        pushed: a folder that the model was pushed to.
    """

    data: Path
    run: Path
    checkpoint: Path
    backbone: Path
    features: Path
    reports: tuple[Path, ...] = ()
    other: Path = Path()
    pushed: Path = Path()


@dataclass(frozen=True)
class Verb:
    """One command.

    Attributes:
        name: for the test's name.
        words: after `dinoseg`, for given inputs and the folder to write.
        go_on: what to add after it was killed, or the disk was full.
        overwrites: whether it has --overwrite.
    """

    name: str
    words: Callable[[Inputs, Path], list[object]]
    go_on: tuple[str, ...]
    overwrites: bool = True


def _train(
    inputs: Inputs, out: Path, *more: object, method: tuple[str, str] = ("--method", "linear")
) -> list:
    settings = {**TINY, "cache.folder": inputs.features}
    assigned = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    given = ["--backbone", "untrained-vitt16", "--threads", 1, *assigned, *more]
    return [inputs.data, *method, "--out", out, *given]


def _demo(_: Inputs, out: Path) -> list[object]:
    return ["demo", "--quick", "--out", out]


def _import(inputs: Inputs, out: Path) -> list[object]:
    words = ["--method", "dino-unet", "--size", 64, "--backbone", inputs.backbone, "--out", out]
    return ["import", inputs.checkpoint, *words]


VERBS = (
    Verb("demo", _demo, ("--overwrite",)),
    Verb("train", lambda inputs, out: ["train", *_train(inputs, out)], ("--resume",)),
    Verb(
        "draws",
        lambda inputs, out: ["train", *_train(inputs, out, "--shots", 1, "--draws", 1)],
        ("--resume",),
    ),
    Verb(
        "curve",
        lambda inputs, out: [
            "curve",
            *_train(inputs, out, "--shots", 1, "--draws", 1, method=("--methods", "linear")),
        ],
        ("--resume",),
    ),
    Verb(
        "predict",
        lambda inputs, out: [
            *("predict", inputs.run, inputs.data / "images", "--out", out),
            *("--probabilities", "--uncertainty", "--review"),
        ],
        ("--resume",),
    ),
    Verb("evaluate", lambda inputs, out: ["evaluate", inputs.run, inputs.data, "--out", out], ()),
    Verb(
        "score",
        lambda inputs, out: ["score", inputs.data / "masks", inputs.data, "--out", out],
        (),
    ),
    Verb("compare", lambda inputs, out: ["compare", *inputs.reports, "--out", out], ()),
    Verb(
        "ensemble",
        lambda inputs, out: ["ensemble", inputs.run, inputs.other, "--out", out],
        ("--overwrite",),
    ),
    Verb("push", lambda inputs, out: ["push", inputs.run, out], ("--overwrite",)),
    Verb("pull", lambda inputs, out: ["pull", inputs.pushed, "--out", out], ("--overwrite",)),
    Verb("export", lambda inputs, out: ["export", inputs.run, "--out", out], ("--overwrite",)),
    Verb("import", _import, ("--overwrite",)),
    Verb("split", lambda inputs, out: ["data", "split", inputs.data, "--out", out / "splits.json"], ()),
    Verb(
        "convert", lambda inputs, out: ["convert", inputs.data, out, "--to", "nnunet"], (), overwrites=False
    ),
)


def make_inputs(root: Path, run: Callable[..., object]) -> Inputs:
    """Draw, train and unpack what the commands read."""
    release = open_release("dino_unet_c2_ds")
    made = Inputs(
        data=make_data(root / "data", count=15),
        run=root / "run",
        checkpoint=write(root / "release.pth", {"network_weights": release.state, "current_epoch": 200}),
        backbone=Path(release.save_other_backbone(root / "vit")),
        features=root / "features",
        reports=(root / "report-a", root / "report-b"),
        pushed=root / "pushed",
        other=root / "other",
    )
    run("train", *_train(made, made.run))
    run("train", *_train(made, made.other, "--seed", 1))
    run("push", made.run, made.pushed)
    for report in made.reports:
        run("score", made.data / "masks", made.data, "--out", report)
    return made


def list_outputs(folder: Path) -> list[str]:
    """Names of the files below a folder, without the list of them."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return sorted(path.relative_to(folder).as_posix() for path in files)


def list_temporary(*folders: Path) -> list[Path]:
    """What writers left below folders."""
    return [path for folder in folders for path in folder.rglob("*") if is_temporary(path)]


def read_all(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content, that of the list as well."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def copy(source: Path, target: Path) -> Path:
    """A folder with the times of its files."""
    return Path(shutil.copytree(source, target))
