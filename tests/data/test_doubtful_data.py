"""What `data check` says of masks of another meaning, of splits without findings, and of copies."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from dinoseg.data import open_dataset
from dinoseg.data.checks.dataset import check_dataset
from dinoseg.data.checks.pictures import ROWS, TILE, draw_copies
from dinoseg.data.splits.splits import Splits, save_splits
from dinoseg.errors import LabelError, OutputError
from tests.data.samples import SIZE, blob, make_dataset, picture, save, write_lines
from tests.data.test_unused_files import Notes


def _found(root: Path, topic: str) -> list[tuple[str, str]]:
    return [(f.severity, f.message) for f in check_dataset(root).findings if f.topic == topic]


def _split(root: Path, train: list[str], val: list[str], test: list[str]) -> Path:
    save_splits(root / "splits.json", Splits(tuple(train), tuple(val), tuple(test), None, "case"))
    return root


def test_foreground_nearly_everywhere_is_doubted(tmp_path: Path) -> None:
    make_dataset(tmp_path)
    field = np.full(SIZE, 255, np.uint8)
    field[0] = 0
    for number in (1, 2):
        save(tmp_path / f"masks/c{number}.png", field)
    ((severity, message),) = _found(tmp_path, "coverage")
    assert severity == "warning"
    assert message.startswith("the foreground covers at least 90% of the pixels in 2 of 6 cases")
    assert message.endswith("c1; c2")
    notes = Notes()
    open_dataset(tmp_path, progress=notes)
    assert notes.lines == [message]


def test_a_single_large_finding_is_only_mentioned(tmp_path: Path) -> None:
    make_dataset(tmp_path, 12)
    save(tmp_path / "masks/c1.png", np.full(SIZE, 255, np.uint8))
    assert _found(tmp_path, "coverage")[0][0] == "info"


def test_large_masks_that_are_all_the_same_are_doubted(tmp_path: Path) -> None:
    make_dataset(tmp_path)
    row, column = np.indices(SIZE)
    for number in range(1, 7):
        field = ((row - 12) / 11) ** 2 + ((column - 15) / 14) ** 2 < 1  # 60 % of the picture
        field[number, 12] = False
        save(tmp_path / f"masks/c{number}.png", (field * 255).astype(np.uint8))
    ((severity, message),) = _found(tmp_path, "sameness")
    assert severity == "warning"
    assert message.startswith(
        "the mask is large and nearly the same as in the others (a field of view? a templ"
    )
    for number in range(1, 7):
        moved = ((row - 12) / 11) ** 2 + ((column - 10 - 2 * number) / 14) ** 2 < 1
        save(tmp_path / f"masks/c{number}.png", (moved * 255).astype(np.uint8))
    assert _found(tmp_path, "sameness") == []


def test_what_is_ignored_is_not_covered(tmp_path: Path) -> None:
    make_dataset(tmp_path, 2)
    mask = np.full(SIZE, 7, np.uint8)
    mask[:2] = 1
    save(tmp_path / "masks/c1.png", mask)
    write_lines(tmp_path / "dataset.yaml", ["values: {0: 0, 1: 1, 255: 1}", "ignore: 7"])
    assert "1 of 2 cases" in _found(tmp_path, "coverage")[0][1]


@pytest.mark.parametrize("empty", [["c4", "c5"], ["c4", "c5", "c6"]])
def test_a_validation_split_without_a_finding(tmp_path: Path, empty: list[str]) -> None:
    _split(make_dataset(tmp_path), ["c1", "c2", "c3"], ["c4", "c5"], ["c6"])
    for name in empty:
        save(tmp_path / f"masks/{name}.png", blob(value=0))
    said = _found(tmp_path, "foreground")
    assert said[0] == (
        "warning",
        "no mask of the val split (2 cases) shows a class: no epoch can be chosen by it, and the last one is "
        "the best there is",
    )
    assert len(said) == len(empty) - 1
    assert check_dataset(tmp_path).exit_code == 0


def test_a_class_that_a_split_lacks(tmp_path: Path) -> None:
    _split(make_dataset(tmp_path, value=1), ["c1", "c2", "c3"], ["c4", "c5"], ["c6"])
    for name in ("c1", "c4"):
        save(tmp_path / f"masks/{name}.png", blob(value=2))
    write_lines(tmp_path / "dataset.yaml", ["classes: {0: background, 1: disc, 2: cup}"])
    assert _found(tmp_path, "foreground") == [
        ("warning", "no mask of the test split (1 case) shows class 2 cup")
    ]


def test_cases_without_a_decided_pixel_are_not_empty(tmp_path: Path) -> None:
    make_dataset(tmp_path, value=1)
    save(tmp_path / "masks/c1.png", np.full(SIZE, 255, np.uint8))
    save(tmp_path / "masks/c2.png", np.zeros(SIZE, np.uint8))
    half = np.zeros(SIZE, np.uint8)
    half[:9] = 255
    save(tmp_path / "masks/c3.png", half)
    write_lines(tmp_path / "dataset.yaml", ["values: {0: 0, 1: 1}", "ignore: 255"])
    dataset = open_dataset(tmp_path)
    assert (dataset.empty, dataset.undecided) == ({"c2", "c3"}, {"c1"})
    report = check_dataset(tmp_path)
    assert (report.empty, report.undecided) == (2, 1)
    assert "masks without a decided pixel: 1" in report.lines()
    assert _found(tmp_path, "undecided") == [("info", "every pixel of the mask is ignored in 1 case: c1")]
    assert report.classes[1].lesions == 3
    assert json.loads(json.dumps(report.to_dict()))["undecided"] == 1


def test_the_background_may_be_any_value_and_0_ignored(tmp_path: Path) -> None:
    make_dataset(tmp_path, 2)
    mask = blob(value=2) + (blob(value=2) == 0)
    mask[0] = 0
    for number in (1, 2):
        save(tmp_path / f"masks/c{number}.png", mask.astype(np.uint8))
    write_lines(tmp_path / "dataset.yaml", ["values: {1: 0, 2: 1}", "ignore: 0"])
    dataset = open_dataset(tmp_path)
    ids = dataset.labels.read(tmp_path / "masks/c1.png")
    assert (ids[0] == 255).all()
    np.testing.assert_array_equal(ids[1:], blob()[1:] > 0)
    assert "0 -> ignored, 1 -> 0, 2 -> 1" in dataset.labels.describe()


def test_several_values_may_be_ignored(tmp_path: Path) -> None:
    make_dataset(tmp_path, 2, value=1)
    mask = blob(value=1)
    mask[0], mask[1] = 4, 5
    save(tmp_path / "masks/c1.png", mask)
    write_lines(tmp_path / "dataset.yaml", ["values: {0: 0, 1: 1}", "ignore: [4, 5]"])
    dataset = open_dataset(tmp_path)
    assert dataset.labels.ignore == (4, 5)
    assert (dataset.labels.read(tmp_path / "masks/c1.png")[:2] == 255).all()
    assert dataset.labels.class_count == 2
    colours = ['values: {"#000000": 0, "#010101": 1}', 'ignore: ["#040404", "#050505"]']
    write_lines(tmp_path / "dataset.yaml", colours)
    assert (open_dataset(tmp_path).labels.read(tmp_path / "masks/c1.png")[:2] == 255).all()


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (
            ["ignore: 0", "classes: {0: a, 1: b}"],
            "0 is a class as well; give every other value a class, the background too, "
            "`values: {1: 0, 2: 1}`",
        ),
        (
            ["ignore: 255"],
            "it stands alone; give every other value a class, the background too, `values: {0: 0, 1: 1}`",
        ),
        (["ignore: []", "values: {0: 0, 1: 1}"], "ignore is an empty list"),
        (["ignore: 255", "threshold: 128"], "ignore needs `values`"),
        (["ignore: [4, x]", "values: {0: 0, 1: 1}"], "ignore: 'x' is no mask value"),
    ],
)
def test_errors_of_ignore_say_what_to_do(tmp_path: Path, lines: list[str], words: str) -> None:
    write_lines(make_dataset(tmp_path) / "dataset.yaml", lines)
    with pytest.raises(LabelError) as caught:
        open_dataset(tmp_path)
    assert words in str(caught.value)
    assert check_dataset(tmp_path).layout == "images/ and masks/"


def _with_copies(root: Path, count: int) -> Path:
    """c1 again as the images of `count` more cases."""
    make_dataset(root)
    for number in range(count):
        save(root / f"images/d{number}.png", picture(1))
        save(root / f"masks/d{number}.png", blob())
    return root


def test_many_copies_are_one_line(tmp_path: Path) -> None:
    report = check_dataset(_with_copies(tmp_path, 4))
    ((severity, message),) = [(f.severity, f.message) for f in report.findings if "duplicate" in f.topic]
    assert severity == "warning"
    assert message.startswith(
        "10 pairs among 5 cases are the same image and stand in two groups; give them one"
    )
    assert "c1 (c1) and d0 (d0)" in message
    assert "and 7 more" in message
    assert "--pictures DIR" in message
    assert len(report.to_dict()["copies"]) == 10
    assert report.to_dict()["copies"][0]["bits"] is None


def test_copies_are_drawn_side_by_side(tmp_path: Path) -> None:
    report = check_dataset(_with_copies(tmp_path / "data", 5))
    sheets = draw_copies(report.copies, tmp_path / "pictures")
    assert [sheet.name for sheet in sheets] == ["duplicates_1.png", "duplicates_2.png"]
    assert len(report.copies) == 15
    with PillowImage.open(sheets[0]) as sheet:
        pixels = np.asarray(sheet)
    assert pixels.shape[1] > 2 * TILE
    for left in (8, 16 + TILE):
        np.testing.assert_array_equal(pixels[30 : 30 + SIZE[0], left : left + SIZE[1]], picture(1))
    with PillowImage.open(sheets[1]) as rest:
        assert rest.height / sheet.height == pytest.approx((15 - ROWS) / ROWS, abs=0.01)
    with pytest.raises(OutputError, match="exists already"):
        draw_copies(report.copies, tmp_path / "pictures")
