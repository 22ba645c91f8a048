"""What a run folder says about itself, read without loading torch."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dinoseg.errors import RunError


def read_run(run: Path) -> dict[str, Any]:
    """A run's model, how it was trained (`training`, None for an imported one), and what came of it.

    Raises:
        RunError: the folder holds no model, or its description is damaged.
    """
    from dinoseg.model.folder import refuse_folder_of_runs

    folder = run / "model" if (run / "model" / "config.json").is_file() else run
    if not (folder / "config.json").is_file():
        refuse_folder_of_runs(run)
        raise RunError(
            f"{run} is no run folder (it has no model/config.json) and no topic; accepted are methods, "
            "backbones, settings, schemas, or a folder made by `dinoseg train`"
        )
    described = _read_model(folder / "config.json")
    training = _read_training(run / "config.yaml")
    outcome = read_outcome(run, training) if training else {}
    found = {"reports": list_reports(run), "advice": read_advice(run)}
    return {"run": run, **described, "training": training, **outcome, **found}


def read_ensemble_run(run: Path) -> dict[str, Any]:
    """An ensemble: its kind, what its members are, its reports, and of folds what `train` found.

    Raises:
        RunError: it, or a member, is damaged.
    """
    from dinoseg.model.ensemble import list_members, read_ensemble

    described = read_ensemble(run)
    members = [
        {"run": member, **_read_model(member / "model" / "config.json")} for member in list_members(run)
    ]
    return {
        "run": run,
        "kind": described.kind,
        "members": members,
        "postprocessing": described.postprocessing,
        "calibrated_on": described.calibration.cases if described.calibration else 0,
        "cases": _count_cases(run / "splits.json"),
        "reports": list_reports(run),
    }


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


def read_outcome(run: Path, training: Mapping[str, Any]) -> dict[str, Any]:
    """What a training reached: the epoch that was kept, its validation Dice, the time, the cases.

    Args:
        run: the run folder.
        training: its settings.

    Returns:
        `validation_dice` (None where nothing was validated), `kept_epoch` (from 1), `epochs` that were
        trained, `seconds` that they took, and `cases`: split -> number.
    """
    rows = _read_rows(run / "metrics.csv")
    scored = [row for row in rows if not math.isnan(row["val_dice"])]
    best = training["train"]["keep"] == "best" and _may_be_best(run)
    kept = max(scored, key=lambda row: row["val_dice"]) if best and scored else rows[-1] if rows else None
    dice = math.nan if kept is None else kept["val_dice"]
    return {
        "validation_dice": None if math.isnan(dice) else dice,
        "kept_epoch": None if kept is None else int(kept["epoch"]),
        "epochs": len(rows),
        "seconds": sum(row["seconds"] for row in rows),
        "cases": _count_cases(run / "splits.json"),
    }


def list_reports(run: Path) -> list[dict[str, Any]]:
    """The reports in a run folder: `split`, `classes` as in their summary.json, and the `page`."""
    found = []
    for path in sorted({*run.glob("report/summary.json"), *run.glob("report/*/summary.json")}):
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            split = document["facts"]["Split"]
            found.append({"split": split, "classes": document["classes"], "page": path.parent / "index.html"})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(f"{path} is damaged ({error}); evaluate again with --overwrite") from error
    return found


def read_advice(run: Path) -> dict[str, Any] | None:
    """What would help a run next, as its training measured it (`lines`, and the numbers); None if nothing.

    Raises:
        RunError: the file is damaged.
    """
    path = run / "report" / "advice.json"
    if not path.is_file():
        return None
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if all(isinstance(line, str) for line in document["lines"]):
            return document
        reason = "its lines are no text"
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = repr(error)
    raise RunError(f"{path} is damaged ({reason}); delete it, the model does not need it")


def _may_be_best(run: Path) -> bool:
    """Whether the best epoch can have been kept; the checkpoints may be gone."""
    checkpoints = run / "checkpoints"
    return (checkpoints / "best.ckpt").is_file() or not checkpoints.is_dir()


def _read_rows(path: Path) -> list[dict[str, float]]:
    if not path.is_file():
        return []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file))
        names = ("epoch", "val_dice", "seconds")
        return [{name: float(line[name] or "nan") for name in names} for line in lines]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} is damaged ({error}); delete it, the model does not need it") from error


def _count_cases(path: Path) -> dict[str, int]:
    if not path.is_file():
        return {}
    try:
        splits = json.loads(path.read_text(encoding="utf-8"))
        return {name: len(splits[name]) for name in ("train", "val", "test")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} is damaged ({error}); restore it or train again") from error
