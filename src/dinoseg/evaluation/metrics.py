"""Scores of one case: Dice, IoU, HD95, ASSD and NSD of classes and regions, with a policy for empty masks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dinoseg.data.case import IGNORE_ID
from dinoseg.errors import LabelError, UsageError
from dinoseg.evaluation.lesions import DEFAULT_IOU, LesionScore, score_lesions
from dinoseg.evaluation.surfaces import Mask, bounding_box, measure_surfaces

Outcome = Literal["scored", "both_empty", "missed", "false_alarm", "undecided"]
Unit = Literal["mm", "px"]
Kind = Literal["class", "region", "class and region"]

DEFAULT_TOLERANCE: dict[Unit, float] = {"mm": 1.0, "px": 2.0}
"""Tolerance of the NSD where none is given."""


@dataclass(frozen=True)
class ClassScore:
    """The five scores of one class or region in one case; defined in `dinoseg.evaluation.definitions`.

    Attributes:
        case: name of the case.
        group: patient or video of the case.
        class_id: id of the class in the masks; None for a region of several.
        class_name: name of the class or region.
        dice: 0 to 1; this and the next four are NaN where nothing is decided.
        iou: 0 to 1.
        hd95: in `unit`.
        assd: in `unit`.
        nsd: 0 to 1.
        outcome: "scored" where both masks hold the class, "both_empty", "missed" (only the
            target holds it), "false_alarm" (only the prediction holds it) or "undecided" (nobody
            decided a pixel of the case, so that there is nothing to score).
        target_size: pixels of the class in the target.
        prediction_size: pixels of the class in the prediction.
        unit: "mm" where the spacing is known, else "px".
        kind: "class", "region", or "class and region" where a region is one class.
        region: the class ids whose union a region is; empty for what is a class only.
        lesions: its connected components and how they were matched; None where that is not known.
    """

    case: str
    group: str
    class_id: int | None
    class_name: str
    dice: float
    iou: float
    hd95: float
    assd: float
    nsd: float
    outcome: Outcome
    target_size: int
    prediction_size: int
    unit: Unit
    kind: Kind = "class"
    region: tuple[int, ...] = ()
    lesions: LesionScore | None = None


@dataclass(frozen=True)
class _Part:
    """What is scored: a class, a region, or both in one."""

    class_id: int | None
    class_name: str
    kind: Kind = "class"
    region: tuple[int, ...] = ()

    def mask(self, ids: NDArray[np.uint8]) -> Mask:
        """Where `ids` hold it."""
        if self.class_id is not None:
            found: Mask = ids == self.class_id
            return found
        table = np.zeros(256, np.bool_)
        table[list(self.region)] = True
        return table[ids]


@dataclass(frozen=True)
class _Values:
    dice: float
    iou: float
    hd95: float
    assd: float
    nsd: float
    outcome: Outcome
    target_size: int
    prediction_size: int
    lesions: LesionScore | None


@dataclass(frozen=True)
class _Rules:
    """How the masks of one case are measured."""

    spacing: tuple[float, ...] | None
    tolerance: float
    match_iou: float

    def cells(self, ndim: int) -> tuple[float, ...]:
        return self.spacing or (1.0,) * ndim


_NONE = float("nan")
_UNDECIDED = _Values(_NONE, _NONE, _NONE, _NONE, _NONE, "undecided", 0, 0, None)


def score_case(
    prediction: NDArray[np.uint8],
    target: NDArray[np.uint8],
    *,
    classes: Mapping[int, str],
    spacing: tuple[float, ...] | None,
    tolerance: float,
    case: str,
    group: str,
    regions: Mapping[str, Sequence[int]] | None = None,
    match_iou: float = DEFAULT_IOU,
    decided: bool = True,
) -> list[ClassScore]:
    """Score every foreground class of one case, and every region as the union of its classes.

    Args:
        prediction: (H, W) or (D, H, W) class ids.
        target: class ids on the same grid.
        classes: name of each id; 0 is the background and is not scored.
        spacing: size of a pixel in mm in array order; None where it is unknown.
        tolerance: of the NSD, in mm where `spacing` is given, else in pixels.
        case: name of the case.
        group: patient or video of the case.
        regions: name -> ids of the classes whose union it is. A region of one class is that class, and
            of two names for one union the first counts.
        match_iou: two lesions match where their IoU is above it.
        decided: whether the target decides any pixel, as `leave_out` returns it.

    Returns:
        One score per foreground class, in the order of `classes`, then one per region of several classes.

    Raises:
        LabelError: the shapes differ, a mask holds an id that is not in `classes`, or a region the
            background or such an id.
        UsageError: `tolerance`, `spacing` or `match_iou` makes no sense.
    """
    _check(prediction, target, classes, spacing, tolerance, case)
    rules = _Rules(spacing, tolerance, match_iou)
    unit: Unit = "px" if spacing is None else "mm"
    scores = []
    for part in _list_parts(classes, regions or {}):
        masks = part.mask(prediction), part.mask(target)
        values = _score_class(*masks, rules) if decided else _UNDECIDED
        scores.append(ClassScore(case=case, group=group, unit=unit, **vars(part), **vars(values)))
    return scores


def leave_out(prediction: NDArray[np.uint8], target: NDArray[np.uint8]) -> bool:
    """Make background of both masks, in place, where the target says that nobody decided.

    Returns:
        Whether any pixel is decided: a case without one has no score.
    """
    planes = ((prediction, target),) if target.ndim == 2 else zip(prediction, target, strict=True)
    decided = False
    for predicted, wanted in planes:
        undecided = wanted == IGNORE_ID
        decided = decided or not undecided.all()
        if undecided.any():
            predicted[undecided] = 0
            wanted[undecided] = 0
    return decided


def of_headline(scores: Sequence[ClassScore]) -> list[ClassScore]:
    """Return the scores that count in the headline: those of the regions where there are any, else all."""
    return [score for score in scores if score.region] or list(scores)


def add_kind(name: str, kind: str) -> str:
    """Return the name of a row for people: what is a region says so."""
    return f"{name} ({kind})" if kind in ("region", "class and region") else name


def image_diagonal(shape: tuple[int, ...], spacing: tuple[float, ...]) -> float:
    """Return the length of the diagonal: more than any distance between two pixels of the image."""
    return math.hypot(*(count * size for count, size in zip(shape, spacing, strict=True)))


def _list_parts(classes: Mapping[int, str], regions: Mapping[str, Sequence[int]]) -> list[_Part]:
    unions = _find_unions(classes, regions)
    parts = []
    for class_id, name in classes.items():
        region = (class_id,) if (class_id,) in unions else ()
        if class_id != 0:
            parts.append(_Part(class_id, name, "class and region" if region else "class", region))
    return parts + [_Part(None, name, "region", ids) for ids, name in unions.items() if len(ids) > 1]


def _find_unions(
    classes: Mapping[int, str], regions: Mapping[str, Sequence[int]]
) -> dict[tuple[int, ...], str]:
    accepted = set(classes) - {0}
    unions: dict[tuple[int, ...], str] = {}
    for name, ids in regions.items():
        union = tuple(sorted(set(ids)))
        # What is ignored has become background by now: a region with the background would score it.
        if not union or not accepted.issuperset(union):
            raise LabelError(f"region {name!r} unites the ids {list(ids)}; accepted are {sorted(accepted)}")
        unions.setdefault(union, name)
    return unions


def _score_class(prediction: Mask, target: Mask, rules: _Rules) -> _Values:
    box_p, box_t = bounding_box(prediction), bounding_box(target)
    if box_p is None or box_t is None:
        return _score_empty(prediction, target, rules)
    box = tuple(slice(min(p.start, t.start), max(p.stop, t.stop)) for p, t in zip(box_p, box_t, strict=True))
    prediction, target = prediction[box], target[box]
    common = int(np.count_nonzero(prediction & target))
    predicted, wanted = int(np.count_nonzero(prediction)), int(np.count_nonzero(target))
    distances = measure_surfaces(prediction, target, rules.cells(target.ndim))
    return _Values(
        dice=2 * common / (predicted + wanted),
        iou=common / (predicted + wanted - common),
        hd95=distances.hausdorff(95),
        assd=distances.mean(),
        nsd=distances.share_within(rules.tolerance),
        outcome="scored",
        target_size=wanted,
        prediction_size=predicted,
        lesions=score_lesions(prediction, target, spacing=rules.spacing, match_iou=rules.match_iou),
    )


def _score_empty(prediction: Mask, target: Mask, rules: _Rules) -> _Values:
    predicted, wanted = int(np.count_nonzero(prediction)), int(np.count_nonzero(target))
    agreed = predicted == wanted
    overlap = 1.0 if agreed else 0.0
    distance = 0.0 if agreed else image_diagonal(target.shape, rules.cells(target.ndim))
    outcome: Outcome = "both_empty" if agreed else "missed" if wanted else "false_alarm"
    lesions = score_lesions(prediction, target, spacing=rules.spacing, match_iou=rules.match_iou)
    return _Values(overlap, overlap, distance, distance, overlap, outcome, wanted, predicted, lesions)


def _check(
    prediction: NDArray[np.uint8],
    target: NDArray[np.uint8],
    classes: Mapping[int, str],
    spacing: tuple[float, ...] | None,
    tolerance: float,
    case: str,
) -> None:
    if prediction.shape != target.shape or target.ndim not in (2, 3):
        raise LabelError(
            f"case {case}: prediction {prediction.shape} and target {target.shape} must have one shape, "
            "(H, W) or (D, H, W)"
        )
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise UsageError(f"tolerance {tolerance} is not accepted; give a finite number of at least 0")
    if spacing is not None and not (
        len(spacing) == target.ndim and all(math.isfinite(size) and size > 0 for size in spacing)
    ):
        raise UsageError(f"case {case}: spacing {spacing} must be {target.ndim} positive numbers in mm")
    for name, mask in (("prediction", prediction), ("target", target)):
        _check_ids(mask, classes, f"case {case}: the {name}")


def _check_ids(mask: NDArray[np.uint8], classes: Mapping[int, str], where: str) -> None:
    # A foreign id would be scored as background without a word.
    if mask.dtype != np.uint8 or mask.size == 0:
        raise LabelError(f"{where} is {mask.dtype} of shape {mask.shape}; class ids must be uint8 and some")
    known = {0, *classes}
    if len(known) == max(known) + 1 and int(mask.max()) in known:
        return
    if foreign := sorted(set(np.flatnonzero(np.bincount(mask.ravel())).tolist()) - known):
        raise LabelError(f"{where} holds the ids {foreign}; the classes are {dict(classes)}")
