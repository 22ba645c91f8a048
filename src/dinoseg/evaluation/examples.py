"""Which cases a report shows, and their pictures: target filled, prediction as a line."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dinoseg.evaluation.metrics import ClassScore, add_kind, of_headline
from dinoseg.inference.pictures.overlays import palette

Role = Literal["worst", "median", "best"]

_SIDE = 560  # longest side of a picture in pixels: sharp on a phone, nine of them below 1 MB
_FILL = 0.45
_TELLING = ("scored", "missed", "false_alarm")
_HALO = (12, 12, 12)


@dataclass(frozen=True)
class Example:
    """A case worth looking at.

    Attributes:
        role: why it was chosen.
        case: name of the case.
        dice: its mean Dice over the classes, or over the regions where there are any.
    """

    role: Role
    case: str
    dice: float


@dataclass(frozen=True)
class Picture:
    """A picture of a report's gallery.

    Attributes:
        role: "worst", "median" or "best".
        case: name of the case.
        caption: its scores in words.
        jpeg: the encoded picture.
    """

    role: Role
    case: str
    caption: str
    jpeg: bytes


def choose_examples(scores: Sequence[ClassScore], *, each: int = 3) -> list[Example]:
    """Return the worst, median and best cases by their mean Dice, worst first, none twice.

    Cases in which every class is empty on both sides show nothing and are left out, as are those of
    which nobody decided a pixel.

    Args:
        scores: of all classes and regions of all cases.
        each: at most that many per role; fewer where there are fewer than three times as many.
    """
    ranked = _rank(scores)
    count = min(each, max(1, len(ranked) // 3))
    worst, best = ranked[:count], ranked[count:][-count:]
    between = ranked[len(worst) : len(ranked) - len(best)]
    start = max(0, (len(between) - count) // 2)
    median = between[start : start + count]
    chosen: list[tuple[Role, list[ClassScore]]] = []
    chosen += [("worst", members) for members in worst]
    chosen += [("median", members) for members in median]
    chosen += [("best", members) for members in best]
    return [Example(role, members[0].case, _mean_dice(members)) for role, members in chosen]


def describe(scores: Sequence[ClassScore]) -> str:
    """Return the scores of one case in words, one sentence per class or region that is there."""
    parts = []
    if any(score.outcome == "undecided" for score in scores):
        return "no pixel is decided"
    for score in scores:
        prefix = f"{add_kind(score.class_name, score.kind)}: " if len(scores) > 1 else ""
        if score.outcome == "scored":
            parts.append(f"{prefix}Dice {score.dice:.2f}, HD95 {score.hd95:.1f} {score.unit}")
        elif score.outcome != "both_empty":
            words = {"missed": "missed", "false_alarm": "false alarm"}
            parts.append(f"{prefix}{words[score.outcome]}, Dice {score.dice:.2f}")
    return "; ".join(parts) or "empty, and left empty"


def class_colours(classes: Mapping[int, str]) -> dict[int, str]:
    """Return the colour of each foreground class as #rrggbb, the same as in overlays."""
    colours = palette(max(classes, default=0) + 1)
    return {class_id: f"#{bytes(colours[class_id]).hex()}" for class_id in classes if class_id != 0}


def draw_example(
    image: NDArray[np.float32],
    target: NDArray[np.uint8],
    prediction: NDArray[np.uint8],
    *,
    classes: Mapping[int, str],
    spacing: tuple[float, ...] | None = None,
) -> bytes:
    """Return a JPEG of one case: the target filled, the prediction as a line of the same colour.

    Args:
        image: (C, H, W) or (C, D, H, W) intensities in any range.
        target: (H, W) or (D, H, W) class ids.
        prediction: class ids on the same grid. Of a volume the slice with the most pixels that
            differ is shown.
        classes: name of each id.
        spacing: size of a pixel in array order; unequal sides are shown in proportion.
    """
    from PIL import Image

    image = _to_unit_range(image)
    if target.ndim == 3:
        place = _telling_slice(target, prediction)
        image, target, prediction = image[:, place], target[place], prediction[place]
    size = _shown_size(target.shape, spacing)
    canvas = np.asarray(
        Image.fromarray(_to_rgb(image)).resize(size, Image.Resampling.LANCZOS), dtype=np.float32
    )
    masks = [
        np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
        for mask in (target, prediction)
    ]
    colours = palette(max(classes, default=0) + 1).astype(np.float32)
    for class_id in class_colours(classes):
        canvas = _paint(canvas, masks[0] == class_id, masks[1] == class_id, colours[class_id])
    buffer = io.BytesIO()
    Image.fromarray(canvas.round().astype(np.uint8)).save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def _rank(scores: Sequence[ClassScore]) -> list[list[ClassScore]]:
    cases: dict[str, list[ClassScore]] = {}
    for score in scores:
        cases.setdefault(score.case, []).append(score)
    telling = [members for members in cases.values() if any(s.outcome in _TELLING for s in members)]
    return sorted(telling, key=lambda members: (_mean_dice(members), members[0].case))


def _mean_dice(members: Sequence[ClassScore]) -> float:
    return float(np.mean([score.dice for score in of_headline(members)]))


def _telling_slice(target: NDArray[np.uint8], prediction: NDArray[np.uint8]) -> int:
    # (D, H, W) -> (D,)
    wrong = np.count_nonzero(target != prediction, axis=(1, 2))
    shown = wrong if wrong.any() else np.count_nonzero(target, axis=(1, 2))
    return int(shown.argmax())


def _shown_size(shape: tuple[int, ...], spacing: tuple[float, ...] | None) -> tuple[int, int]:
    height_mm, width_mm = spacing[-2:] if spacing else (1.0, 1.0)
    height, width = shape[0] * height_mm, shape[1] * width_mm
    scale = _SIDE / max(height, width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _to_unit_range(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return intensities in 0..1: as they are, or the range of the whole image where they exceed it."""
    shown = np.nan_to_num(image)
    if shown.min() >= 0 and shown.max() <= 1:
        return shown
    low, high = np.percentile(shown, [0.5, 99.5])
    scaled: NDArray[np.float32] = np.clip((shown - low) / max(float(high - low), 1e-6), 0, 1)
    return scaled


def _to_rgb(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    # (C, H, W) -> (H, W, 3)
    shown = image[:3] if image.shape[0] >= 3 else np.repeat(image[:1], 3, axis=0)
    return np.ascontiguousarray((shown * 255).round().astype(np.uint8).transpose(1, 2, 0))


def _paint(
    canvas: NDArray[np.float32],
    target: NDArray[np.bool_],
    prediction: NDArray[np.bool_],
    colour: NDArray[np.float32],
) -> NDArray[np.float32]:
    from scipy import ndimage

    painted: NDArray[np.float32] = canvas.copy()
    painted[target] = (1 - _FILL) * painted[target] + _FILL * colour
    # A light line between two dark ones stays visible on every ground.
    inner = prediction ^ ndimage.binary_erosion(prediction, iterations=3, border_value=1)
    halo = ndimage.binary_dilation(inner, iterations=1) & ~inner
    painted[halo] = _HALO
    painted[inner] = 0.3 * colour + 0.7 * 255
    return painted
