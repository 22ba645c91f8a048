"""`make_ensemble`: copies of several runs' models in one folder, which predicts as one; needs no torch."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from dinoseg.config import PostprocessingSettings
from dinoseg.errors import UsageError
from dinoseg.model.ensemble import (
    DOCUMENT,
    EnsembleDescription,
    Member,
    digest_file,
    is_ensemble,
    list_members,
    refuse_unlike,
)
from dinoseg.model.folder import (
    TRAINING_CASES,
    Description,
    find_model_folder,
    find_run_folder,
    read_description,
)
from dinoseg.outputs import atomic_path, claim, refuse_filled, remove_ours, write_json
from dinoseg.progress import Progress, Silent

MEMBERS = "members"
_MODEL_FILES = ("decoder.safetensors", "config.json", "README.md", TRAINING_CASES)
_SPLITS = ("splits.json", "splits/*.json")  # what a run was trained on


def make_ensemble(
    runs: Sequence[Path | str], out: Path | str, *, overwrite: bool = False, progress: Progress | None = None
) -> EnsembleDescription:
    """Copy the models of some runs into one folder that `load`, `predict` and `evaluate` take as one model.

    Decoders, their settings and the lists of what they were trained on are copied, and backbones that lie
    in an imported run; the folder can be moved. The members of an ensemble that is given become members.

    Args:
        runs: run folders, or ensembles; two models at least.
        out: the folder to make.
        overwrite: replace an older one, where nobody added or changed a file.
        progress: told what becomes of postprocessing.

    Raises:
        UsageError: fewer than two models, one twice, or they differ in classes, intensities or planes.
        RunError: a folder holds no model.
        OutputError: `out` holds something, or cannot be written.
    """
    out, progress = Path(out), progress or Silent()
    members = list(_list_runs(runs))
    described = [read_description(find_model_folder(run) / "config.json") for run in members]
    _refuse_few(members)
    refuse_unlike([each.settings for each in described])
    refuse_filled(out, overwrite=overwrite)
    remove_ours(out)
    claim(out)
    copied = [
        _copy(run, each, out, f"{MEMBERS}/{index}")
        for index, (run, each) in enumerate(zip(members, described, strict=True))
    ]
    ensemble = EnsembleDescription("runs", tuple(copied), _choose_postprocessing(described, progress))
    write_json(out / DOCUMENT, ensemble.describe(), overwrite=True)
    return ensemble


def _list_runs(runs: Sequence[Path | str]) -> Iterator[Path]:
    for run in map(Path, runs):
        if is_ensemble(run):
            yield from list_members(run)
        else:
            yield run


def _refuse_few(members: Sequence[Path]) -> None:
    digests = [digest_file(find_model_folder(run) / "decoder.safetensors") for run in members]
    for index, digest in enumerate(digests):
        if digest in digests[:index]:
            other = members[digests.index(digest)]
            raise UsageError(f"{members[index]} holds the same decoder as {other}; name each model once")
    if len(members) < 2:
        raise UsageError(f"{len(members)} model; an ensemble averages two at least")


def _copy(run: Path, described: Description, out: Path, name: str) -> Member:
    source, root, target = find_model_folder(run), find_run_folder(run), out / name
    files = [source / name for name in _MODEL_FILES if (source / name).is_file()]
    places = {path: target / "model" / path.name for path in files}
    for pattern in _SPLITS:
        places |= {path: target / path.relative_to(root) for path in sorted(root.glob(pattern))}
    backbone = described.settings.backbone.name
    if backbone.startswith("./"):  # of an imported run, which brings its own
        inside = sorted(path for path in (root / backbone).rglob("*") if path.is_file())
        places |= {path: target / path.relative_to(root) for path in inside}
    for path, place in places.items():
        with atomic_path(place, overwrite=True) as temporary:
            shutil.copyfile(path, temporary)
    return Member(name, digest_file(target / "model" / "decoder.safetensors"))


def _choose_postprocessing(
    described: Sequence[Description], progress: Progress
) -> PostprocessingSettings | None:
    """What all members do to masks, where that is the same; else nothing, which is told."""
    steps = [each.postprocessing for each in described]
    if all(each == steps[0] for each in steps):
        return steps[0]
    progress.note(
        "the members clean masks differently, so the ensemble does nothing to them; choose for it: "
        "dinoseg evaluate OUT DATA --split val --choose-postprocessing"
    )
    return None
