"""Several masks of one image: called so, and joined where dataset.yaml says how."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dinoseg.data import open_dataset, read_case
from dinoseg.data.checks.dataset import check_dataset
from dinoseg.errors import LabelError, LayoutError
from dinoseg.training.features.items import list_items, read_digests
from tests.data.samples import SIZE, blob, picture, save, write_lines

SECOND = (14, 20)  # corner of a second blob, apart from the first


def _one_folder(root: Path) -> Path:
    """BUSI's layout: the second image has two masks."""
    for number in (1, 2):
        save(root / f"benign ({number}).png", picture(number))
        save(root / f"benign ({number})_mask.png", blob())
    save(root / "benign (2)_mask_1.png", blob(corner=SECOND))
    return root


def _by_class(root: Path) -> Path:
    """IDRiD's layout: a file for each class that an image shows; the endings are theirs."""
    for number in (1, 2):
        save(root / f"images/eye_{number}.jpg", picture(number))
        save(root / f"masks/eye_{number}_MA.png", blob())
    save(root / "masks/eye_2_EX.png", blob(value=1, corner=SECOND))
    return root


@pytest.mark.parametrize("suffix", ["_mask_1", "_mask1", "_mask (1)", "-mask-2", "_seg_1"])
def test_numbered_masks_are_several_of_one_image(tmp_path: Path, suffix: str) -> None:
    root = _one_folder(tmp_path)
    (root / "benign (2)_mask_1.png").rename(root / f"benign (2){suffix}.png")
    with pytest.raises(LayoutError, match=r"several masks for .*benign \(2\)\.png: .*merge: union") as caught:
        open_dataset(root)
    assert f"benign (2){suffix}.png" in str(caught.value)
    assert "no mask of this name" not in str(caught.value)
    assert check_dataset(root).cases == 1


def test_an_image_whose_name_looks_like_a_numbered_mask_stays_an_image(tmp_path: Path) -> None:
    save(tmp_path / "a_seg_1.png", picture(1))
    save(tmp_path / "a_seg_1_mask.png", blob())
    assert [case.id for case in open_dataset(tmp_path).cases] == ["a_seg_1"]


def test_union(tmp_path: Path) -> None:
    root = _one_folder(tmp_path)
    write_lines(root / "dataset.yaml", ["merge: union"])
    dataset = open_dataset(root)
    first, second = dataset.cases
    both = (blob() > 0) | (blob(corner=SECOND) > 0)
    np.testing.assert_array_equal(dataset.labels.read(second.label), both)
    np.testing.assert_array_equal(read_case(second, dataset.labels).label.array, both)
    np.testing.assert_array_equal(dataset.labels.read(first.label), blob() > 0)
    assert second.labels == (root / "benign (2)_mask.png", root / "benign (2)_mask_1.png")
    report = check_dataset(root)
    assert report.exit_code == 0
    assert report.classes[1].lesions == 3


def test_union_between_two_folders_takes_every_ending(tmp_path: Path) -> None:
    write_lines(_by_class(tmp_path) / "dataset.yaml", ["merge: union"])
    dataset = open_dataset(tmp_path)
    np.testing.assert_array_equal(
        dataset.labels.read(dataset.cases[1].label), (blob() > 0) | (blob(corner=SECOND) > 0)
    )


def test_endings_are_classes(tmp_path: Path) -> None:
    lines = ["classes: {0: background, 1: microaneurysm, 2: exudate}", "merge: {_MA: 1, _ex: 2}"]
    write_lines(_by_class(tmp_path) / "dataset.yaml", lines)
    dataset = open_dataset(tmp_path)
    assert dataset.classes[2] == "exudate"
    assert dataset.labels.class_count == 3
    wanted = (blob() > 0) * 1 + (blob(corner=SECOND) > 0) * 2
    np.testing.assert_array_equal(dataset.labels.read(dataset.cases[1].label), wanted)
    np.testing.assert_array_equal(dataset.labels.read(dataset.cases[0].label), blob() > 0)
    assert [check_dataset(tmp_path).classes[id_].cases for id_ in (1, 2)] == [2, 1]


def test_a_class_alone_in_its_file_keeps_its_id(tmp_path: Path) -> None:
    _by_class(tmp_path)
    (tmp_path / "masks/eye_2_MA.png").unlink()
    write_lines(tmp_path / "dataset.yaml", ["merge: {_MA: 1, _EX: 2}"])
    dataset = open_dataset(tmp_path)
    assert set(np.unique(dataset.labels.read(dataset.cases[1].label))) == {0, 2}


def test_the_later_ending_lies_on_top(tmp_path: Path) -> None:
    _by_class(tmp_path)
    save(tmp_path / "masks/eye_2_EX.png", blob(value=1))
    for order, top in (("{_MA: 1, _EX: 2}", 2), ("{_EX: 2, _MA: 1}", 1)):
        write_lines(tmp_path / "dataset.yaml", [f"merge: {order}"])
        dataset = open_dataset(tmp_path)
        assert dataset.labels.read(dataset.cases[1].label).max() == top


def test_without_merge_endings_are_named(tmp_path: Path) -> None:
    with pytest.raises(LayoutError) as caught:
        open_dataset(_by_class(tmp_path))
    message = str(caught.value)
    assert "eye_1.jpg: no mask of this name, but eye_1_MA.png" in message
    assert "`merge: {_MA: 1}`" in message
    assert "several masks for" in message


def test_what_cannot_be_joined_is_refused(tmp_path: Path) -> None:
    root = _one_folder(tmp_path)
    write_lines(root / "dataset.yaml", ["merge: union"])
    save(root / "benign (2)_mask_1.png", np.zeros((9, 9), np.uint8))
    dataset = open_dataset(root)
    with pytest.raises(LabelError, match=r"mask_1\.png and .*masks of one image, have 24×32 and 9×9 pixels"):
        dataset.labels.read(dataset.cases[1].label)
    save(root / "benign (1)_mask.png", np.where(blob() > 0, 2, 1).astype(np.uint8))
    save(root / "benign (2)_mask.png", blob(value=1))
    save(root / "benign (2)_mask_1.png", blob(value=2))
    dataset = open_dataset(root)
    with pytest.raises(LabelError, match="give 80 pixels different classes"):
        dataset.labels.read(dataset.cases[1].label)


@pytest.mark.parametrize("given", ["sum", "{}", "{_MA: 0}", "{_MA: x}", "3", "{_MA: 300}"])
def test_wrong_merge(tmp_path: Path, given: str) -> None:
    write_lines(_by_class(tmp_path) / "dataset.yaml", [f"merge: {given}"])
    with pytest.raises(LabelError, match=r"merge"):
        open_dataset(tmp_path)


def test_several_values_in_a_mask_of_one_class_are_refused(tmp_path: Path) -> None:
    _by_class(tmp_path)
    mask = blob(value=1)
    mask[0] = 2
    save(tmp_path / "masks/eye_2_EX.png", mask)
    write_lines(tmp_path / "dataset.yaml", ["merge: {_MA: 1, _EX: 2}"])
    with pytest.raises(LabelError, match="gives every mask one class"):
        open_dataset(tmp_path)


def test_every_part_counts_in_the_names_of_remembered_labels(tmp_path: Path) -> None:
    from dinoseg.config import PreprocessingSettings

    root = _one_folder(tmp_path)
    write_lines(root / "dataset.yaml", ["merge: union"])

    def names() -> list[str]:
        dataset = open_dataset(root)
        digests = read_digests(dataset.cases)
        assert root / "benign (2)_mask_1.png" in digests
        return list(list_items(dataset.cases, dataset.labels, PreprocessingSettings(), digests).labels)

    before = names()
    save(root / "benign (2)_mask_1.png", blob(SIZE, corner=(1, 1)))
    after = names()
    assert before[0] == after[0]
    assert before[1] != after[1]
