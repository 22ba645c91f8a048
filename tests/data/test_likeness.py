"""What a model saw, and which inputs are not like it; thresholds hold on real images beside."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
from numpy.typing import NDArray

from dinoseg.data.case import Image
from dinoseg.data.cases.likeness import Facts, Profile, describe_image, describe_volume
from dinoseg.data.images import read_image
from tests.data.samples import shared_data


def draw(seed: int, *, grey: bool = False, size: tuple[int, int] = (60, 80)) -> NDArray[np.float32]:
    """Reddish and rather dark, as endoscopy is; or grey and dark, as ultrasound."""
    rng = np.random.default_rng(seed)
    level = rng.uniform(0.3, 0.45) + 0.1 * rng.standard_normal((1, *size))
    parts = [0.6 * level] if grey else [1.6 * level, level, 0.7 * level]
    return np.clip(np.concatenate(parts), 0, 1).astype(np.float32)


def facts(array: NDArray[np.float32]) -> Facts:
    return describe_image(Image(array))


COLOUR = Profile.of([facts(draw(seed)) for seed in range(12)])
GREY = Profile.of([facts(draw(seed, grey=True)) for seed in range(12)])


@pytest.mark.parametrize("grey", [False, True])
def test_others_of_the_kind_are_like_it(grey: bool) -> None:
    profile = GREY if grey else COLOUR
    for seed in range(100, 130):
        assert profile.find_differences(facts(draw(seed, grey=grey))) == ""


def as_colour(array: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.repeat(array, 3, axis=0)


def test_grey_may_be_stored_in_one_channel_or_three() -> None:
    assert GREY.find_differences(facts(as_colour(draw(5, grey=True)))) == ""


ODD = {
    "12 of 16 bits": (COLOUR, draw(50) / 16, "channel 0: its percentile 99 is 0.0"),
    "inverted": (COLOUR, 1 - draw(50), "channel 2: its"),
    "grey": (COLOUR, draw(50).mean(axis=0, keepdims=True), "it is grey, and the model was trained on colour"),
    "grey in three": (
        COLOUR,
        as_colour(draw(50, grey=True)),
        "it is grey, and the model was trained on colour",
    ),
    "large": (COLOUR, draw(50, size=(600, 800)), "its size is 600×800 px, in training 60×80 to 60×80"),
    "small": (COLOUR, draw(50, size=(14, 20)), "its size is 14×20 px"),
    "inverted grey": (GREY, 1 - draw(50, grey=True), "its"),
    "colour": (GREY, draw(50), "it is in colour, and the model was trained on grey"),
}


@pytest.mark.parametrize("kind", ODD)
def test_what_is_not_like_it_is_said(kind: str) -> None:
    profile, array, words = ODD[kind]
    found = profile.find_differences(facts(np.asarray(array, np.float32)))
    assert words in found
    assert "\n" not in found


def test_few_cases_say_less() -> None:
    """Three cases do not show how far others may lie apart."""
    few = Profile.of([facts(draw(seed)) for seed in range(3)])
    for seed in range(100, 130):
        assert few.find_differences(facts(draw(seed))) == ""
    assert few.find_differences(facts(1 - draw(50)))


def scan(
    seed: int, *, scale: float = 1.0, offset: float = 0.0, spacing: tuple[float, float, float] = (3, 0.8, 0.8)
) -> Facts:
    """Air around a body, in Hounsfield units unless changed."""
    rng = np.random.default_rng(seed)
    array = np.full((1, 12, 30, 30), -1000.0)
    array[:, :, 6:24, 6:24] = rng.normal(40, 60, (1, 12, 18, 18))
    array[:, :, 12:15, 12:15] = 900
    return describe_volume((array * scale + offset).astype(np.float32), spacing=spacing)


CT = Profile.of([scan(seed) for seed in range(5)])
MR = Profile.of([scan(seed, scale=0.5 + seed, offset=1000 * seed) for seed in range(5)], relative=True)


def test_volumes_of_the_kind_are_like_it() -> None:
    assert CT.find_differences(scan(50, spacing=(5, 0.6, 0.6))) == ""
    assert MR.find_differences(scan(50, scale=9)) == ""  # signal without unit


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (scan(50, offset=1024), "its percentile 1 is 24, in training -1e+03"),
        (scan(50, scale=1 / 1900, offset=1000 / 1900), "its percentile"),
        (scan(50, scale=255 / 1900, offset=1000 * 255 / 1900), "its percentile"),
        (scan(50, spacing=(3, 3.2, 3.2)), "its voxels are 3×3.2×3.2 mm, in training 3×0.8×0.8"),
        (scan(50, spacing=(0.7, 0.8, 0.8)), "its voxels are 0.7×"),
    ],
)
def test_volumes_in_other_units_or_of_other_spacing_are_said(found: Facts, words: str) -> None:
    assert words in CT.find_differences(found)


def test_inverted_signal_without_unit_is_said() -> None:
    assert "of the way from darkest to brightest" in MR.find_differences(scan(50, scale=-1))


@pytest.mark.parametrize("profile", [COLOUR, GREY, CT, MR])
def test_a_profile_comes_back_from_json(profile: Profile) -> None:
    assert Profile.read(json.loads(json.dumps(asdict(profile)))) == profile


@pytest.mark.parametrize("found", [facts(draw(0)), facts(draw(0, grey=True)), scan(0)])
def test_facts_come_back_from_the_cache(found: Facts) -> None:
    assert Facts.from_array(found.to_array()) == found


@pytest.mark.slow
def test_held_out_endoscopies_are_like_the_others_and_changed_ones_are_not() -> None:
    images = sorted((shared_data("kvasir-seg") / "images").iterdir())
    found = [facts(read_image(path).array) for path in images[::2]]
    profile = Profile.of(found[:400])
    assert [each for each in map(profile.find_differences, found[400:]) if each] == []
    assert all(profile.find_differences(facts(1 - read_image(path).array)) for path in images[1:41:2])
