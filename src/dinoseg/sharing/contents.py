"""What of a run folder travels, and what of it is left out because it tells about this machine."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dinoseg.errors import RunError
from dinoseg.outputs import list_runs

CONFIG = "config.json"
# Of a run: its model, and the backbone where it was fine-tuned with it. Of a bundle: all of it.
_RUN_FOLDERS = ("model", "backbone")
_BUNDLE = "pipeline.json"


@dataclass(frozen=True)
class Contents:
    """What is sent of a model.

    Attributes:
        folder: where the files lie.
        names: of the files, relative to it.
        config: what config.json of its model says, with the names of folders instead of their paths.
        config_name: name of that file; it is written anew.
        local_backbone: the backbone was a folder of this machine: whoever pulls must name it.
    """

    folder: Path
    names: tuple[str, ...]
    config: dict[str, Any]
    config_name: str
    local_backbone: bool

    @property
    def has_backbone(self) -> bool:
        """Whether weights of a backbone are among the files."""
        return any(name.startswith("backbone/") or name.endswith((".onnx", ".bin")) for name in self.names)


def gather(run: Path) -> Contents:
    """The files of a run folder, or of its `model/`, that make the model.

    Raises:
        RunError: there is no model.
    """
    run = run.parent if run.name == "model" and (run / CONFIG).is_file() else run
    config = run / "model" / CONFIG
    if not config.is_file():
        if runs := list_runs(run):
            raise RunError(f"{run} holds {len(runs)} runs and is none itself; name one of them: {runs[0]}")
        raise RunError(
            f"{run} holds no model (model/{CONFIG}); make one with `dinoseg train DATA --out {run}`"
        )
    described = _read(config)
    names = tuple(sorted(_list(run)))
    local = _hide_paths(described)
    return Contents(run, names, described, f"model/{CONFIG}", local)


def prepare(contents: Contents, folder: Path) -> None:
    """Copy the files below `folder`, config.json without paths of this machine."""
    for name in contents.names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if name != contents.config_name:
            shutil.copyfile(contents.folder / name, folder / name)
    text = json.dumps(contents.config, indent=2, ensure_ascii=False) + "\n"
    (folder / contents.config_name).write_text(text, encoding="utf-8")


def _list(run: Path) -> Iterator[str]:
    for part in _RUN_FOLDERS:
        for path in (run / part).rglob("*"):
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
