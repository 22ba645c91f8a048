"""Strokes become the pixels that their vectors say, always the same ones."""

from __future__ import annotations

import numpy as np
import pytest

from dinoseg.errors import UsageError
from dinoseg.teaching.strokes import UNPAINTED, Stroke, draw, lay_over


def brush(*points: tuple[float, float], radius: float = 1.5, class_id: int = 1) -> Stroke:
    return Stroke("brush", class_id, radius=radius, points=points)


def test_a_brush_covers_the_centres_within_its_radius_of_the_line() -> None:
    canvas = draw([brush((3.5, 3.5), (8.5, 3.5), radius=2)], (8, 12))
    y, x = np.mgrid[:8, :12] + 0.5
    away = np.hypot(x - np.clip(x, 3.5, 8.5), y - 3.5)
    assert np.array_equal(canvas == 1, away <= 2)
    assert set(np.unique(canvas)) == {1, UNPAINTED}


def test_the_smallest_brush_paints_the_pixel_under_it() -> None:
    canvas = draw([brush((2.1, 3.9), radius=0.1)], (6, 6))
    assert np.argwhere(canvas == 1).tolist() == [[3, 2]]


def test_what_leaves_the_image_is_cut_off() -> None:
    canvas = draw([brush((-5, -5), (20, 20), radius=1), brush((500, 3), radius=2)], (10, 10))
    assert canvas[5, 5] == 1
    assert (canvas != UNPAINTED).sum() < 40


def test_an_eraser_brings_back_unpainted() -> None:
    eraser = Stroke("eraser", 0, radius=1.5, points=((4.5, 4.5),))
    canvas = draw([brush((4.5, 4.5), radius=3), eraser], (9, 9))
    assert canvas[4, 4] == UNPAINTED
    assert canvas[4, 2] == 1


def test_later_strokes_lie_on_top() -> None:
    canvas = draw([brush((4, 4), radius=3), brush((4, 4), radius=1, class_id=0)], (9, 9))
    assert (canvas[4, 4], canvas[4, 6]) == (0, 1)


def test_a_polygon_fills_by_the_even_odd_rule() -> None:
    square = Stroke("polygon", 2, points=((1, 1), (5, 1), (5, 4), (1, 4)))
    canvas = draw([square], (6, 8))
    assert np.argwhere(canvas == 2).tolist() == [[y, x] for y in range(1, 4) for x in range(1, 5)]
    star = Stroke("polygon", 2, points=((10, 1), (16, 19), (1, 7), (19, 7), (4, 19)))
    assert draw([star], (20, 20))[11, 10] == UNPAINTED  # its inner pentagon is crossed twice


def test_runs_fill_what_they_name() -> None:
    canvas = draw([Stroke("fill", 1, runs=((1, 2, 5), (2, 0, 99), (50, 0, 3)))], (4, 6))
    assert canvas[1].tolist() == [255, 255, 1, 1, 1, 255]
    assert canvas[2].tolist() == [1] * 6


def test_paint_lies_over_what_is_below() -> None:
    below = np.full((3, 3), 2, np.uint8)
    assert lay_over(draw([brush((1.5, 1.5), radius=0.4)], (3, 3)), below).tolist() == [
        [2, 2, 2],
        [2, 1, 2],
        [2, 2, 2],
    ]


def test_text_keeps_every_number() -> None:
    stroke = brush((0.1, 1 / 3), (7.123456789012345, 2), radius=1.7)
    assert Stroke.from_json(stroke.to_json()) == stroke
    fill = Stroke("fill", 3, slice=7, runs=((1, 2, 3),))
    assert Stroke.from_json(fill.to_json()) == fill


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"tool": "spray"}, "accepted are brush, eraser, polygon, fill"),
        ({"class_id": 33}, "accepted are 0 to 32"),
        ({"class_id": -1}, "accepted are 0 to 32"),
        ({"radius": 0}, "accepted is 0 to 2000 px"),
        ({"radius": float("nan")}, "accepted is 0 to 2000 px"),
        ({"points": []}, "accepted are 1 to 20000"),
        ({"points": [[1, float("nan")]]}, "points beyond"),
        ({"points": [[1e9, 0]]}, "points beyond"),
        ({"points": [[1]]}, "this is no stroke"),
        ({"points": "none"}, "this is no stroke"),
        ({"tool": "polygon", "points": [[1, 1], [2, 2]]}, "accepted are 3 to"),
        ({"tool": "fill", "runs": []}, "a fill of 0 runs"),
        ({"tool": "fill", "runs": [[1, 5, 2]]}, "0 <= x0 <= x1"),
    ],
)
def test_what_is_no_stroke_is_refused(content: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Stroke.read({"tool": "brush", "class_id": 1, "radius": 2.0, "points": [[1, 1]], **content})
