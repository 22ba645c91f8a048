"""What a run folder says about itself, read without loading torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dinoseg.errors import RunError


def read_run(run: Path) -> dict[str, Any]:
    """The description of a run's model, and how it was trained (`training`, None for an imported one).

    Raises:
        RunError: the folder holds no model, or its description is damaged.
    """
    folder = run / "model" if (run / "model" / "config.json").is_file() else run
    if not (folder / "config.json").is_file():
        raise RunError(
            f"{run} is no run folder (it has no model/config.json) and no topic; accepted are methods, "
            "backbones, settings, or a folder made by `dinoseg train`"
        )
    described = _read_model(folder / "config.json")
    return {"run": run, **described, "training": _read_training(run / "config.yaml")}


def _read_model(path: Path) -> dict[str, Any]:
    from dinoseg.model.folder import require_method

    try:
        described = json.loads(path.read_text(encoding="utf-8"))
        require_method(described, path)
        known = {key: described[key] for key in ("dinoseg", "settings", "backbone")}
        missing = {"decoder", "preprocessing", "classes"} - set(known["settings"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} is damaged ({error}); restore it or train again") from error
    if missing:
        raise RunError(f"{path} is damaged (no {', '.join(sorted(missing))}); restore it or train again")
    return known


def _read_training(path: Path) -> dict[str, Any] | None:
    from dinoseg.config import from_yaml
    from dinoseg.model.settings import RunSettings

    if not path.is_file():
        return None
    return from_yaml(RunSettings, path.read_text(encoding="utf-8")).model_dump(mode="json", exclude={"model"})
