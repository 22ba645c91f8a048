"""What came of predicting files: what was written, what failed and why; kept in `predictions.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dinoseg.config import Inference
from dinoseg.data.cases.prints import Likeness as Sameness
from dinoseg.model.confidence import Confidence
from dinoseg.model.network import Network, symmetries_of, window_of

SUMMARY = "predictions.json"
# Of a file, as they are called there.
OUTPUTS = ("mask", "overlay", "probabilities", "uncertainty", "description")

_UNSET = {"window": "none: images are resized to the model's size", "postprocessing": "none"}
_YES = {True: "yes", False: "no"}


@dataclass(frozen=True)
class PredictedFile:
    """One image or volume that was segmented.

    Attributes:
        source: the file, or the folder or zip of a series.
        mask: class ids at the image's size: palette PNG, or a volume's format.
        overlay: picture of the image with the mask, where asked for.
        probabilities: .npz with `probabilities` (classes, H, W), where asked for.
        size: (H, W) in pixels, or (D, H, W) in voxels.
        pixels: class id -> number of pixels or voxels.
        skipped: it was there already and was not computed again.
        description: JSON with the volumes in ml; None for images.
        volumes_ml: class id -> ml; None for images, and where a voxel's size is not known.
        warnings: what is doubtful about the input, one line each: also how it is not like what the model
            was trained on.
        sha256: of the source, so that it is known again.
        uncertainty: the map, where asked for: 16-bit PNG (65535 is 1), or float32 NIfTI of a volume.
        confidence: how much the mask is to be trusted; None where the network does not tell.
        difference: how it is not like what the model was trained on, where it was computed now and is not.
        known: whether it is a case that the model was trained on, or looks so; None where it was not.
    """

    source: Path
    mask: Path
    overlay: Path | None
    probabilities: Path | None
    size: tuple[int, ...]
    pixels: Mapping[int, int]
    skipped: bool = False
    description: Path | None = None
    volumes_ml: Mapping[int, float] | None = None
    warnings: tuple[str, ...] = ()
    sha256: str | None = None
    uncertainty: Path | None = None
    confidence: Confidence | None = None
    difference: str = ""
    known: Sameness | None = None


@dataclass(frozen=True)
class Failure:
    """A file, or a folder, that could not be read, and the reason in one line."""

    source: Path
    reason: str


@dataclass(frozen=True)
class PredictionReport:
    """The result of `predict_files`.

    Attributes:
        out: the folder that holds everything written.
        files: in the order of the sources.
        failures: what could not be read; everything else was done.
        classes: class id -> name.
        model: what the masks were made with, as in `predictions.json`.
        settings: what else decides a mask: window, overlap, symmetries, planes, postprocessing.
        seconds: from the first file to the last.
        review: the page of what to look at first, where it was asked for.
    """

    out: Path
    files: tuple[PredictedFile, ...]
    failures: tuple[Failure, ...]
    classes: Mapping[int, str]
    model: Mapping[str, Any]
    settings: Mapping[str, Any]
    seconds: float
    review: Path | None = None

    @property
    def exit_code(self) -> int:
        """0 when every file was done, 3 when some could not be read."""
        return 3 if self.failures else 0

    def describe(self) -> dict[str, Any]:
        """The content of `predictions.json`: paths of outputs are relative to `out`."""
        return {
            "finished": True,
            "model": dict(self.model),
            "settings": dict(self.settings),
            "classes": {str(index): name for index, name in self.classes.items()},
            "seconds": round(self.seconds, 3),
            "counts": {
                "done": sum(not file.skipped for file in self.files),
                "skipped": sum(file.skipped for file in self.files),
                "failed": len(self.failures),
            },
            "files": [describe_file(file, self.out) for file in self.files],
            "failures": [{"source": str(item.source), "reason": item.reason} for item in self.failures],
        }


def describe_file(file: PredictedFile, out: Path) -> dict[str, Any]:
    """The row of a file in `predictions.json`: paths of outputs are relative to `out`."""
    outputs = {name: getattr(file, name) for name in OUTPUTS}
    described = {
        "source": str(file.source),
        **({} if file.sha256 is None else {"sha256": file.sha256}),
        **{name: path.relative_to(out).as_posix() for name, path in outputs.items() if path is not None},
        "size": list(file.size),
        "pixels": {str(index): count for index, count in file.pixels.items()},
    }
    if file.volumes_ml is not None:
        described["volumes_ml"] = {str(index): round(ml, 6) for index, ml in file.volumes_ml.items()}
    if file.confidence is not None:
        described["confidence"] = file.confidence.describe()
    if file.warnings:
        described["warnings"] = list(file.warnings)
    return described


def describe_settings(how: Inference, model: Network) -> dict[str, Any]:
    """What changes a mask besides the model: the batch size does not, nor does an overlap without windows."""
    cleaning = model.postprocessing if how.postprocess else None
    window = window_of(model.settings, how)
    return {
        "window": window,
        "overlap": None if window is None else how.overlap,
        "symmetries": _list_symmetries(model, how),
        "planes": None if how.planes is None else list(how.planes),
        **({"uncertainty": True} if how.uncertainty else {}),
        "postprocessing": None if cleaning is None else cleaning.describe(model.settings.classes),
    }


def _list_symmetries(model: Network, how: Inference) -> int | list[int]:
    """How many the probabilities are averaged over; of an ensemble whose members differ, each one's."""
    members: Sequence[Network] = getattr(model, "members", (model,))
    counts = [symmetries_of(member.settings, how) for member in members]
    return counts[0] if len(set(counts)) == 1 else counts


def word_settings(settings: Mapping[str, Any]) -> dict[str, str]:
    """The lines of `describe_settings` for people; what does not apply, or is as trained, is left out."""
    words: dict[str, str] = {}
    for name, value in settings.items():
        if value is None and name in _UNSET:
            words[name.capitalize()] = _UNSET[name]
        elif isinstance(value, list):
            words[name.capitalize()] = ", ".join(map(str, value))
        elif value is not None:
            words[name.capitalize()] = _YES[value] if isinstance(value, bool) else str(value)
    return words
