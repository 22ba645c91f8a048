"""Nothing that lies in a data set is left unused without a word."""

from __future__ import annotations

from pathlib import Path

import pytest

from dinoseg.data import open_dataset
from dinoseg.data.checks.dataset import check_dataset
from dinoseg.data.splits.splits import find_split_file
from dinoseg.errors import DataError, LayoutError, SplitError
from tests.data.samples import blob, make_dataset, picture, save, write_lines

GROUPS = ["case,group", *(f"c{n},p{n % 3}" for n in range(1, 7))]


def _said(root: Path) -> list[tuple[str, str]]:
    topics = ("unused", "groups")
    return [(item.severity, item.message) for item in check_dataset(root).findings if item.topic in topics]


class Notes:
    """A `Progress` that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def track(self, items, *, total, label):
        yield from items

    def note(self, message: str) -> None:
        self.lines.append(message)


def test_a_plain_data_set_has_nothing_to_tell(tmp_path: Path) -> None:
    make_dataset(tmp_path)
    write_lines(tmp_path / "groups.csv", GROUPS)
    write_lines(tmp_path / "README.md", ["hello"])
    write_lines(tmp_path / "LICENSE", ["free"])
    write_lines(tmp_path / "splits/train.txt", ["c1", "c2"])
    write_lines(tmp_path / ".hidden", ["x"])
    assert _said(tmp_path) == []


@pytest.mark.parametrize("layout", ["two", "split", "one", "csv"])
def test_other_folders_of_images_are_named(tmp_path: Path, layout: str) -> None:
    if layout == "split":
        make_dataset(tmp_path / "training")
        home = tmp_path / "training"
    elif layout == "one":
        for name in ("a", "b"):
            save(tmp_path / f"{name}.png", picture(ord(name)))
            save(tmp_path / f"{name}_mask.png", blob())
        home = tmp_path
    else:
        make_dataset(tmp_path if layout == "two" else tmp_path / "files")
        home = tmp_path
    if layout == "csv":
        rows = ["image,mask", *(f"files/images/c{n}.png,files/masks/c{n}.png" for n in range(1, 7))]
        write_lines(tmp_path / "cases.csv", rows)
    for number in (1, 2):
        save(home / "1st_manual" / "deeper" / f"{number}_manual1.png", blob())
    said = _said(tmp_path)
    assert said == [("warning", f"{home / '1st_manual'}/ holds 2 images and is not used")]
    notes = Notes()
    open_dataset(tmp_path, progress=notes)
    assert notes.lines == [said[0][1]]


def test_linked_folders_are_named_and_links_that_are_used_are_not(tmp_path: Path) -> None:
    make_dataset(tmp_path / "data")
    save(tmp_path / "elsewhere/x.png", picture(1))
    (tmp_path / "data/more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data/gone").symlink_to(tmp_path / "nowhere")
    messages = [message for _, message in _said(tmp_path / "data")]
    assert (
        f"{tmp_path / 'data/more'}/ holds 1 image and is not used (a link to {tmp_path / 'elsewhere'})"
        in messages
    )
    assert f"{tmp_path / 'data/gone'} is a link to something that does not exist" in messages
    (tmp_path / "linked").mkdir()
    for name in ("images", "masks"):
        (tmp_path / "linked/store" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "data" / name).rename(tmp_path / "linked/store" / name)
        (tmp_path / "linked" / name).symlink_to(tmp_path / "linked/store" / name)
    assert _said(tmp_path / "linked") == []


def test_files_of_other_kinds_are_named(tmp_path: Path) -> None:
    make_dataset(tmp_path)
    write_lines(tmp_path / "masks/c1.xml", ["<annotation/>"])
    write_lines(tmp_path / "classes.json", ["{}"])
    (tmp_path / "notes").mkdir()
    assert _said(tmp_path) == [
        ("info", f"{tmp_path / 'notes'}/ is not used"),
        ("info", f"{tmp_path}: not used: classes.json"),
        ("info", f"{tmp_path / 'masks'}: not used: c1.xml"),
    ]


@pytest.mark.parametrize("name", ["dataset.yml", "Dataset.yaml", "DATASET.YML"])
def test_dataset_yaml_in_any_spelling(tmp_path: Path, name: str) -> None:
    write_lines(make_dataset(tmp_path) / name, ["classes: {0: background, 1: polyp}"])
    assert open_dataset(tmp_path).classes == {0: "background", 1: "polyp"}
    assert _said(tmp_path) == []


@pytest.mark.parametrize("name", ["Groups.csv", "groups.CSV", "GROUPS.CSV"])
def test_groups_in_any_case(tmp_path: Path, name: str) -> None:
    write_lines(make_dataset(tmp_path) / name, GROUPS)
    assert {case.group for case in open_dataset(tmp_path).cases} == {"p0", "p1", "p2"}
    assert _said(tmp_path) == []


def test_splits_in_any_case(tmp_path: Path) -> None:
    write_lines(make_dataset(tmp_path) / "Splits.JSON", ['{"train": ["c1"], "val": ["c2"], "test": ["c3"]}'])
    assert find_split_file(tmp_path) == tmp_path / "Splits.JSON"
    assert check_dataset(tmp_path).splits == {"train": 1, "val": 1, "test": 1}
    write_lines(tmp_path / "SPLITS/Train.TXT", ["c5", "c4"])
    assert [case.id for case in open_dataset(tmp_path).cases][:2] == ["c5", "c4"]


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (("dataset.yaml", "dataset.yml"), "classes: {0: background, 1: polyp}"),
        (("groups.csv", "Groups.csv"), "\n".join(GROUPS)),
    ],
)
def test_two_files_of_one_meaning_are_refused(tmp_path: Path, names: tuple[str, str], text: str) -> None:
    make_dataset(tmp_path)
    for name in names:
        write_lines(tmp_path / name, [text])
    with pytest.raises(DataError, match=r"which say the same thing; keep one of them"):
        open_dataset(tmp_path)
    assert check_dataset(tmp_path).exit_code == 3


@pytest.mark.parametrize(
    ("name", "meant"),
    [("group.csv", "groups.csv"), ("datasets.yaml", "dataset.yaml"), ("split.json", "splits.json")],
)
def test_names_nearly_right_are_named(tmp_path: Path, name: str, meant: str) -> None:
    write_lines(make_dataset(tmp_path) / name, ["x"])
    message = f"{tmp_path / name} is not read; is it meant to be called {meant}?"
    assert _said(tmp_path) == [("warning", message)]


def test_an_extension_that_an_editor_added_is_named(tmp_path: Path) -> None:
    write_lines(make_dataset(tmp_path) / "dataset.yaml.txt", ["ignore: 255"])
    assert "is it meant to be called dataset.yaml?" in _said(tmp_path)[0][1]


def test_a_table_behind_folders_is_named(tmp_path: Path) -> None:
    write_lines(make_dataset(tmp_path) / "cases.CSV", ["image,mask", "images/c1.png,masks/c1.png"])
    ((severity, message),) = _said(tmp_path)
    assert severity == "warning"
    assert (
        "cases.CSV has the columns image and mask and is not used, because of images/ and masks/" in message
    )


def test_columns_that_are_not_read_are_named(tmp_path: Path) -> None:
    make_dataset(tmp_path)
    rows = ["image,mask,Patient_ID,age", "images/c1.png,masks/c1.png,p,9", "images/c2.png,masks/c2.png,p,9"]
    table = write_lines(tmp_path / "cases.csv", rows)
    said = _said(table)
    assert said[0] == (
        "warning",
        f"{table}: not used: the columns patient_id, age; call patient_id 'group' if it names patients",
    )
    assert (
        "info",
        f"{tmp_path / 'images'} holds 4 images that belong to no case: c3.png; c4.png; c5.png; c6.png",
    ) in said
    write_lines(tmp_path / "groups.csv", ["case,group,age", "c1,a,3", "c2,b,4"])
    assert ("info", f"{tmp_path / 'groups.csv'}: not used: the column age") in _said(table)
    assert [case.group for case in open_dataset(table).cases] == ["a", "b"]


def test_groups_of_a_table_and_of_a_file_are_one_too_many(tmp_path: Path) -> None:
    make_dataset(tmp_path)
    table = write_lines(tmp_path / "cases.csv", ["image,mask,group", "images/c1.png,masks/c1.png,p"])
    write_lines(tmp_path / "groups.csv", ["case,group", "c1,a"])
    with pytest.raises(LayoutError, match=r"groups\.csv and the column group of the CSV both name groups"):
        open_dataset(table)


def test_groups_of_unknown_cases_are_named(tmp_path: Path) -> None:
    write_lines(make_dataset(tmp_path) / "groups.csv", [*GROUPS, "c7,p1", "c8,p2"])
    assert _said(tmp_path) == [
        ("info", f"{tmp_path / 'groups.csv'} names 2 cases that are not there: c7; c8")
    ]


@pytest.mark.parametrize("second", ["c1", "c1.png", "images/c1.png", "images\\c1.png"])
def test_a_case_in_two_groups_is_refused(tmp_path: Path, second: str) -> None:
    write_lines(make_dataset(tmp_path) / "groups.csv", [*GROUPS, f"{second},p9"])
    with pytest.raises(LayoutError, match=r"groups\.csv.*c1.*a case has one group") as caught:
        open_dataset(tmp_path)
    assert "p1" in str(caught.value)
    assert "p9" in str(caught.value)


def test_a_wrong_list_does_not_hide_the_layout(tmp_path: Path) -> None:
    write_lines(make_dataset(tmp_path) / "dataset.yaml", ["clases: {}"])
    write_lines(tmp_path / "splits/train.txt", ["c1", "c1"])
    report = check_dataset(tmp_path)
    assert report.lines()[0] == f"{tmp_path}: images/ and masks/, 6 cases in 6 groups"
    assert {finding.topic for finding in report.select("error")} == {"label", "split"}
    with pytest.raises(DataError, match="clases"):
        open_dataset(tmp_path)
    (tmp_path / "dataset.yaml").unlink()
    with pytest.raises(SplitError, match="lists c1 twice"):
        open_dataset(tmp_path)


def test_splits_that_stand_back_are_named(tmp_path: Path) -> None:
    make_dataset(tmp_path)
    for name, lists in {
        "splits.json": '{"train": ["c1"]}',
        "Splits_final.json": '[{"train": ["c1"], "val": []}]',
    }.items():
        write_lines(tmp_path / name, [lists])
    write_lines(tmp_path / "splits/train.txt", ["c1"])
    said = [
        f.message for f in check_dataset(tmp_path).findings if f.topic == "split" and f.severity == "info"
    ]
    assert said == [
        f"{tmp_path / 'splits.json'} goes before {tmp_path / 'Splits_final.json'}",
        f"{tmp_path / 'splits.json'} goes before the splits of the layout (folders, lists or a column)",
    ]


def test_what_is_a_problem_already_is_not_named_again(tmp_path: Path) -> None:
    make_dataset(tmp_path)
    (tmp_path / "masks/c2.gif").write_bytes(b"GIF89a")
    (tmp_path / "images/more").mkdir()
    report = check_dataset(tmp_path)
    assert len(report.select("error")) == 2
    assert _said(tmp_path) == []
