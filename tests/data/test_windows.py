"""Windows of an image: where they lie, and which pixels they show."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from dinoseg.data.case import IGNORE_ID, LabelMap
from dinoseg.data.tensors.windows import (
    ClassPixels,
    Cut,
    DrawnWindow,
    FixedWindow,
    draw_windows,
    find_margins,
    list_corners,
)

SIZE = (90, 70)


def _spots(mask: np.ndarray) -> ClassPixels:
    return ClassPixels(LabelMap(mask))


def _mask() -> np.ndarray:
    """Two classes of very different areas, and pixels that nobody decided."""
    mask = np.zeros(SIZE, np.uint8)
    mask[10:50, 10:50] = 1
    mask[80:82, 60:62] = 2
    mask[:, 0] = IGNORE_ID
    return mask


def _draw(count: int, **changes: object) -> tuple[DrawnWindow, ...]:
    options: dict = {"side": 32, "foreground": 0.5, "case": "a", "seed": 0, **changes}
    return draw_windows(count=count, **options)


def test_windows_follow_from_case_and_seed_alone() -> None:
    assert _draw(8) == _draw(8)
    assert _draw(8)[:3] == _draw(3)
    assert {window.draw for window in _draw(8)}.isdisjoint(window.draw for window in _draw(8, seed=1))
    assert {window.draw for window in _draw(8)}.isdisjoint(window.draw for window in _draw(8, case="b"))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_the_share_on_a_class_is_kept(share: float) -> None:
    for case in "abcdef":
        shown = sum(window.foreground for window in _draw(8, case=case, foreground=share))
        assert abs(shown - 8 * share) < 1
    single = [_draw(1, case=str(number), foreground=share)[0].foreground for number in range(600)]
    assert np.mean(single) == pytest.approx(share, abs=0.06)


def test_windows_on_a_class_take_classes_evenly_and_end_with_the_image() -> None:
    mask, spots = _mask(), _spots(_mask())
    assert spots.classes == (1, 2)
    counts: Counter[int] = Counter()
    for window in _draw(400, foreground=1.0):
        placed = window.place(SIZE, spots)
        row, column = placed.corner
        assert 0 <= row <= SIZE[0] - 32
        assert 0 <= column <= SIZE[1] - 32
        counts[2 if (mask[row : row + 32, column : column + 32] == 2).any() else 1] += 1
    assert counts[2] == pytest.approx(200, abs=60)  # though class 1 has 400 times its area


def test_a_window_on_a_class_is_centred_where_the_edges_allow() -> None:
    mask = np.zeros(SIZE, np.uint8)
    mask[40, 30] = 1
    corners = {window.place(SIZE, _spots(mask)).corner for window in _draw(5, foreground=1.0)}
    assert corners == {(40 - 16, 30 - 16)}
    mask = np.zeros(SIZE, np.uint8)
    mask[2, 69] = 1
    assert {window.place(SIZE, _spots(mask)).corner for window in _draw(5, foreground=1.0)} == {(0, 38)}


def test_other_windows_lie_anywhere() -> None:
    corners = [window.place(SIZE, _spots(_mask())).corner for window in _draw(600, foreground=0.0)]
    for axis, last in enumerate((SIZE[0] - 32, SIZE[1] - 32)):
        found = np.array([corner[axis] for corner in corners])
        assert (found.min(), found.max()) == (0, last)
        assert found.mean() == pytest.approx(last / 2, abs=2.5)
    nothing = _spots(np.zeros(SIZE, np.uint8))
    assert len({window.place(SIZE, nothing).corner for window in _draw(20, foreground=1.0)}) > 15


def test_a_cut_is_the_window_of_the_padded_image() -> None:
    array = np.arange(2 * 20 * 70, dtype=np.float32).reshape(2, 20, 70)
    padded = np.pad(array, [(0, 0), find_margins(20, 32), find_margins(70, 32)], constant_values=-1)
    for corner in list_corners((20, 70), side=32, overlap=0.25):
        cut = Cut.of((20, 70), FixedWindow(32, corner))
        found = cut.take(array)
        found[:, ~cut.inside] = -1
        row, column = corner
        assert np.array_equal(found, padded[:, row : row + 32, column : column + 32])


def test_around_a_window_the_image_goes_on_and_is_mirrored_beyond_its_edges() -> None:
    array = np.arange(90 * 70, dtype=np.float32).reshape(SIZE)
    mirrored = np.pad(array, 40, mode="symmetric")
    for corner in ((30, 20), (0, 0), (58, 38)):
        found = Cut.of(SIZE, FixedWindow(32, corner), around=15).take(array)
        top, left = corner[0] + 40 - 15, corner[1] + 40 - 15
        assert np.array_equal(found, mirrored[top : top + 62, left : left + 62])
