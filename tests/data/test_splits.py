"""Splits by group, their file, and what is refused; shots."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dinoseg.data import open_dataset
from dinoseg.data.layouts.dataset import Dataset
from dinoseg.data.splits.splits import (
    Splits,
    check_splits,
    draw_shots,
    load_splits,
    make_splits,
    resolve_splits,
    save_splits,
)
from dinoseg.errors import OutputError, SplitError
from tests.data.samples import blob, make_dataset, picture, save, write_lines


def _grouped(root: Path, sizes: list[int], *, empty: int = 0) -> Dataset:
    """One group of each size; the last `empty` groups have empty masks."""
    rows = ["case,group"]
    for group, size in enumerate(sizes):
        for _ in range(size):
            name = f"c{len(rows)}"
            save(root / "images" / f"{name}.png", picture(len(rows), (8, 8)))
            save(
                root / "masks" / f"{name}.png",
                blob((16, 16), 0 if group >= len(sizes) - empty else 255)[:8, :8],
            )
            rows.append(f"{name},g{group}")
    write_lines(root / "groups.csv", rows)
    return open_dataset(root)


def test_groups_stay_whole_and_fractions_are_met(tmp_path: Path) -> None:
    dataset = _grouped(tmp_path, [3, 1, 2, 4, 1, 1, 2, 3, 1, 2] * 3)
    splits = make_splits(dataset, seed=1)
    group_of = {case.id: case.group for case in dataset.cases}
    homes = [{group_of[id_] for id_ in ids} for _, ids in splits.items()]
    assert not homes[0] & homes[1]
    assert not (homes[0] | homes[1]) & homes[2]
    assert sum(len(ids) for _, ids in splits.items()) == 60
    assert len(splits.train) == pytest.approx(42, abs=3)
    assert len(splits.val) == pytest.approx(6, abs=3)
    assert splits.unit == "group"


def test_the_seed_decides(tmp_path: Path) -> None:
    dataset = open_dataset(make_dataset(tmp_path, 20))
    assert make_splits(dataset, seed=3) == make_splits(dataset, seed=3)
    assert make_splits(dataset, seed=3).test != make_splits(dataset, seed=4).test
    assert make_splits(dataset, seed=3).unit == "case"


@pytest.mark.parametrize("sizes", [[1, 1, 1], [100, 1, 1], [1, 2, 30, 40]])
def test_no_split_is_empty_from_three_groups_up(tmp_path: Path, sizes: list[int]) -> None:
    dataset = _grouped(tmp_path, sizes)
    for seed in range(5):
        assert all(ids for _, ids in make_splits(dataset, seed=seed).items())


def test_empty_cases_are_spread(tmp_path: Path) -> None:
    dataset = _grouped(tmp_path, [1] * 40, empty=20)
    for _, ids in make_splits(dataset, seed=0).items():
        share = sum(id_ in dataset.empty for id_ in ids) / len(ids)
        assert share == pytest.approx(0.5, abs=0.01)


def test_a_fraction_of_zero_leaves_a_split_empty(tmp_path: Path) -> None:
    dataset = open_dataset(make_dataset(tmp_path, 2))
    splits = make_splits(dataset, fractions=(0.5, 0.0, 0.5))
    assert (len(splits.train), len(splits.val), len(splits.test)) == (1, 0, 1)


@pytest.mark.parametrize("fractions", [(0.5, 0.1, 0.1), (1.2, -0.1, -0.1), (0.0, 0.5, 0.5)])
def test_fractions_must_add_up(tmp_path: Path, fractions: tuple[float, float, float]) -> None:
    with pytest.raises(SplitError, match="add up to 1"):
        make_splits(open_dataset(make_dataset(tmp_path)), fractions=fractions)


def test_file_is_read_back(tmp_path: Path) -> None:
    splits = Splits(("a", "ü"), ("b",), (), 7, "group")
    save_splits(tmp_path / "splits.json", splits)
    assert load_splits(tmp_path / "splits.json") == splits
    with pytest.raises(OutputError, match="exists already"):
        save_splits(tmp_path / "splits.json", splits)
    save_splits(tmp_path / "splits.json", Splits(("a",), (), (), None, "case"), overwrite=True)
    assert load_splits(tmp_path / "splits.json").seed is None


def test_resolve_prefers_path_then_file_then_layout_then_draw(tmp_path: Path) -> None:
    make_dataset(tmp_path)
    drawn = resolve_splits(open_dataset(tmp_path), seed=5)
    assert drawn.seed == 5
    for name, ids in {"train": ["c1", "c2"], "val": ["c3"], "test": ["c4"]}.items():
        write_lines(tmp_path / f"splits/{name}.txt", ids)
    dataset = open_dataset(tmp_path)
    assert resolve_splits(dataset) == Splits(("c1", "c2"), ("c3",), ("c4",), None, "case")
    save_splits(tmp_path / "splits.json", Splits(("c5",), ("c6",), (), None, "case"))
    assert resolve_splits(dataset).train == ("c5",)
    save_splits(tmp_path / "mine.json", Splits(("c6",), (), (), None, "case"))
    assert resolve_splits(dataset, path=tmp_path / "mine.json").train == ("c6",)


def test_validation_is_drawn_from_train_where_the_layout_has_none(tmp_path: Path) -> None:
    make_dataset(tmp_path, 20)
    listed = [f"c{number}" for number in range(16, 0, -1)]
    write_lines(tmp_path / "splits/train.txt", listed)
    write_lines(tmp_path / "splits/test.txt", ["c17", "c18"])
    splits = resolve_splits(open_dataset(tmp_path), seed=2)
    assert len(splits.val) == 2
    assert [id_ for id_ in listed if id_ not in splits.val] == list(splits.train)
    assert splits.test == ("c17", "c18")
    assert splits.seed == 2


def test_validation_cannot_be_drawn_from_one_group(tmp_path: Path) -> None:
    dataset = _grouped(tmp_path, [3, 2])
    write_lines(tmp_path / "splits/train.txt", ["c1", "c2", "c3"])
    write_lines(tmp_path / "splits/test.txt", ["c4", "c5"])
    assert dataset.cases[0].split is None
    with pytest.raises(SplitError, match="one group"):
        resolve_splits(open_dataset(tmp_path))


def test_a_data_set_of_test_cases_only_is_kept_as_such(tmp_path: Path) -> None:
    make_dataset(tmp_path, 2)
    write_lines(tmp_path / "splits/test.txt", ["c1", "c2"])
    assert resolve_splits(open_dataset(tmp_path)) == Splits((), (), ("c1", "c2"), None, "case")


def test_good_splits_pass(tmp_path: Path) -> None:
    dataset = open_dataset(make_dataset(tmp_path, 12))
    check_splits(dataset, make_splits(dataset))


def test_duplicates_within_one_split_are_allowed(tmp_path: Path) -> None:
    make_dataset(tmp_path, 5)
    save(tmp_path / "images/c2.png", picture(1))
    dataset = open_dataset(tmp_path)
    check_splits(dataset, Splits(("c1", "c2"), ("c3",), ("c4", "c5"), None, "case"))
    with pytest.raises(SplitError, match=r"c1 \(train\) is the image of c2 \(test\)"):
        check_splits(dataset, Splits(("c1", "c3"), ("c4",), ("c2", "c5"), None, "case"))


def test_shots_are_nested_and_seeded(tmp_path: Path) -> None:
    dataset = open_dataset(make_dataset(tmp_path, 20))
    ids = [case.id for case in dataset.cases]
    ten = draw_shots(dataset, ids, 10, seed=1)
    assert len(set(ten)) == 10
    assert draw_shots(dataset, ids, 5, seed=1) == ten[:5]
    assert draw_shots(dataset, ids[::-1], 10, seed=1) == ten
    assert draw_shots(dataset, ids, 10, seed=2) != ten
    assert sorted(draw_shots(dataset, ids, 20, seed=3)) == sorted(ids)


def test_first_shots_are_the_first_lines(tmp_path: Path) -> None:
    dataset = open_dataset(make_dataset(tmp_path))
    assert draw_shots(dataset, ["c5", "c2", "c1"], 2, seed=9, first=True) == ("c5", "c2")


def test_every_class_is_among_the_shots(tmp_path: Path) -> None:
    make_dataset(tmp_path, 30, value=1)
    rare = blob(value=2)
    save(tmp_path / "masks/c17.png", rare)
    both = blob(value=1)
    both[0, 0] = 3
    save(tmp_path / "masks/c29.png", both)
    dataset = open_dataset(tmp_path)
    ids = [case.id for case in dataset.cases]
    for seed in range(5):
        assert set(draw_shots(dataset, ids, 2, seed=seed)) == {"c17", "c29"}


def test_empty_cases_are_drawn_too_but_not_first(tmp_path: Path) -> None:
    dataset = _grouped(tmp_path, [1] * 40, empty=30)
    ids = [case.id for case in dataset.cases]
    for seed in range(4):
        shots = draw_shots(dataset, ids, 12, seed=seed)
        assert shots[0] not in dataset.empty
        assert dataset.empty & set(shots)


def test_groups_as_shots(tmp_path: Path) -> None:
    dataset = _grouped(tmp_path, [3, 2, 4])
    ids = [case.id for case in dataset.cases]
    shots = draw_shots(dataset, ids, 2, seed=0, unit="group")
    groups = [case.group for case in dataset.find(shots)]
    assert len(set(groups)) == 2
    assert len(shots) == sum({"g0": 3, "g1": 2, "g2": 4}[group] for group in set(groups))
    assert draw_shots(dataset, ids, 1, unit="group", first=True) == ("c1", "c2", "c3")


@pytest.mark.parametrize("shots", [0, -1, 7])
def test_impossible_shots_are_refused(tmp_path: Path, shots: int) -> None:
    dataset = open_dataset(make_dataset(tmp_path))
    with pytest.raises(SplitError, match=r"the training split holds 1 to 6 \(cases\)"):
        draw_shots(dataset, [case.id for case in dataset.cases], shots)


def test_mask_of_a_rare_class_survives_the_draw(tmp_path: Path) -> None:
    dataset = open_dataset(make_dataset(tmp_path))
    masks = [np.asarray(case.label) for case in dataset.find(draw_shots(dataset, ["c1", "c2"], 2))]
    assert len(masks) == 2
