"""Masks of class probabilities: the most probable class, or extents of the greatest expected Dice."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from dinoseg.config import override
from dinoseg.export.steps import describe_steps
from dinoseg.inference import predict, segment_volume
from dinoseg.inference.logits import FromLogits
from dinoseg.methods import METHODS
from dinoseg.model.decision import decide, find_class, find_extents, find_level
from dinoseg.model.ensemble import Ensemble
from dinoseg.model.network import decision_of
from dinoseg.model.segmenter import Segmenter
from dinoseg.model.shared import SharedBackbone
from tests.inference.models import THREE, make_glass
from tests.inference.test_slabs import make_model, make_volume

IMAGE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)


def make_doubtful(doubt: float = 0.45) -> NDArray[np.float32]:
    """Probabilities (2, 40, 40) of a disc that is sure in its middle, and of a broad edge in doubt."""
    rows, columns = np.mgrid[:40, :40] - 19.5
    away = np.hypot(rows, columns)
    found = np.where(away < 6, 0.9, np.where(away < 12, doubt, 0.02)).astype(np.float32)
    return np.stack([1 - found, found])


def make_model_of(decision: str, classes: dict[int, str] | None = None) -> Segmenter:
    model = make_glass(classes) if classes else make_glass()
    model.decoder.scale = nn.Parameter(torch.tensor(5.0))  # in doubt about most pixels
    model.settings = override(model.settings, {"decision": decision})
    return model


def mean_dice(mask: NDArray[np.bool_], truths: NDArray[np.bool_]) -> float:
    both = (mask & truths).sum(axis=(1, 2))
    return float((2 * both / (mask.sum() + truths.sum(axis=(1, 2)))).mean())


def test_the_extent_has_the_greater_mean_dice_over_what_may_be_true() -> None:
    scores, rng = make_doubtful(), np.random.default_rng(1)
    truths = rng.random((400, 40, 40)) < scores[1]
    probable, extent = find_class(scores) > 0, find_extents(scores) > 0
    assert probable.sum() < extent.sum()
    assert mean_dice(extent, truths) > mean_dice(probable, truths) + 0.05


@pytest.mark.parametrize("seed", range(5))
def test_no_other_level_is_expected_to_be_better(seed: int) -> None:
    rng = np.random.default_rng(seed)
    found = np.floor(rng.beta(0.3, 1 + seed, (30, 30)) * 100).astype(np.float32) / 100 + np.float32(0.005)
    expected = {}
    for step in range(10, 91):
        mask = found >= step / 100
        expected[step / 100] = 2 * found[mask].sum() / (mask.sum() + found.sum())
    assert expected[find_level(found)] == pytest.approx(max(expected.values()), abs=1e-6)


def test_where_the_model_is_sure_nothing_changes() -> None:
    scores = make_doubtful(doubt=0.01)
    assert np.array_equal(find_extents(scores), find_class(scores))


def test_a_class_that_is_nowhere_the_most_probable_one_stays_away() -> None:
    scores = make_doubtful() * np.float32([[[0.6]], [[0.5]]])
    scores[0] = 1 - scores[1]
    assert not find_extents(scores).any()
    assert not decide(scores, "dice").any()


def test_of_several_classes_each_has_its_level_and_the_clearer_one_wins() -> None:
    scores = np.zeros((3, 1, 60), np.float32)
    scores[1, 0, :20], scores[1, 0, 20:30] = 0.95, 0.4  # sure: a high level
    scores[2, 0, 20:60], scores[2, 0, 40:42] = 0.38, 0.6  # in doubt nearly everywhere: a low one
    scores[0] = 1 - scores[1] - scores[2]
    levels = find_level(scores[1]), find_level(scores[2])
    assert levels[0] > levels[1]
    ids = find_extents(scores)[0]
    assert (ids[:20] == 1).all()
    assert (ids[20:] == 2).all()  # also where class 1 is a little more probable, but below its level


def test_decisions_are_named() -> None:
    scores = make_doubtful()
    assert np.array_equal(decide(scores, "probable"), find_class(scores))
    assert np.array_equal(decide(scores, "dice"), find_extents(scores))


@pytest.mark.parametrize("classes", [None, THREE], ids=["binary", "three"])
@pytest.mark.parametrize("options", [{}, {"flips": True}, {"window": 24}])
def test_a_model_decides_as_its_settings_say(classes: dict[int, str] | None, options: dict[str, int]) -> None:
    probable, dice = (make_model_of(word, classes) for word in ("probable", "dice"))
    plain = predict(probable, IMAGE, probabilities=True, **options)
    found = predict(dice, IMAGE, probabilities=True, **options)
    assert np.array_equal(plain.probabilities, found.probabilities)
    assert np.array_equal(found.mask, find_extents(found.probabilities))
    assert np.array_equal(predict(dice, IMAGE, **options).mask, found.mask)
    assert not np.array_equal(plain.mask, found.mask)


def test_torch_and_numpy_decide_alike() -> None:
    model = make_model_of("dice")
    pixels = np.random.default_rng(2).random((2, 3, 32, 32), dtype=np.float32)
    for symmetries in (1, 4):
        ours = FromLogits(model).answer(pixels, [(30, 41)] * 2, symmetries=symmetries)
        torchs = model.answer(pixels, [(30, 41)] * 2, symmetries=symmetries)
        for one, other in zip(ours, torchs, strict=True):
            assert (one.mask != other.mask).mean() < 0.002  # the last bits of a probability


def test_an_ensemble_decides_on_the_average() -> None:
    members = [make_model_of("dice"), make_model_of("dice")]
    members[1].decoder.scale = nn.Parameter(torch.tensor(2.0))
    for groups in (members, [SharedBackbone(members)]):
        found = predict(Ensemble(members, groups), IMAGE, probabilities=True)
        assert np.array_equal(found.mask, find_extents(found.probabilities))


def test_volumes_keep_the_most_probable_class() -> None:
    model, volume = make_model(1), make_volume()
    before = segment_volume(model, volume).mask
    model.settings = override(model.settings, {"decision": "dice"})
    assert decision_of(model.settings) == "probable"
    assert np.array_equal(segment_volume(model, volume).mask, before)


def test_methods_as_published_take_the_most_probable_class() -> None:
    assert {name for name, card in METHODS.items() if card.decision == "dice"} == {"guided"}


def test_a_bundle_says_how_it_is_decided() -> None:
    words = {word: describe_steps(make_model_of(word).settings)["mask"] for word in ("probable", "dice")}
    assert words["probable"] == "sigmoid above 0.5"
    assert "0.1 to 0.9 in steps of 0.01" in words["dice"]
