"""Images with an EXIF orientation whose masks have none: said, and turned where only one way fits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dinoseg.data import open_dataset, read_case
from dinoseg.data.checks.dataset import check_dataset
from dinoseg.errors import LabelError
from tests.data.odd_files import save_turned
from tests.data.samples import SIZE, blob, picture, save
from tests.data.test_images import ORIENTATIONS
from tests.data.test_unused_files import Notes


def _said(root: Path) -> list[tuple[str, str]]:
    return [(f.severity, f.message) for f in check_dataset(root).findings if f.topic == "orientation"]


def _scene() -> np.ndarray:
    """A picture that is bright exactly where `blob()` is."""
    return np.repeat((picture(1, channels=1) // 4 + blob() // 2)[..., None], 3, axis=2)


@pytest.mark.parametrize("turned", [5, 6, 7, 8])
def test_a_mask_that_fits_only_as_stored_is_turned_with_its_image(tmp_path: Path, turned: int) -> None:
    save_turned(tmp_path / "images/a.png", _scene(), turned)
    save(tmp_path / "masks/a.png", blob())
    dataset = open_dataset(tmp_path)
    case = read_case(dataset.cases[0], dataset.labels)
    assert case.image.size == SIZE[::-1]
    np.testing.assert_array_equal(case.label.array, ORIENTATIONS[turned](blob()) > 0)
    shown = case.image.array[0]
    inside = case.label.array > 0
    assert shown[inside].min() > shown[~inside].max()
    ((severity, message),) = _said(tmp_path)
    assert severity == "warning"
    assert "but for 1 that fit only the stored pixels and are turned" in message


@pytest.mark.parametrize("turned", [2, 3, 4])
def test_where_both_ways_fit_masks_are_upright_and_it_is_said(tmp_path: Path, turned: int) -> None:
    for name in ("a", "b"):
        save_turned(tmp_path / f"images/{name}.jpg", _scene(), turned)
        save(tmp_path / f"masks/{name}.png", blob())
    save(tmp_path / "images/c.jpg", picture(3))
    save(tmp_path / "masks/c.png", blob())
    dataset = open_dataset(tmp_path)
    np.testing.assert_array_equal(read_case(dataset.cases[0], dataset.labels).label.array, blob() > 0)
    ((severity, message),) = _said(tmp_path)
    assert severity == "warning"
    assert message.startswith(
        "2 images carry an EXIF orientation and their masks none: masks are taken as drawn"
    )
    assert message.endswith(": a; b")
    notes = Notes()
    open_dataset(tmp_path, progress=notes)
    assert notes.lines == [message]


def test_masks_with_the_orientation_of_their_images_are_nothing_to_tell(tmp_path: Path) -> None:
    save_turned(tmp_path / "images/a.png", _scene(), 6)
    save_turned(tmp_path / "masks/a.png", blob(), 6)
    dataset = open_dataset(tmp_path)
    case = read_case(dataset.cases[0], dataset.labels)
    np.testing.assert_array_equal(case.label.array, ORIENTATIONS[6](blob()) > 0)
    assert _said(tmp_path) == []


def test_a_mask_of_swapped_size_without_orientation_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "images/a.png", _scene())
    save(tmp_path / "masks/a.png", blob(SIZE[::-1]))
    dataset = open_dataset(tmp_path)
    with pytest.raises(LabelError, match="has 32×24 pixels"):
        read_case(dataset.cases[0], dataset.labels)


@pytest.mark.parametrize("turned", [2, 3, 4, 6])
def test_masks_that_are_said_to_be_stored_are_turned_with_their_images(tmp_path: Path, turned: int) -> None:
    save_turned(tmp_path / "images/a.png", _scene(), turned)
    save(tmp_path / "masks/a.png", blob())
    (tmp_path / "dataset.yaml").write_text("masks: stored\n")
    dataset = open_dataset(tmp_path)
    case = read_case(dataset.cases[0], dataset.labels)
    np.testing.assert_array_equal(case.label.array, ORIENTATIONS[turned](blob()) > 0)
    assert _said(tmp_path) == []
    (tmp_path / "dataset.yaml").write_text("masks: turned\n")
    with pytest.raises(LabelError, match="masks must be upright or stored"):
        open_dataset(tmp_path)
