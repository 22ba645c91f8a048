"""What of a run folder travels, and what of it is left out because it tells about this machine."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dinoseg.errors import RunError
from dinoseg.outputs import digest_json, list_runs

CONFIG = "config.json"
ENSEMBLE = "ensemble.json"
PIPELINE = "pipeline.json"  # of a bundle, which lists its other files with their digests
CARD = "README.md"
# Of a run: its model, and the backbone where it was fine-tuned with it.
_RUN_FOLDERS = ("model", "backbone")


@dataclass(frozen=True)
class Contents:
    """What is sent of a model, or of several that predict as one.

    Attributes:
        folder: where the files lie.
        names: of the files, relative to it.
        configs: name -> what a config.json says, with the names of folders instead of their paths; these are
            written anew.
        local_backbone: a backbone was a folder of this machine: whoever pulls must name it.
    """

    folder: Path
    names: tuple[str, ...]
    configs: Mapping[str, dict[str, Any]]
    local_backbone: bool

    @property
    def config(self) -> dict[str, Any]:
        """That of the model, or of the first of several."""
        return next(iter(self.configs.values()))

    @property
    def has_backbone(self) -> bool:
        """Whether weights of a backbone are among the files."""
        return PIPELINE in self.names or any("backbone" in name.split("/")[:-1] for name in self.names)


def gather(run: Path) -> Contents:
    """The files of a run folder, or of its `model/`, of an ensemble or a bundle, that make the model.

    Lists of splits stay here, as they name cases.

    Raises:
        RunError: there is no model.
    """
    run = run.parent if run.name == "model" and (run / CONFIG).is_file() else run
    if (run / PIPELINE).is_file():
        return _gather_bundle(run)
    members = _list_members(run)
    if not members:
        if runs := list_runs(run):
            raise RunError(f"{run} holds {len(runs)} runs and is none itself; name one of them: {runs[0]}")
        raise RunError(
            f"{run} holds no model (model/{CONFIG}); make one with `dinoseg train DATA --out {run}`"
        )
    configs = {f"{member}model/{CONFIG}": _read(run / member / "model" / CONFIG) for member in members}
    names = sorted(name for member in members for name in _list(run, member))
    if (run / ENSEMBLE).is_file():
        names.append(ENSEMBLE)
    hidden = [_hide_paths(described) for described in configs.values()]
    return Contents(run, tuple(names), configs, any(hidden))


def _gather_bundle(bundle: Path) -> Contents:
    described = _read(bundle / PIPELINE)
    try:
        names = sorted({Path(name).name for name in described["files"]} - {CARD})
    except (KeyError, TypeError) as error:
        raise RunError(f"{bundle / PIPELINE} is damaged ({error}); export the run again") from error
    if gone := [name for name in names if not (bundle / name).is_file()]:
        raise RunError(f"{bundle} is incomplete: {gone[0]} is missing; export the run again")
    _hide_paths(described)
    return Contents(bundle, (*names, PIPELINE), {PIPELINE: described}, local_backbone=False)


def prepare(contents: Contents, folder: Path, card: str) -> None:
    """Copy the files below `folder`, the page with them, each config.json without paths of this machine."""
    (folder / CARD).write_text(card, encoding="utf-8")
    if PIPELINE in contents.configs:
        _seal(contents.configs[PIPELINE], card)
    for name in contents.names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if name in contents.configs:
            text = json.dumps(contents.configs[name], indent=2, ensure_ascii=False) + "\n"
            (folder / name).write_text(text, encoding="utf-8")
        else:
            shutil.copyfile(contents.folder / name, folder / name)


def _seal(pipeline: dict[str, Any], card: str) -> None:
    """Let the list of a bundle agree with its new page, and its digest with what is left of paths."""
    pipeline["files"][CARD] = hashlib.sha256(card.encode("utf-8")).hexdigest()
    pipeline.pop("digest", None)
    pipeline["digest"] = digest_json(pipeline)


def _list_members(run: Path) -> list[str]:
    """The folders of a run's models, relative to it: one, "", or those of an ensemble, with a slash."""
    if not (run / ENSEMBLE).is_file():
        return [""] if (run / "model" / CONFIG).is_file() else []
    try:
        described = json.loads((run / ENSEMBLE).read_text(encoding="utf-8"))
        folders = [str(member["folder"]).strip("/") for member in described["members"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{run / ENSEMBLE} is damaged ({error}); make the ensemble again") from error
    if any(".." in folder.split("/") or not folder for folder in folders):
        raise RunError(f"{run / ENSEMBLE} is damaged (a member lies outside); make the ensemble again")
    return [f"{folder}/" for folder in folders]


def _list(run: Path, member: str) -> Iterator[str]:
    for part in _RUN_FOLDERS:
        for path in (run / member / part).rglob("*"):
            name = path.relative_to(run)
            if path.is_file() and not any(piece.startswith(".") for piece in name.parts):
                yield name.as_posix()


def _read(path: Path) -> dict[str, Any]:
    try:
        described: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        described["settings"]["backbone"]["name"], described["backbone"]["source"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} is damaged ({error}); restore it or train again") from error
    return described


def _hide_paths(described: dict[str, Any]) -> bool:
    """Leave of a backbone's folder its name; whether it was a folder of this machine, outside the run."""
    settings, backbone = described["settings"]["backbone"], described["backbone"]
    name = str(settings["name"])
    local = not name.startswith("./") and ("/" in name or "\\" in name)
    if local:
        settings["name"] = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    source = str(backbone["source"])
    if "/" in source and Path(source).is_absolute():
        backbone["source"] = f"local folder {Path(source).name}"
    if isinstance(backbone.get("name"), str) and "/" in backbone["name"]:
        backbone["name"] = backbone["name"].rstrip("/").rpartition("/")[2]
    return local
