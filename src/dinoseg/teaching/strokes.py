"""`Stroke`: what a person drew on a slice, as vectors, and how it becomes pixels, always the same ones."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from dinoseg.data.case import IGNORE_ID
from dinoseg.errors import UsageError

Tool = Literal["brush", "eraser", "polygon", "fill"]
Canvas = NDArray[np.uint8]

UNPAINTED = IGNORE_ID  # of a canvas: nobody has said anything about the pixel
MOST_CLASSES = 32  # besides the background
MOST_POINTS = 20_000  # of one stroke: minutes with a pen
MOST_RUNS = 200_000
MOST_RADIUS = 2_000.0
_TOOLS = get_args(Tool)
_FAR = 1e6  # from the image, in pixels


@dataclass(frozen=True)
class Stroke:
    """One movement of a tool.

    Attributes:
        tool: brush and polygon paint a class, eraser takes paint away, fill paints what the page found.
        class_id: 0 is the background; an eraser has none and says 0.
        slice: of a volume, 0 for an image.
        radius: of brush and eraser in pixels.
        points: (x, y) in pixels of the image, whose first pixel has its centre at (0.5, 0.5).
        runs: of a fill: (y, first x, x behind the last).
    """

    tool: Tool
    class_id: int
    slice: int = 0
    radius: float = 0.0
    points: tuple[tuple[float, float], ...] = ()
    runs: tuple[tuple[int, int, int], ...] = ()

    def __post_init__(self) -> None:
        if self.tool not in _TOOLS:
            raise UsageError(f"a stroke with the tool {self.tool!r}; accepted are {', '.join(_TOOLS)}")
        if not 0 <= self.class_id <= MOST_CLASSES:
            raise UsageError(f"a stroke of class {self.class_id}; accepted are 0 to {MOST_CLASSES}")
        if self.tool == "fill":
            _refuse_runs(self.runs)
        else:
            _refuse_points(self.points, least=3 if self.tool == "polygon" else 1)
        if self.tool in ("brush", "eraser") and not 0 < self.radius <= MOST_RADIUS:
            raise UsageError(f"a {self.tool} of radius {self.radius}; accepted is 0 to {MOST_RADIUS:g} px")

    def to_json(self) -> str:
        """All of it as text."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Stroke:
        """What `to_json` gave."""
        return cls.read(json.loads(text))

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> Stroke:
        """A stroke of plain lists and numbers.

        Raises:
            UsageError: something about it is not accepted.
        """
        try:
            return cls(
                tool=content["tool"],
                class_id=int(content["class_id"]),
                slice=int(content.get("slice", 0)),
                radius=float(content.get("radius") or 0.0),
                points=tuple((float(x), float(y)) for x, y in content.get("points") or ()),
                runs=tuple((int(y), int(start), int(stop)) for y, start, stop in content.get("runs") or ()),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise UsageError(f"this is no stroke ({' '.join(str(error).split())})") from error


def draw(strokes: Iterable[Stroke], size: tuple[int, int]) -> Canvas:
    """What strokes of one slice show, in their order.

    Args:
        strokes: of the slice.
        size: height and width.

    Returns:
        (H, W): class ids, `UNPAINTED` where there is no paint.
    """
    canvas = np.full(size, UNPAINTED, np.uint8)
    for stroke in strokes:
        paint(stroke, canvas)
    return canvas


def paint(stroke: Stroke, canvas: Canvas) -> None:
    """Put one stroke on a canvas, in place; what lies outside is left out."""
    value = UNPAINTED if stroke.tool == "eraser" else stroke.class_id
    if stroke.tool == "fill":
        _paint_runs(stroke.runs, canvas, value)
    elif stroke.tool == "polygon":
        _paint_polygon(np.array(stroke.points), canvas, value)
    else:
        _paint_line(np.array(stroke.points), stroke.radius, canvas, value)


def lay_over(canvas: Canvas, below: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The paint, and what lies below where there is none."""
    return np.where(canvas == UNPAINTED, below, canvas)


def _paint_line(points: NDArray[np.float64], radius: float, canvas: Canvas, value: int) -> None:
    """All pixels whose centre is no further than the radius from the line, and those under its points."""
    height, width = canvas.shape
    ends = np.concatenate([points[1:], points[-1:]])
    for (x, y), (end_x, end_y) in zip(points, ends, strict=True):
        left, right = _clip(min(x, end_x) - radius, max(x, end_x) + radius, width)
        top, bottom = _clip(min(y, end_y) - radius, max(y, end_y) + radius, height)
        if left >= right or top >= bottom:
            continue
        across = np.arange(left, right) + 0.5 - x
        down = np.arange(top, bottom)[:, None] + 0.5 - y
        step_x, step_y = end_x - x, end_y - y
        length = step_x * step_x + step_y * step_y
        share = np.clip((across * step_x + down * step_y) / length, 0, 1) if length else 0.0
        near = (across - share * step_x) ** 2 + (down - share * step_y) ** 2 <= radius * radius
        canvas[top:bottom, left:right][near] = value
        column, row = math.floor(x), math.floor(y)
        if 0 <= row < height and 0 <= column < width:
            canvas[row, column] = value


def _paint_polygon(points: NDArray[np.float64], canvas: Canvas, value: int) -> None:
    """All pixels whose centre is inside, by the even-odd rule."""
    height, width = canvas.shape
    ends = np.roll(points, -1, axis=0)
    (x, y), (end_x, end_y) = points.T, ends.T
    top, bottom = _clip(float(y.min()), float(y.max()), height)
    for row in range(top, bottom):
        centre = row + 0.5
        cut = (y <= centre) != (end_y <= centre)
        share = (centre - y[cut]) / (end_y[cut] - y[cut])
        crossings = np.sort(x[cut] + share * (end_x[cut] - x[cut]))
        for start, stop in crossings.reshape(-1, 2):
            first, last = (min(max(math.ceil(place - 0.5), 0), width) for place in (start, stop))
            canvas[row, first:last] = value


def _paint_runs(runs: Sequence[tuple[int, int, int]], canvas: Canvas, value: int) -> None:
    height, width = canvas.shape
    for row, start, stop in runs:
        if 0 <= row < height:
            canvas[row, min(start, width) : min(stop, width)] = value


def _clip(low: float, high: float, length: int) -> tuple[int, int]:
    return max(math.floor(low), 0), min(math.ceil(high) + 1, length)


def _refuse_points(points: Sequence[tuple[float, float]], *, least: int) -> None:
    if not least <= len(points) <= MOST_POINTS:
        raise UsageError(f"a stroke of {len(points)} points; accepted are {least} to {MOST_POINTS}")
    if not all(abs(x) <= _FAR and abs(y) <= _FAR for x, y in points):  # written so that NaN fails too
        raise UsageError(f"a stroke with points beyond {_FAR:g} px; give pixels of the image")


def _refuse_runs(runs: Sequence[tuple[int, int, int]]) -> None:
    if not 0 < len(runs) <= MOST_RUNS:
        raise UsageError(f"a fill of {len(runs)} runs; accepted are 1 to {MOST_RUNS}")
    if not all(0 <= start <= stop and 0 <= row <= _FAR and stop <= _FAR for row, start, stop in runs):
        raise UsageError("a fill with runs that are not [y, x0, x1) with 0 <= x0 <= x1")
