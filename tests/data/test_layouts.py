"""The layouts people have, paired by name."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest

from dinoseg.data import open_dataset, read_case
from dinoseg.errors import LayoutError, SplitError
from tests.data.samples import SIZE, blob, make_dataset, picture, save, write_lines


def _ids(root: Path) -> list[str]:
    return [case.id for case in open_dataset(root).cases]


def test_images_and_masks_are_paired_by_name_in_natural_order(tmp_path: Path) -> None:
    make_dataset(tmp_path, 11)
    dataset = open_dataset(tmp_path)
    assert [case.id for case in dataset.cases] == [f"c{number}" for number in range(1, 12)]
    assert all(case.label is not None and case.label.stem == case.image.stem for case in dataset.cases)
    assert {case.group for case in dataset.cases} == set(_ids(tmp_path))
    assert dataset.layout == "images/ and masks/"


def test_read_case_joins_image_and_mask(tmp_path: Path) -> None:
    dataset = open_dataset(make_dataset(tmp_path))
    case = read_case(dataset.cases[0], dataset.labels)
    assert case.id == "c1"
    assert case.image.size == case.label.size == SIZE
    assert case.label.array.sum() == 80
    assert case.spacing is None
    assert case.source == tmp_path / "images/c1.png"


@pytest.mark.parametrize("images", ["image", "images", "img", "Original", "IMAGES"])
@pytest.mark.parametrize("masks", ["mask", "masks", "label", "labels", "Ground truth"])
def test_split_folders(tmp_path: Path, images: str, masks: str) -> None:
    for split in ("train", "val", "test"):
        save(tmp_path / split / images / f"{split}_a.jpg", picture(1))
        save(tmp_path / split / masks / f"{split}_a.png", blob())
    dataset = open_dataset(tmp_path)
    assert [(case.id, case.split) for case in dataset.cases] == [
        ("train_a", "train"),
        ("val_a", "val"),
        ("test_a", "test"),
    ]


def test_names_that_repeat_across_splits_get_the_split_as_prefix(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for name in ("1", "2"):
            save(tmp_path / split / "images" / f"{name}.png", picture(1))
            save(tmp_path / split / "masks" / f"{name}.png", blob())
    assert _ids(tmp_path) == ["train_1", "train_2", "test_1", "test_2"]


def test_splits_inside_images_and_masks(tmp_path: Path) -> None:
    for split in ("train", "val"):
        save(tmp_path / "images" / split / f"{split}1.png", picture(1))
        save(tmp_path / "masks" / split / f"{split}1.png", blob())
    assert [(case.id, case.split) for case in open_dataset(tmp_path).cases] == [
        ("train1", "train"),
        ("val1", "val"),
    ]


@pytest.mark.parametrize("suffix", ["_mask", "_segmentation", "_label", "_gt", "-mask", "_MASK"])
@pytest.mark.parametrize("folders", [("", ""), ("images", "masks")])
def test_suffixes_in_one_folder_or_between_two(tmp_path: Path, suffix: str, folders: tuple[str, str]) -> None:
    for name in ("a", "b"):
        save(tmp_path / folders[0] / f"{name}.jpg", picture(1))
        save(tmp_path / folders[1] / f"{name}{suffix}.png", blob())
    assert _ids(tmp_path) == ["a", "b"]


def test_an_exact_name_wins_over_a_suffix(tmp_path: Path) -> None:
    for name in ("a", "a_mask"):
        save(tmp_path / "images" / f"{name}.png", picture(1))
        save(tmp_path / "masks" / f"{name}.png", blob())
    cases = open_dataset(tmp_path).cases
    assert [(case.image.name, case.label.name) for case in cases] == [("a.png",) * 2, ("a_mask.png",) * 2]


def test_order_of_the_training_list_is_kept(tmp_path: Path) -> None:
    make_dataset(tmp_path)
    write_lines(tmp_path / "splits/train.txt", ["c5", "c2", "c3.png"])
    write_lines(tmp_path / "splits/test.txt", ["images/c1.png"])
    cases = open_dataset(tmp_path).cases
    assert [(case.id, case.split) for case in cases] == [
        ("c5", "train"),
        ("c2", "train"),
        ("c3", "train"),
        ("c1", "test"),
        ("c4", None),
        ("c6", None),
    ]


def test_groups_are_read(tmp_path: Path) -> None:
    write_lines(
        make_dataset(tmp_path) / "groups.csv", ["case;group", *(f"c{n}.png;p{n // 4}" for n in range(1, 7))]
    )
    assert [case.group for case in open_dataset(tmp_path).cases] == ["p0"] * 3 + ["p1"] * 3


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_csv_with_groups_and_splits(tmp_path: Path, separator: str) -> None:
    make_dataset(tmp_path / "data")
    rows = [
        ["Image", "mask", "group", "split"],
        ["data/images/c2.png", "data/masks/c2.png", "p1", "train"],
        ["data\\images\\c1.png", "data/masks/c1.png", "", "Validation"],
    ]
    path = tmp_path / "cases.csv"
    path.write_text("\n".join(separator.join(row) for row in rows), encoding="utf-8-sig")
    for source in (path, tmp_path):
        dataset = open_dataset(source)
        assert dataset.root == tmp_path
        assert [(case.id, case.group, case.split) for case in dataset.cases] == [
            ("c2", "p1", "train"),
            ("c1", "c1", "val"),
        ]


def test_csv_paths_may_be_absolute_or_lead_out_of_the_folder(tmp_path: Path) -> None:
    make_dataset(tmp_path / "data")
    row = f"../data/images/c1.png,{tmp_path / 'data/masks/c1.png'}"
    path = write_lines(tmp_path / "lists" / "cases.csv", ["image,mask", row])
    assert _ids(path) == ["c1"]


def test_csv_with_repeated_names_uses_the_path(tmp_path: Path) -> None:
    for patient in ("p1", "p2"):
        make_dataset(tmp_path / patient, 1)
    rows = [f"{p}/images/c1.png,{p}/masks/c1.png" for p in ("p1", "p2")]
    assert _ids(write_lines(tmp_path / "cases.csv", ["image,mask", *rows])) == [
        "p1_images_c1",
        "p2_images_c1",
    ]


def test_two_tables_in_a_folder_are_ambiguous(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_lines(tmp_path / f"{name}.csv", ["image,mask", "x.png,y.png"])
    with pytest.raises(LayoutError, match="2 CSV files"):
        open_dataset(tmp_path)


def test_clutter_and_hidden_files_are_ignored(tmp_path: Path) -> None:
    make_dataset(tmp_path)
    for name in (
        "Thumbs.db",
        ".DS_Store",
        "._c1.png",
        ".hidden.png",
        "notes.txt",
        "labels.json",
        "desktop.ini",
    ):
        for folder in ("images", "masks"):
            (tmp_path / folder / name).write_bytes(b"x")
    (tmp_path / "images" / ".ipynb_checkpoints").mkdir()
    (tmp_path / "__MACOSX").mkdir()
    assert len(_ids(tmp_path)) == 6


def test_non_ascii_names_match_however_they_are_composed(tmp_path: Path) -> None:
    for name in ("Mädchen 1", "前立腺", "naïve-ø"):
        save(tmp_path / "images" / f"{unicodedata.normalize('NFD', name)}.png", picture(1))
        save(tmp_path / "masks" / f"{unicodedata.normalize('NFC', name)}.png", blob())
    assert sorted(_ids(tmp_path)) == sorted(["Mädchen 1", "前立腺", "naïve-ø"])


def test_upper_case_extensions_and_links_to_files(tmp_path: Path) -> None:
    make_dataset(tmp_path / "store", 2)
    (tmp_path / "images").mkdir()
    for number in (1, 2):
        (tmp_path / "images" / f"c{number}.PNG").symlink_to(tmp_path / f"store/images/c{number}.png")
    (tmp_path / "masks").symlink_to(tmp_path / "store/masks")
    assert _ids(tmp_path) == ["c1", "c2"]


def test_names_with_dots_stay_whole(tmp_path: Path) -> None:
    for name in ("a.1", "a.2"):
        save(tmp_path / "images" / f"{name}.png", picture(1))
        save(tmp_path / "masks" / f"{name}.png", blob())
    write_lines(tmp_path / "splits/train.txt", ["a.2", "a.1"])
    assert _ids(tmp_path) == ["a.2", "a.1"]


def test_without_scanning_masks_are_not_opened(tmp_path: Path) -> None:
    make_dataset(tmp_path)
    (tmp_path / "masks/c1.png").write_bytes(b"")
    dataset = open_dataset(tmp_path, scan_labels=False)
    assert dataset.labels.kind == "unknown"
    assert dataset.classes == {}


def test_find_keeps_the_order_and_names_unknown_ids(tmp_path: Path) -> None:
    dataset = open_dataset(make_dataset(tmp_path))
    assert [case.id for case in dataset.find(["c3", "c1"])] == ["c3", "c1"]
    with pytest.raises(SplitError, match="no case 'c9'"):
        dataset.find(["c9"])


def test_one_pixel_case(tmp_path: Path) -> None:
    save(tmp_path / "images/a.png", np.full((1, 1, 3), 128, np.uint8))
    save(tmp_path / "masks/a.png", np.full((1, 1), 255, np.uint8))
    dataset = open_dataset(tmp_path)
    assert read_case(dataset.cases[0], dataset.labels).label.array.tolist() == [[1]]
