from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from dinoseg.data.case import Image
from dinoseg.data.images import read_label
from dinoseg.errors import OutputError, UsageError
from dinoseg.inference import Prediction
from dinoseg.inference.pictures.overlays import (
    _near_other_class,
    contour_width,
    draw_legend,
    draw_overlay,
    palette,
)


def _prediction(size: tuple[int, int] = (60, 80), classes: int = 3) -> Prediction:
    mask = np.zeros(size, dtype=np.uint8)
    mask[10:30, 10:40] = 1
    mask[40:50, 50:70] = classes - 1
    scores = np.eye(classes, dtype=np.float32)[mask].transpose(2, 0, 1)
    names = {index: f"class {index}" for index in range(classes)}
    return Prediction("frame", mask, scores, names)


def _grey(size: tuple[int, int] = (60, 80), value: float = 0.5) -> Image:
    return Image(np.full((1, *size), value, dtype=np.float32))


@pytest.mark.parametrize("classes", [2, 3, 9, 200])
def test_saved_mask_holds_class_ids_in_visible_colours(tmp_path: Path, classes: int) -> None:
    prediction = _prediction(classes=classes)
    path = tmp_path / "new" / "mask.png"
    prediction.save(path)
    picture = PillowImage.open(path)
    assert picture.mode == "P"
    assert (np.asarray(picture) == prediction.mask).all()
    assert (read_label(path) == prediction.mask).all()
    seen = np.asarray(picture.convert("RGB"))
    assert seen[0, 0].tolist() == [0, 0, 0]
    assert seen[15, 15].tolist() == palette(classes)[1].tolist()
    assert seen[45, 60].tolist() == palette(classes)[classes - 1].tolist()
    assert [item.name for item in path.parent.iterdir()] == ["mask.png"]


def test_probabilities_are_saved_with_names(tmp_path: Path) -> None:
    prediction = _prediction()
    prediction.save_probabilities(tmp_path / "p.npz")
    with np.load(tmp_path / "p.npz", allow_pickle=False) as saved:
        assert saved["probabilities"].dtype == np.float16
        assert (saved["probabilities"] == prediction.probabilities).all()
        assert saved["classes"].tolist() == ["class 0", "class 1", "class 2"]


def test_nothing_is_overwritten_unless_asked(tmp_path: Path) -> None:
    prediction, path = _prediction(), tmp_path / "a.png"
    prediction.save(path)
    before = path.read_bytes()
    for write in (prediction.save, lambda place: prediction.save_overlay(place, _grey())):
        with pytest.raises(OutputError, match=r"a\.png exists already"):
            write(path)
    assert path.read_bytes() == before
    prediction.save_overlay(path, _grey(), overwrite=True)
    assert path.read_bytes() != before


def test_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", fail)
    prediction = _prediction()
    for write in (prediction.save, lambda path: prediction.save_overlay(path, _grey())):
        with pytest.raises(OutputError, match="the disk is full"):
            write(tmp_path / "a.png")
    with pytest.raises(OutputError, match="the disk is full"):
        prediction.save_probabilities(tmp_path / "a.npz")
    assert list(tmp_path.iterdir()) == []


def test_wrong_names_and_missing_probabilities(tmp_path: Path) -> None:
    prediction = _prediction()
    with pytest.raises(UsageError, match=r"must end in \.png"):
        prediction.save(tmp_path / "a.jpg")
    with pytest.raises(UsageError, match=r"must end in \.npz"):
        prediction.save_probabilities(tmp_path / "a.npy")
    bare = Prediction("x", prediction.mask, None, prediction.classes)
    with pytest.raises(UsageError, match="predict with probabilities=True"):
        bare.save_probabilities(tmp_path / "a.npz")


def test_overlay_fills_draws_and_leaves_the_rest() -> None:
    prediction = _prediction()
    picture = prediction.overlay(_grey())
    colour = palette(3)[1]
    assert picture.shape == (60, 80, 3)
    assert picture.dtype == np.uint8
    assert picture[10, 20].tolist() == colour.tolist()  # contour
    assert picture[20, 20] == pytest.approx(0.75 * 127.5 + 0.25 * colour, abs=1)  # fill
    assert picture[9, 20] == pytest.approx([45, 45, 45], abs=1)  # dark rim outside
    assert (picture[:8] == 128).all()


@pytest.mark.parametrize("side", [30, 300, 900])
def test_only_what_is_near_a_class_is_touched_and_as_by_the_whole_picture(side: int) -> None:
    """Drawing within a box around the classes gives the picture that drawing everywhere gives."""
    rng = np.random.default_rng(side)
    image = Image(rng.random((3, side, side), dtype=np.float32))
    mask = np.zeros((side, side), dtype=np.uint8)
    mask[side // 3 : side // 2, : side // 4] = 1
    mask[side // 2 - 2, side // 5 : side // 2] = 2
    picture = 255 * image.array.transpose(1, 2, 0)
    colours = palette(3).astype(np.float32)
    width = contour_width((side, side))
    inside = mask > 0
    picture[inside] = 0.75 * picture[inside] + 0.25 * colours[mask[inside]]
    contour = inside & _near_other_class(mask, width)
    picture[contour] = colours[mask[contour]]
    picture[~inside & _near_other_class(mask, max(1, width // 2))] *= 0.35
    assert np.abs(draw_overlay(image, mask) - picture).max() <= 1


def test_pictures_are_jpeg_or_png(tmp_path: Path) -> None:
    prediction = _prediction()
    for name in ("a.png", "a.jpg"):
        prediction.save_overlay(tmp_path / name, _grey())
        with PillowImage.open(tmp_path / name) as picture:
            written = np.asarray(picture).astype(int)
        assert np.abs(written - prediction.overlay(_grey())).mean() < (0.5 if name == "a.png" else 3)
    with pytest.raises(UsageError, match=r"must end in \.png"):
        prediction.save_overlay(tmp_path / "a.bmp", _grey())


def test_no_contour_along_the_border_of_the_image() -> None:
    mask = np.ones((20, 20), dtype=np.uint8)
    picture = Prediction("x", mask, None, {0: "background", 1: "a"}).overlay(_grey((20, 20), 0))
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) == 1


def test_empty_mask_leaves_the_picture_as_it_is() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
    empty = Prediction("x", np.zeros((30, 40), np.uint8), None, {0: "background", 1: "a"})
    assert (empty.overlay(pixels, legend=True) == pixels).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (3, 2), (700, 3)])
def test_overlay_of_any_size(size: tuple[int, int]) -> None:
    mask = np.arange(size[0] * size[1]).reshape(size).astype(np.uint8) % 3
    found = Prediction("x", mask, None, {0: "background", 1: "a", 2: "b"})
    assert found.overlay(_grey(size), legend=True).shape == (*size, 3)


def test_overlay_refuses_another_size() -> None:
    with pytest.raises(UsageError, match="mask is 60x80 and the image 80x60"):
        _prediction().overlay(_grey((80, 60)))


def test_contour_grows_with_the_image() -> None:
    mask = np.zeros((1000, 1000), dtype=np.uint8)
    mask[300:700, 300:700] = 1
    picture = draw_overlay(_grey((1000, 1000), 0), mask)
    column = (picture[:, 500] == palette(2)[1]).all(axis=1)
    assert contour_width((1000, 1000)) == 4
    assert np.flatnonzero(column).tolist() == [300, 301, 302, 303, 696, 697, 698, 699]


def test_legend_goes_where_it_hides_least() -> None:
    mask = np.zeros((300, 400), dtype=np.uint8)
    mask[:, :200] = 1
    mask[150:, 200:] = 2
    picture = np.full((300, 400, 3), 200, dtype=np.uint8)
    drawn = draw_legend(picture, mask, {0: "background", 1: "lesion", 2: "tool"})
    rows, columns = np.nonzero((drawn != picture).any(axis=2))
    assert rows.min() == 0
    assert rows.max() < 150
    assert columns.min() > 200
    assert columns.max() == 399
    shown = drawn.reshape(-1, 3).tolist()
    assert palette(3)[1].tolist() in shown
    assert palette(3)[2].tolist() in shown


def test_legend_is_left_out_where_there_is_no_room() -> None:
    prediction = _prediction((20, 20))
    assert (prediction.overlay(_grey((20, 20)), legend=True) == prediction.overlay(_grey((20, 20)))).all()


def test_colours_differ_and_stay_the_same_when_classes_are_added() -> None:
    colours = palette(60)
    assert len({tuple(colour) for colour in colours.tolist()}) == 60
    assert (palette(5) == colours[:5]).all()


@pytest.mark.parametrize(
    "blindness",
    [
        # Linear RGB as seen without red or green cones. Source: Vienot, Brettel & Mollon (1999).
        [[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]],
        [[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]],
    ],
    ids=["protanopia", "deuteranopia"],
)
def test_first_colours_stay_apart_for_the_colour_blind(blindness: list[list[float]]) -> None:
    linear = (palette(8) / 255.0) ** 2.2
    seen = (linear @ np.array(blindness).T).clip(0, 1) ** (1 / 2.2) * 255
    for one in range(8):
        for other in range(one):
            assert np.linalg.norm(seen[one] - seen[other]) > 25, (one, other)
