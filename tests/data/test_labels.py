"""What mask values are taken to mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dinoseg.data import LabelMapping, open_dataset, read_case
from dinoseg.data.images import read_label
from dinoseg.data.labels.inference import infer_mapping, scan_labels
from dinoseg.data.labels.mapping import name_classes
from dinoseg.data.splits.shots import require_foreground
from dinoseg.errors import LabelError
from tests.data.samples import SIZE, blob, make_dataset, save, write_lines


def _masks(folder: Path, *masks: np.ndarray) -> list[Path]:
    return [save(folder / f"m{number}.png", mask) for number, mask in enumerate(masks)]


def _values(folder: Path, *values: int) -> list[Path]:
    """One mask for each value: background and a blob of it."""
    return _masks(folder, *(blob(value=value) for value in values))


def _row(*values: int) -> np.ndarray:
    return np.array([values], np.uint8)


@pytest.mark.parametrize("values", [(255,), (1,), (1, 255), (0, 255), (0, 0)])
def test_two_values_are_binary_even_mixed_across_files(tmp_path: Path, values: tuple[int, ...]) -> None:
    paths = _values(tmp_path, *values)
    mapping = infer_mapping(scan_labels(paths))
    assert mapping.kind == "binary"
    assert mapping.class_count == 2
    for path, value in zip(paths, values, strict=True):
        np.testing.assert_array_equal(mapping.apply(read_label(path)).array, blob(value=int(value > 0)))


def test_a_mask_of_only_255_is_all_foreground(tmp_path: Path) -> None:
    paths = _masks(tmp_path, np.full(SIZE, 255, np.uint8), blob(value=1))
    mapping = infer_mapping(scan_labels(paths))
    assert mapping.apply(read_label(paths[0])).array.all()


def test_65535_is_binary_too(tmp_path: Path) -> None:
    paths = _masks(tmp_path, blob().astype(np.uint16) * 257)
    mapping = infer_mapping(scan_labels(paths))
    assert mapping.kind == "binary"
    assert mapping.apply(read_label(paths[0])).array.max() == 1


def test_1_and_255_in_one_file_are_two_classes(tmp_path: Path) -> None:
    mapping = infer_mapping(scan_labels(_masks(tmp_path, _row(0, 1, 255))))
    assert mapping.kind == "sorted"
    assert dict(mapping.table) == {0: 0, 1: 1, 255: 2}
    assert "255 -> 2" in mapping.note


def test_contiguous_values_are_class_ids(tmp_path: Path) -> None:
    paths = _masks(tmp_path, _row(0, 1, 2), _row(0, 3))
    mapping = infer_mapping(scan_labels(paths))
    assert mapping.kind == "ids"
    assert mapping.note == ""
    np.testing.assert_array_equal(mapping.apply(_row(3, 1, 2, 0)).array, _row(3, 1, 2, 0))


def test_contiguous_values_without_background_stay_ids(tmp_path: Path) -> None:
    mapping = infer_mapping(scan_labels(_masks(tmp_path, _row(1, 2, 3))))
    np.testing.assert_array_equal(mapping.apply(_row(1, 2, 3)).array, _row(1, 2, 3))
    assert mapping.class_count == 4


def test_other_values_are_sorted(tmp_path: Path) -> None:
    mapping = infer_mapping(scan_labels(_masks(tmp_path, _row(0, 50), _row(200, 100))))
    assert mapping.kind == "sorted"
    np.testing.assert_array_equal(mapping.apply(_row(0, 50, 100, 200)).array, _row(0, 1, 2, 3))


def test_background_is_reserved_where_no_mask_holds_it(tmp_path: Path) -> None:
    mapping = infer_mapping(scan_labels(_masks(tmp_path, _row(50, 100))))
    np.testing.assert_array_equal(mapping.apply(_row(50, 100)).array, _row(1, 2))


@pytest.mark.parametrize(("count", "accepted"), [(16, True), (17, False)])
def test_sixteen_other_values_are_the_limit(tmp_path: Path, count: int, accepted: bool) -> None:
    histogram = scan_labels(_masks(tmp_path, _row(*range(0, 10 * count, 10))))
    if accepted:
        assert infer_mapping(histogram).class_count == 16
    else:
        with pytest.raises(LabelError, match="17 values"):
            infer_mapping(histogram)


def test_a_smooth_grey_picture_is_no_mask_of_256_classes(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match=r"256 values \(0, 1, 2, 3, 4, …, 255\)"):
        infer_mapping(scan_labels(_masks(tmp_path, _row(*range(256)))))


def test_grey_stored_as_rgb_is_grey(tmp_path: Path) -> None:
    paths = _masks(tmp_path, np.repeat(blob()[..., None], 3, axis=2), blob(value=1))
    mapping = infer_mapping(scan_labels(paths))
    assert mapping.kind == "binary"
    np.testing.assert_array_equal(mapping.apply(read_label(paths[0])).array, blob(value=1))


def test_colours_become_ids_in_sorted_order(tmp_path: Path) -> None:
    colours = np.array([[[0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    paths = _masks(tmp_path, colours, np.zeros((1, 4), np.uint8))  # one empty grey mask among them
    mapping = infer_mapping(scan_labels(paths))
    assert mapping.kind == "colours"
    np.testing.assert_array_equal(mapping.apply(read_label(paths[0])).array, _row(0, 3, 2, 1))
    np.testing.assert_array_equal(mapping.apply(read_label(paths[1])).array, _row(0, 0, 0, 0))
    assert "#0000ff -> 1, #00ff00 -> 2, #ff0000 -> 3" in mapping.note


def test_jpeg_masks_are_cut_in_half_with_a_note(tmp_path: Path) -> None:
    path = save(tmp_path / "m.jpg", blob((64, 64)), quality=80)
    histogram = scan_labels([path])
    assert len(histogram.pixels) > 2
    mapping = infer_mapping(histogram)
    assert mapping.threshold == 128
    assert "m.jpg" in mapping.note
    np.testing.assert_array_equal(mapping.apply(read_label(path)).array, blob((64, 64), value=1))


def test_jpeg_masks_beside_0_1_masks_are_refused(tmp_path: Path) -> None:
    paths = [save(tmp_path / "m.jpg", blob((64, 64))), save(tmp_path / "n.png", blob((64, 64), value=1))]
    with pytest.raises(LabelError, match="save all masks as PNG"):
        infer_mapping(scan_labels(paths))


def test_declared_classes_keep_ids_although_one_is_absent(tmp_path: Path) -> None:
    make_dataset(tmp_path, value=3)
    write_lines(tmp_path / "dataset.yaml", ["classes: {0: background, 1: a, 2: b, 3: c}"])
    dataset = open_dataset(tmp_path)
    assert dataset.labels.kind == "ids"
    assert read_case(dataset.cases[0], dataset.labels).label.array.max() == 3
    assert dataset.classes == {0: "background", 1: "a", 2: "b", 3: "c"}


@pytest.mark.parametrize(
    "line", ["values: {0: 0, 255: 1}", "threshold: 200", 'values: {"#000000": 0, "#ffffff": 1}']
)
def test_declared_mapping_is_used(tmp_path: Path, line: str) -> None:
    make_dataset(tmp_path)
    write_lines(tmp_path / "dataset.yaml", ["classes: {0: background, 1: polyp}", line])
    dataset = open_dataset(tmp_path)
    assert dataset.labels.kind == "declared"
    assert dataset.classes[1] == "polyp"
    np.testing.assert_array_equal(read_case(dataset.cases[0], dataset.labels).label.array, blob(value=1))


def test_given_mapping_wins_and_is_checked(tmp_path: Path) -> None:
    make_dataset(tmp_path)
    known = LabelMapping({0: 0, 255: 2}, "ids")
    dataset = open_dataset(tmp_path, labels=known)
    assert read_case(dataset.cases[0], dataset.labels).label.array.max() == 2
    with pytest.raises(LabelError, match=r"c1\.png holds the value 255"):
        open_dataset(tmp_path, labels=LabelMapping({0: 0, 1: 1}, "ids"))


def test_default_names() -> None:
    assert name_classes(2) == {0: "background", 1: "foreground"}
    assert name_classes(3) == {0: "background", 1: "class_1", 2: "class_2"}


def test_one_foreground_pixel_is_enough(tmp_path: Path) -> None:
    make_dataset(tmp_path, 3, value=0)
    save(tmp_path / "masks/c3.png", blob())
    dataset = open_dataset(tmp_path)
    assert dataset.empty == {"c1", "c2"}
    require_foreground(dataset.cases, dataset.labels)
    with pytest.raises(LabelError, match="all 2 training masks are empty"):
        require_foreground(dataset.cases[:2], dataset.labels)


def test_histogram_counts_pixels(tmp_path: Path) -> None:
    paths = _values(tmp_path, 255, 7)
    histogram = scan_labels(paths)
    assert histogram.pixels == {0: 2 * SIZE[0] * SIZE[1] - 160, 7: 80, 255: 80}
    assert [mask.path for mask in histogram.masks] == paths
