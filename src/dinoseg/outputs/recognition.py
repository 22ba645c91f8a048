"""What a folder that dinoseg wrote is, seen by its files: its pictures and masks are no input for a model."""

from __future__ import annotations

from pathlib import Path

_RUN_PARTS = ("model", "checkpoints", "logs", "report", "backbone", "members")
_ENSEMBLE = "ensemble.json"
_PREDICTION_PARTS = ("masks", "overlays", "probabilities", "uncertainty")
_PREDICTIONS = "predictions.json"
_SHARES = "predictions-*-of-*.json"
_REVIEW = "review.html"
_REPORT = ("cases.csv", "summary.csv", "summary.json", "index.html")
# document -> its runs
_SERIES = {
    "draws.json": "draw-*",
    "curve.json": "runs/*/*-shot/draw-*",
    "folds.json": "fold_*",
    _ENSEMBLE: "members/*",
}
_FIX = {
    "run": "a run is what predicts and is scored: name one as RUN, and images as the rest",
    "series": "it holds trained models: name one as RUN, and images as the rest",
    "predictions": "name the images that it was made from; `dinoseg score` takes its masks",
    "report": "it holds tables and pictures for people: name the images themselves",
}


def describe_ours(folder: Path) -> str:
    """What a folder is that dinoseg wrote, or that lies in such a one, and what to do; "" for any other."""
    if kind := _find_kind(folder):
        return f"{folder} is {_name(folder, kind)}; {_FIX[kind]}"
    return describe_part(folder)


def describe_part(path: Path) -> str:
    """As `describe_ours`, for what we wrote into a folder of ours; "" for the folder itself and all else."""
    place = path.absolute()
    for part in (place, *place.parents[:-1]):
        if kind := _find_owner(part):
            return f"{path} is a part of {_name(part.parent, kind)} ({part.parent}); {_FIX[kind]}"
    return ""


def is_ours(folder: Path) -> bool:
    """Whether a folder is one of ours, or a part that we wrote of the folder that it lies in."""
    return bool(_find_kind(folder) or _find_owner(folder))


def is_run(folder: Path) -> bool:
    """Whether a folder is a run, finished or begun, or an ensemble of runs."""
    finished = (folder / "model" / "config.json").is_file() or (folder / _ENSEMBLE).is_file()
    return finished or all((folder / name).is_file() for name in ("config.yaml", "environment.json"))


def list_runs(folder: Path) -> list[Path]:
    """The runs of a series, or those that lie in a folder side by side."""
    patterns = [runs for document, runs in _SERIES.items() if (folder / document).is_file()]
    found = {run for pattern in patterns or ["*"] for run in folder.glob(pattern) if is_run(run)}
    return sorted(found)


def _find_kind(folder: Path) -> str:
    if is_run(folder):
        return "run"
    if any((folder / name).is_file() for name in _SERIES) and list_runs(folder):
        return "series"
    if _has_predictions(folder) and _holds_only_predictions(folder):
        return "predictions"
    return "report" if all((folder / name).is_file() for name in _REPORT) else ""


def _find_owner(part: Path) -> str:
    """The kind of the folder that `part` lies in, where `part` is what we write there."""
    if part.name in _RUN_PARTS and is_run(part.parent):
        return "run"
    if part.name in _PREDICTION_PARTS and _has_predictions(part.parent):
        return "predictions"
    return ""


def _has_predictions(folder: Path) -> bool:
    """Whether a call of predict, or a share of one, wrote there."""
    return (folder / _PREDICTIONS).is_file() or any(folder.glob(_SHARES))


def _holds_only_predictions(folder: Path) -> bool:
    """A folder of images that predictions were written into is still one of images."""
    names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    lists = {path.name for path in folder.glob("predictions*.json*")}
    return names <= {_PREDICTIONS, _REVIEW, *_PREDICTION_PARTS, *lists}


def _name(folder: Path, kind: str) -> str:
    if kind == "series":
        return f"a folder of {len(list_runs(folder))} runs"
    return {"run": "a run folder", "predictions": "what `dinoseg predict` wrote", "report": "a report"}[kind]
