"""Exact and near duplicates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import dinoseg.data.splits.duplicates as duplicates
from dinoseg.data.cases.files import CaseFiles
from dinoseg.data.phantoms.phantoms import draw_phantom
from dinoseg.data.splits.duplicates import NEAR_BITS, Fingerprint, find_exact, find_near, read_fingerprints
from tests.data.samples import picture, save


def _prints(*paths: Path) -> tuple[Fingerprint, ...]:
    return read_fingerprints([CaseFiles(path.name, path, None, path.name, None) for path in paths])


def _apart(prints: tuple[Fingerprint, ...]) -> dict[str, str]:
    return {print_.id: print_.id for print_ in prints}


def _scene(seed: int) -> np.ndarray:
    case = draw_phantom("endoscopy", size=(96, 128), seed=seed)
    return (case.image.array * 255).astype(np.uint8).transpose(1, 2, 0)


def test_same_pixels_in_other_formats_are_exact(tmp_path: Path) -> None:
    prints = _prints(*(save(tmp_path / f"x.{suffix}", picture(1)) for suffix in ("png", "bmp", "tif")))
    assert {(pair.first, pair.second) for pair in find_exact(prints, _apart(prints))} == {
        ("x.png", "x.bmp"),
        ("x.png", "x.tif"),
        ("x.bmp", "x.tif"),
    }


def test_a_decoded_jpeg_saved_as_png_is_exact(tmp_path: Path) -> None:
    from PIL import Image as PillowImage

    save(tmp_path / "x.jpg", _scene(1))
    with PillowImage.open(tmp_path / "x.jpg") as image:
        image.save(tmp_path / "y.png")
    prints = _prints(tmp_path / "x.jpg", tmp_path / "y.png")
    assert len(find_exact(prints, _apart(prints))) == 1


def test_grey_equals_its_rgb_and_16_bit_copy(tmp_path: Path) -> None:
    grey = picture(1, channels=1)
    save(tmp_path / "a.png", grey)
    save(tmp_path / "b.png", np.repeat(grey[..., None], 3, axis=2))
    save(tmp_path / "c.png", grey.astype(np.uint16) * 257)
    prints = _prints(*sorted(tmp_path.iterdir()))
    assert len(find_exact(prints, _apart(prints))) == 3


def test_one_changed_pixel_is_not_exact_but_near(tmp_path: Path) -> None:
    first = _scene(1)
    second = first.copy()
    second[40, 40] ^= 255
    prints = _prints(save(tmp_path / "a.png", first), save(tmp_path / "b.png", second))
    assert find_exact(prints, _apart(prints)) == ()
    assert [(pair.first, pair.second) for pair in find_near(prints, _apart(prints))] == [("a.png", "b.png")]


def test_resized_brightened_and_compressed_copies_are_near_and_others_are_not(tmp_path: Path) -> None:
    from PIL import Image as PillowImage

    scenes = [_scene(seed) for seed in range(8)]
    paths = [save(tmp_path / f"s{number}.png", scene) for number, scene in enumerate(scenes)]
    paths.append(save(tmp_path / "jpeg.jpg", scenes[0], quality=60))
    PillowImage.fromarray(scenes[1]).resize((200, 150)).save(tmp_path / "large.png")
    paths.append(tmp_path / "large.png")
    paths.append(save(tmp_path / "bright.png", np.minimum(scenes[2] * 1.2, 255).astype(np.uint8)))
    prints = _prints(*paths)
    found = {(pair.first, pair.second) for pair in find_near(prints, _apart(prints))}
    assert found == {("s0.png", "jpeg.jpg"), ("s1.png", "large.png"), ("s2.png", "bright.png")}


def test_pairs_within_one_part_are_left_out(tmp_path: Path) -> None:
    prints = _prints(save(tmp_path / "a.png", picture(1)), save(tmp_path / "b.png", picture(1)))
    assert find_exact(prints, {"a.png": "train", "b.png": "train"}) == ()
    assert find_near(prints, {"a.png": "train", "b.png": "train"}) == ()
    assert len(find_exact(prints, {"a.png": "train", "b.png": "test"})) == 1


def test_flat_images_are_compared_by_pixels_only(tmp_path: Path) -> None:
    paths = [
        save(tmp_path / f"{n}.png", np.full((40, 40), value, np.uint8)) for n, value in enumerate((0, 0, 9))
    ]
    prints = _prints(*paths)
    assert find_near(prints, _apart(prints)) == ()
    assert [(pair.first, pair.second) for pair in find_exact(prints, _apart(prints))] == [("0.png", "1.png")]


def test_ten_thousand_images_are_compared_in_seconds() -> None:
    generator = np.random.default_rng(0)
    count = 10_000
    bits = generator.random((count, 255)) > 0.5
    bits[7000] = bits[42]
    bits[7000, :NEAR_BITS] ^= True
    coarse = (generator.random((count, 64)) * 255).astype(np.float32)
    prints = [
        Fingerprint(str(n), Path(f"{n}.png"), (8, 8), str(n), coarse[n], bits[n], False) for n in range(count)
    ]
    parts = {str(n): ("train", "test")[n >= 5000] for n in range(count)}
    assert [(pair.first, pair.second, pair.bits) for pair in find_near(prints, parts)] == [
        ("42", "7000", NEAR_BITS)
    ]
    assert find_exact(prints, parts) == ()


def test_nothing_to_compare() -> None:
    assert find_near([], {}) == ()
    assert find_exact([], {}) == ()


@pytest.mark.parametrize("turned", [3, 6])
def test_orientation_is_respected(tmp_path: Path, turned: int) -> None:
    from PIL import Image as PillowImage

    exif = PillowImage.Exif()
    exif[274] = turned
    scene = _scene(3)
    upright = np.rot90(scene, -1) if turned == 6 else scene[::-1, ::-1]
    stored = save(tmp_path / "a.jpg", scene, exif=exif, quality=95)
    prints = _prints(stored, save(tmp_path / "b.jpg", np.ascontiguousarray(upright), quality=95))
    assert prints[0].size == prints[1].size
    assert len(find_near(prints, _apart(prints))) == 1


def test_blocks_do_not_change_what_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    prints = []
    for number in range(40):
        bits = np.arange(255) % 3 == 0
        bits[: number * 2] ^= True  # neighbours differ by two bits
        path = Path(f"c{number}.png")
        prints.append(Fingerprint(path.stem, path, (8, 8), path.stem, np.zeros(64, np.float32), bits, False))
    parts = {print_.id: print_.id for print_ in prints}
    whole = find_near(prints, parts, limit=6)
    assert len(whole) == 39 + 38 + 37
    monkeypatch.setattr(duplicates, "_BLOCK_PAIRS", 100)  # two rows at a time
    assert set(find_near(prints, parts, limit=6)) == set(whole)
