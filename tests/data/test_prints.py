"""What a case is known again by: under another name, turned, encoded anew; and that nothing more is kept."""

from __future__ import annotations

import io
import itertools
import json

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dinoseg.data.cases.prints import CasePrint, TrainingCases, digest_content, print_case


@pytest.fixture(scope="module")
def pictures() -> list[NDArray[np.float32]]:
    return [_draw(seed) for seed in range(12)]


def _draw(seed: int) -> NDArray[np.float32]:
    """Soft blobs, as photographs have them, and some noise."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (12, 12, 3), dtype=np.uint8))
    soft = np.asarray(coarse.resize((384, 320), Image.Resampling.BICUBIC), dtype=np.float32)
    levels = np.clip(soft + generator.normal(0, 4, soft.shape), 0, 255).round()
    return (levels.transpose(2, 0, 1) / 255).astype(np.float32)


@pytest.fixture(scope="module")
def known(pictures: list[NDArray[np.float32]]) -> TrainingCases:
    return TrainingCases.of(print_case(picture) for picture in pictures[:6])


def encode(picture: NDArray[np.float32], *, quality: int = 75, scale: float = 1.0) -> NDArray[np.float32]:
    image = Image.fromarray((picture.transpose(1, 2, 0) * 255).round().astype(np.uint8))
    size = (round(image.width * scale), round(image.height * scale))
    buffer = io.BytesIO()
    image.resize(size, Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer), dtype=np.float32).transpose(2, 0, 1) / 255


@pytest.mark.parametrize(("quarters", "mirrored"), [*itertools.product(range(4), (False, True))])
def test_the_same_pixels_are_known_in_all_orientations(
    pictures: list[NDArray[np.float32]], known: TrainingCases, quarters: int, mirrored: bool
) -> None:
    for place, picture in enumerate(pictures):
        turned = np.rot90(picture[:, :, ::-1] if mirrored else picture, quarters, axes=(1, 2))
        assert known.find(turned) == ("same" if place < 6 else None)


def test_encoded_anew_it_looks_the_same(pictures: list[NDArray[np.float32]], known: TrainingCases) -> None:
    for place, picture in enumerate(pictures):
        copies = [
            encode(picture),
            encode(picture, scale=0.5),
            encode(np.rot90(picture, axes=(1, 2)), quality=50),
        ]
        assert [known.find(copy) for copy in copies] == ["alike" if place < 6 else None] * 3


def test_grey_and_rgb_and_number_types_are_one() -> None:
    grey = np.random.default_rng(0).random((1, 20, 30)).astype(np.float32)
    assert digest_content(grey) == digest_content(np.repeat(grey, 3, axis=0))
    whole = np.arange(24).reshape(1, 2, 3, 4)
    assert len({digest_content(whole.astype(kind)) for kind in ("u1", "i2", "f4", "f8")}) == 1


def test_volumes_are_known_mirrored_turned_and_scaled() -> None:
    volumes = [np.random.default_rng(seed).random((1, 6, 40, 50)) for seed in range(2)]
    smooth = [np.cumsum(np.cumsum(each - 0.5, axis=2), axis=3).astype(np.float32) for each in volumes]
    known = TrainingCases.of([print_case(smooth[0])])
    assert [known.find(each) for each in smooth] == ["same", None]
    assert known.find(smooth[0][:, ::-1, :, ::-1]) == known.find(smooth[0].transpose(0, 1, 3, 2)) == "same"
    assert known.find(smooth[0] * 1.5 + 7) == "alike"
    assert known.find(smooth[0][:, :-1]) != "same"


def test_a_picture_that_shows_nothing_is_known_by_its_pixels_only() -> None:
    flat = np.full((3, 40, 40), 0.5, np.float32)
    assert print_case(flat).marks == b""
    assert TrainingCases.of([print_case(flat)]).find(flat) == "same"
    assert TrainingCases.of([print_case(flat)]).find(flat + 0.1) is None


def test_it_is_read_as_it_was_written_in_no_order(known: TrainingCases) -> None:
    described = json.loads(json.dumps(known.describe()))
    assert TrainingCases.read(described) == known
    assert TrainingCases.of(reversed(known.prints)) == known
    first = known.prints[0]
    assert CasePrint.from_array(first.to_array()) == first
    for broken in ({**described, "format": 9}, {"format": 1, "cases": [{"digest": "00", "marks": ""}]}):
        with pytest.raises(ValueError, match=r"format 9|cut off"):
            TrainingCases.read(broken)


def test_the_hash_of_the_picture_is_not_among_what_is_kept(pictures: list[NDArray[np.float32]]) -> None:
    """A mark is a digest of 56 of 255 bits: pictures that differ in one bit of them share nothing of it."""
    first, second = (print_case(picture).marks for picture in pictures[:2])
    shared = sum(first[place : place + 4] == second[place : place + 4] for place in range(0, len(first), 4))
    assert (len(first), shared) == (96 * 4, 0)
