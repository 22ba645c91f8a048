"""Palette masks of a data set: indices where these are ids, colours where they are not, else a question."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dinoseg.data import open_dataset
from dinoseg.data.checks.dataset import check_dataset
from dinoseg.errors import LabelError
from tests.data.odd_files import write_palette
from tests.data.samples import blob, picture, save, write_lines

BLACK, RED, GREEN, WHITE, PURPLE = (0, 0, 0), (255, 0, 0), (0, 255, 0), (255, 255, 255), (68, 1, 84)
Colour = tuple[int, int, int]


def _truth(second: bool = True) -> np.ndarray:
    """Ids: background, one blob of 1, and one of 2."""
    ids = blob(value=1)
    ids[14:20, 20:30] = 2 if second else 1
    return ids


def _add(root: Path, name: str, ids: np.ndarray, order: list[Colour], palette: list[Colour]) -> None:
    """A case whose mask shows id n in the colour `palette[n]`, stored under the indices of `order`."""
    save(root / "images" / f"{name}.png", picture(len(name) + ord(name[-1])))
    index = np.array([order.index(colour) for colour in palette], np.uint8)
    write_palette(root / "masks" / f"{name}.png", index[ids], order)


def _ids(root: Path) -> list[np.ndarray]:
    dataset = open_dataset(root)
    return [dataset.labels.read(case.label) for case in dataset.cases if case.label]


def test_one_palette_for_all_gives_indices(tmp_path: Path) -> None:
    colours = [BLACK, GREEN, RED]  # sorted by colour, red and green would change places
    for name in ("a", "b"):
        _add(tmp_path, name, _truth(), colours, colours)
    dataset = open_dataset(tmp_path)
    assert dataset.labels.kind == "ids"
    for ids in _ids(tmp_path):
        np.testing.assert_array_equal(ids, _truth())


def test_palettes_that_agree_where_they_are_used_are_the_same(tmp_path: Path) -> None:
    _add(tmp_path, "a", _truth(second=False), [BLACK, GREEN], [BLACK, GREEN])
    _add(tmp_path, "b", _truth(), [BLACK, GREEN, RED, PURPLE], [BLACK, GREEN, RED])
    assert open_dataset(tmp_path).labels.describe() == "0 -> 0, 1 -> 1, 2 -> 2"


@pytest.mark.parametrize("second", [[GREEN, BLACK, RED], [WHITE, RED, BLACK, GREEN]])
def test_palettes_in_different_orders_give_colours(tmp_path: Path, second: list[Colour]) -> None:
    drawn = [BLACK, GREEN, RED]
    _add(tmp_path, "a", _truth(), drawn, drawn)
    _add(tmp_path, "b", _truth(), second, drawn)
    dataset = open_dataset(tmp_path)
    assert dataset.labels.describe() == "#000000 -> 0, #00ff00 -> 1, #ff0000 -> 2"
    for ids in _ids(tmp_path):
        np.testing.assert_array_equal(ids, _truth())


def test_white_first_is_not_background(tmp_path: Path) -> None:
    for name in ("a", "b"):
        _add(tmp_path, name, _truth(second=False), [WHITE, BLACK], [BLACK, WHITE])
    save(tmp_path / "images/c.png", picture(3))
    save(tmp_path / "masks/c.png", blob())
    for ids in _ids(tmp_path)[:2]:
        np.testing.assert_array_equal(ids, _truth(second=False))


def test_no_black_anywhere_is_a_question(tmp_path: Path) -> None:
    for name in ("a", "b"):
        _add(tmp_path, name, _truth(second=False), [PURPLE, GREEN], [PURPLE, GREEN])
    with pytest.raises(LabelError, match=r"index 0 of the palette of .*a\.png is #440154.*palette: indices"):
        open_dataset(tmp_path)
    write_lines(tmp_path / "dataset.yaml", ["palette: indices"])
    np.testing.assert_array_equal(_ids(tmp_path)[0], _truth(second=False))
    write_lines(tmp_path / "dataset.yaml", ['values: {"#440154": 0, "#00ff00": 1}'])
    np.testing.assert_array_equal(_ids(tmp_path)[0], _truth(second=False))


def test_declared_numbers_are_refused_where_palettes_differ(tmp_path: Path) -> None:
    drawn = [BLACK, GREEN, RED]
    _add(tmp_path, "a", _truth(), drawn, drawn)
    _add(tmp_path, "b", _truth(), [BLACK, RED, GREEN], drawn)
    write_lines(tmp_path / "dataset.yaml", ["values: {0: 0, 1: 1, 2: 2}"])
    with pytest.raises(LabelError, match=r"a\.png and .*b\.png differ \(index 1 is #00ff00 and #ff0000\)"):
        open_dataset(tmp_path)
    report = check_dataset(tmp_path)
    assert report.exit_code == 3
    assert report.layout == "images/ and masks/"
    write_lines(tmp_path / "dataset.yaml", ["values: {0: 0, 1: 1, 2: 2}", "palette: indices"])
    np.testing.assert_array_equal(_ids(tmp_path)[1], np.array([0, 2, 1])[_truth()])


def test_masks_in_colour_beside_palettes(tmp_path: Path) -> None:
    drawn = [BLACK, GREEN, RED]
    _add(tmp_path, "a", _truth(), drawn, drawn)
    save(tmp_path / "images/b.png", picture(7))
    save(tmp_path / "masks/b.png", np.array(drawn, np.uint8)[_truth()])
    for ids in _ids(tmp_path):
        np.testing.assert_array_equal(ids, _truth())


def test_grey_masks_beside_palettes(tmp_path: Path) -> None:
    greys: list[Colour] = [BLACK, (128, 128, 128), WHITE]
    _add(tmp_path, "a", _truth(), greys, greys)
    save(tmp_path / "images/b.png", picture(7))
    save(tmp_path / "masks/b.png", np.array([0, 128, 255], np.uint8)[_truth()])
    for ids in _ids(tmp_path):
        np.testing.assert_array_equal(ids, _truth())
    save(tmp_path / "masks/b.png", _truth())
    for ids in _ids(tmp_path):
        np.testing.assert_array_equal(ids, _truth())
    save(tmp_path / "masks/b.png", np.array([0, 7, 90], np.uint8)[_truth()])
    with pytest.raises(LabelError, match=r"a\.png has a palette and .*b\.png has none.*0, 1, 2 and 0, 7, 90"):
        open_dataset(tmp_path)


def test_threshold_means_the_grey_that_is_shown(tmp_path: Path) -> None:
    _add(tmp_path, "a", _truth(second=False), [BLACK, WHITE], [BLACK, WHITE])
    write_lines(tmp_path / "dataset.yaml", ["threshold: 128"])
    np.testing.assert_array_equal(_ids(tmp_path)[0], _truth(second=False))


def test_palette_must_be_indices_or_colours(tmp_path: Path) -> None:
    _add(tmp_path, "a", _truth(), [BLACK, RED, GREEN], [BLACK, RED, GREEN])
    write_lines(tmp_path / "dataset.yaml", ["palette: rgb"])
    with pytest.raises(LabelError, match=r"palette: 'rgb'; accepted are indices and colours"):
        open_dataset(tmp_path)
    write_lines(tmp_path / "dataset.yaml", ["palette: indices", 'values: {"#000000": 0, "#ff0000": 1}'])
    with pytest.raises(LabelError, match=r"palette: indices does not go with colours"):
        open_dataset(tmp_path)
