"""Draws of a few cases: nested, seeded, with every class; groups; the first lines of a list."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from dinoseg.data import Dataset, open_dataset
from dinoseg.data.splits.shots import (
    draw_shots,
    find_absent_classes,
    refuse_empty_shots,
    refuse_shots,
    tell_absent_classes,
)
from dinoseg.data.splits.splits import resolve_splits
from dinoseg.errors import LabelError, SplitError
from dinoseg.progress import Silent
from tests.data.samples import blob, picture, save, write_lines

SIZE = (24, 32)


class Notes(Silent):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


def mask_of(classes: tuple[int, ...]) -> NDArray[np.uint8]:
    """Some pixels of each class."""
    mask = np.zeros(SIZE, np.uint8)
    for id_ in classes:
        mask[id_ * 3 : id_ * 3 + 3, 5:15] = id_
    return mask


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """24 cases in 8 groups of 3; class 1 is in most, 2 in three, 3 in two, 4 in one case of another group."""
    root = tmp_path_factory.mktemp("classes")
    classes: dict[int, tuple[int, ...]] = {4: (1, 2), 11: (1, 2), 20: (2,), 7: (1, 3), 16: (3,), 23: (4,)}
    rows = ["case,group"]
    for number in range(1, 25):
        save(root / "images" / f"c{number}.png", picture(number, SIZE))
        shown = classes.get(number, (1,) if number % 4 else ())
        save(root / "masks" / f"c{number}.png", mask_of(shown))
        rows.append(f"c{number},p{(number - 1) // 3}")
    write_lines(root / "groups.csv", rows)
    write_lines(
        root / "dataset.yaml", ["classes:", *(f"  {id_}: {name}" for id_, name in enumerate("oabcd"))]
    )
    return open_dataset(root)


def ids_of(dataset: Dataset) -> list[str]:
    return [case.id for case in dataset.cases]


@pytest.mark.parametrize("unit", ["case", "group"])
@pytest.mark.parametrize("seed", range(4))
def test_every_draw_begins_with_all_smaller_ones(
    dataset: Dataset, unit: Literal["case", "group"], seed: int
) -> None:
    count = 24 if unit == "case" else 8
    draws = [
        draw_shots(dataset, ids_of(dataset), shots, seed=seed, unit=unit) for shots in range(1, count + 1)
    ]
    for smaller, larger in itertools.pairwise(draws):
        assert larger[: len(smaller)] == smaller
        assert len(larger) > len(smaller)
    assert sorted(draws[-1]) == sorted(ids_of(dataset))


def test_seeds_draw_differently(dataset: Dataset) -> None:
    draws = {frozenset(draw_shots(dataset, ids_of(dataset), 8, seed=seed)) for seed in range(6)}
    assert len(draws) == 6


@pytest.mark.parametrize("seed", range(6))
def test_four_cases_show_all_four_classes(dataset: Dataset, seed: int) -> None:
    # Class 4 is in one case alone; the others need two more at least: a draw by chance finds them seldom.
    assert find_absent_classes(dataset, draw_shots(dataset, ids_of(dataset), 4, seed=seed)) == ()


def test_too_few_shots_show_as_many_classes_as_they_can(dataset: Dataset) -> None:
    for seed in range(6):
        (one,) = draw_shots(dataset, ids_of(dataset), 1, seed=seed)
        assert one in {"c4", "c11", "c7"}  # two classes each, no case has more
        assert len(find_absent_classes(dataset, [one])) == 2


def test_groups_show_all_classes_too(dataset: Dataset) -> None:
    for seed in range(6):
        shots = draw_shots(dataset, ids_of(dataset), 3, seed=seed, unit="group")
        groups = {case.group for case in dataset.find(shots)}
        assert len(groups) == 3
        assert len(shots) == 9
        assert find_absent_classes(dataset, shots) == ()


def test_absent_classes_are_told_once_and_others_not(dataset: Dataset) -> None:
    notes = Notes()
    tell_absent_classes(dataset, ids_of(dataset), notes)
    assert notes.notes == []
    tell_absent_classes(dataset, ["c1", "c7"], notes)
    assert notes.notes == ["no mask of the 2 training cases shows b, d: not to be learned"]


def test_first_keeps_the_order_of_the_list(dataset: Dataset) -> None:
    listed = ["c9", "c2", "c17", "c1", "c8"]
    assert draw_shots(dataset, listed, 3, seed=7, first=True) == ("c9", "c2", "c17")
    # The first groups by their first line, each with all its lines.
    assert draw_shots(dataset, listed, 2, first=True, unit="group") == ("c9", "c8", "c2", "c1")


def test_shots_that_are_all_background_are_refused(dataset: Dataset) -> None:
    refuse_empty_shots(dataset, ["c8", "c9"])
    with pytest.raises(
        LabelError, match=r"first 2 training cases shows a class \(c8; c12\).*--shots-from random"
    ):
        refuse_empty_shots(dataset, ["c8", "c12"])


def test_an_impossible_number_lists_what_is_there(dataset: Dataset) -> None:
    with pytest.raises(SplitError, match=r"^9 shots; .* 1 to 8 \(groups\): p0; p1; p2; and 5 more$"):
        refuse_shots(dataset, ids_of(dataset), 9, unit="group")
    with pytest.raises(SplitError, match=r"^0 shots; .* 1 to 24 \(cases\): c1; "):
        draw_shots(dataset, ids_of(dataset), 0)


# --- the first lines, where the layout has no val split and one is drawn from train ------------------------


@pytest.fixture
def listed(tmp_path: Path) -> tuple[Path, list[str]]:
    """Twenty cases: sixteen in train.txt in an order of its own, four in test.txt."""
    for number in range(1, 21):
        save(tmp_path / "images" / f"c{number}.png", picture(number))
        save(tmp_path / "masks" / f"c{number}.png", blob())
    lines = [f"c{number}" for number in (12, 3, 16, 1, 9, 5, 14, 2, 7, 11, 4, 13, 6, 10, 8, 15)]
    write_lines(tmp_path / "splits/train.txt", lines)
    write_lines(tmp_path / "splits/test.txt", [f"c{number}" for number in range(17, 21)])
    return tmp_path, lines


@pytest.mark.parametrize("shots", [1, 5, 13, 14])
def test_the_first_lines_stay_in_train(listed: tuple[Path, list[str]], shots: int) -> None:
    root, lines = listed
    dataset = open_dataset(root)
    for seed in range(5):
        splits = resolve_splits(dataset, seed=seed, keep_first=shots)
        assert draw_shots(dataset, splits.train, shots, first=True) == tuple(lines[:shots])
        assert len(splits.val) == 2
        assert set(splits.train) | set(splits.val) == set(lines)


def test_without_it_some_of_them_become_validation_cases(listed: tuple[Path, list[str]]) -> None:
    root, lines = listed
    dataset = open_dataset(root)
    lost = [set(lines[:5]) - set(resolve_splits(dataset, seed=seed).train) for seed in range(8)]
    assert any(lost)
    assert len(resolve_splits(dataset, seed=0).val) == 2


def test_first_lines_that_leave_none_for_validation(listed: tuple[Path, list[str]]) -> None:
    dataset = open_dataset(listed[0])
    assert len(resolve_splits(dataset, keep_first=15).val) == 1
    with pytest.raises(SplitError, match="needed whole for the first shots, so none can be kept"):
        resolve_splits(dataset, keep_first=16)
    with pytest.raises(SplitError, match=r"^17 shots; the training split holds 1 to 16"):
        resolve_splits(dataset, keep_first=17)


def test_first_groups_stay_whole(listed: tuple[Path, list[str]]) -> None:
    root, lines = listed
    rows = [f"{name},v{index // 3}" for index, name in enumerate(lines)]
    rows += [f"c{number},other" for number in range(17, 21)]
    write_lines(root / "groups.csv", ["case,group", *rows])
    dataset = open_dataset(root)
    for seed in range(4):
        splits = resolve_splits(dataset, seed=seed, keep_first=2, unit="group")
        shots = draw_shots(dataset, splits.train, 2, unit="group", first=True)
        assert shots == tuple(lines[:6])


def test_a_val_split_of_its_own_is_not_touched(listed: tuple[Path, list[str]]) -> None:
    root, lines = listed
    shutil.copy(root / "splits/test.txt", root / "splits/val.txt")
    write_lines(root / "splits/test.txt", lines[-1:])
    write_lines(root / "splits/train.txt", lines[:-1])
    splits = resolve_splits(open_dataset(root), keep_first=15)
    assert splits.train == tuple(lines[:-1])
    assert splits.val == ("c17", "c18", "c19", "c20")
