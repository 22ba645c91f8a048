"""What probabilities are worth: the fits find what was put in, and the figures are those of brute force."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import isotonic_regression

from dinoseg.config import ConfidenceSettings
from dinoseg.evaluation.calibration import (
    Observation,
    Pixels,
    fit_confidence,
    fit_isotonic,
    fit_logistic,
    fit_temperature,
)
from dinoseg.evaluation.reliability import assess, find_auroc, find_bins, find_ece, find_risks
from dinoseg.model.confidence import Confidence, Tally, calibrate, estimate, find_uncertainty, pack_embedding

RNG = np.random.default_rng(0)


def softmax(logits: np.ndarray) -> np.ndarray:
    scores = np.exp(logits - logits.max(axis=0))
    return (scores / scores.sum(axis=0)).astype(np.float32)


def draw_pixels(count: int, *, overconfident: float, seed: int = 0) -> Pixels:
    """Labels drawn from probabilities whose logits were stretched afterwards."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=1.5, size=(3, count))
    truth = softmax(logits)
    labels = (rng.random(count) > np.cumsum(truth, axis=0)).sum(axis=0).clip(0, 2).astype(np.uint8)
    return Pixels(softmax(overconfident * logits), labels)


def make_case(soft: float, dice: float, *, missed: bool = False, seed: int = 0) -> Observation:
    """One foreground class whose soft Dice is as given."""
    tally = Tally(np.array([900.0, 100.0]), np.array([900.0, 100.0]), np.array([850.0, 100 * soft]))
    embedding = np.random.default_rng(seed).normal(size=8).astype(np.float32) + 5
    return Observation(tally, {1: dice}, {1: missed}, draw_pixels(200, overconfident=1, seed=seed), embedding)


def test_tally_counts_what_is_predicted_probable_and_agreed() -> None:
    scores = np.array([[[0.9, 0.2], [0.4, 0.5]], [[0.1, 0.8], [0.6, 0.5]]], np.float32)
    tally = Tally.of(scores)
    assert tally.predicted.tolist() == [2, 2]
    assert tally.probable == pytest.approx([2.0, 2.0])
    assert tally.soft_dice(1) == pytest.approx(2 * 1.4 / (2 + 2.0))
    both = tally + tally
    assert (both.predicted.tolist(), both.soft_dice(1)) == ([4, 4], pytest.approx(0.7))
    assert Tally.of(np.stack([np.ones((2, 2)), np.zeros((2, 2))]).astype(np.float32)).soft_dice(1) is None


@pytest.mark.parametrize("stretch", [0.5, 1.0, 3.0])
def test_temperature_finds_how_far_logits_were_stretched(stretch: float) -> None:
    case = make_case(0.5, 0.5)
    observed = Observation(case.tally, {}, {}, draw_pixels(40_000, overconfident=stretch))
    found = fit_temperature([observed])
    assert found == pytest.approx(stretch, rel=0.05)
    before, after = (find_ece(find_bins([observed], temperature)) for temperature in (1.0, found))
    assert after < 0.01
    assert stretch == 1 or before > 3 * after


def test_isotonic_curve_is_that_of_scipy() -> None:
    scores = np.sort(RNG.random(25))
    values = np.clip(scores + RNG.normal(scale=0.2, size=25), 0, 1)
    places, heights = fit_isotonic(scores, values)
    pooled = np.unique(np.round(isotonic_regression(values).x, 9))
    assert heights[1:] == pytest.approx(pooled.tolist(), abs=1e-6)
    assert (places[0], heights[0]) == (0, 0)
    assert places == sorted(places)
    assert fit_isotonic(np.array([]), np.array([])) == ([], [])


def test_chance_of_a_miss_falls_with_the_score_and_is_never_none() -> None:
    scores = RNG.random(400)
    events = (RNG.random(400) < 1 / (1 + np.exp(8 * scores - 2))).astype(float)
    slope, intercept = fit_logistic(scores, events)
    assert slope == pytest.approx(-8, rel=0.35)
    assert intercept == pytest.approx(2, abs=1)
    slope, intercept = fit_logistic(scores[:30], np.zeros(30))
    chances = 1 / (1 + np.exp(-(slope * scores[:30] + intercept)))
    assert chances == pytest.approx(1 / 32, abs=0.005)  # one in n + 2, as Platt's targets say
    assert fit_logistic(scores, 1 - events)[0] == 0.0  # a chance that rises is not believed


def fit_cases(count: int = 30) -> tuple[list[Observation], ConfidenceSettings]:
    cases = [
        make_case(soft, soft**2, missed=soft < 0.1, seed=index)
        for index, soft in enumerate(np.linspace(0.05, 1, count))
    ]
    settings = fit_confidence(cases)
    assert settings is not None
    return cases, settings


def test_expected_dice_is_what_such_masks_reached() -> None:
    cases, settings = fit_cases()
    found = [estimate(settings, case.tally) for case in cases]
    errors = [abs(one.expected_dice - case.dice[1]) for one, case in zip(found, cases, strict=True)]
    assert max(errors) < 0.02
    assert [each.miss for each in found] == sorted((each.miss for each in found), reverse=True)
    assert settings.cases == 30
    assert ConfidenceSettings.model_validate(settings.model_dump(mode="json")) == settings
    again = Confidence.read(found[3].describe())
    assert again is not None
    assert again.expected_dice == pytest.approx(found[3].expected_dice, abs=1e-4)
    assert Confidence.read({"expected_dice": "?"}) is None


def test_fewer_than_twenty_cases_calibrate_nothing() -> None:
    assert fit_confidence([make_case(0.5, 0.5)] * 19) is None
    bare = estimate(None, make_case(0.5, 0.9).tally)
    assert (bare.expected_dice, bare.miss, bare.calibrated_on) == (pytest.approx(0.5), None, 0)


def test_empty_masks_are_expected_to_be_what_empty_masks_were() -> None:
    empty = Tally(np.array([1000.0, 0.0]), np.array([990.0, 10.0]), np.array([990.0, 0.0]))
    pixels = draw_pixels(10, overconfident=1)
    absent = [Observation(empty, {1: 1.0}, {1: False}, pixels) for _ in range(18)]
    missed = [Observation(empty, {1: 0.0}, {1: True}, pixels) for _ in range(6)]
    settings = fit_confidence([*absent, *missed])
    assert settings is not None
    found = estimate(settings, empty)
    assert found.expected_dice == pytest.approx(18.5 / 25)
    assert found.miss == pytest.approx(6.5 / 25)


def test_features_far_from_all_training_cases_are_told() -> None:
    _, settings = fit_cases()
    tally = make_case(0.5, 0.5).tally
    near = np.random.default_rng(3).normal(size=8).astype(np.float32) + 5
    far = np.array([9, -9, 9, -9, 9, -9, 9, -9], np.float32)
    assert not estimate(settings, tally, near).is_unlike
    assert estimate(settings, tally, far).is_unlike
    assert estimate(settings, tally, far[:4]).distance is None  # of another backbone
    assert len(pack_embedding(far)) == 16


def test_uncertainty_is_the_entropy_of_calibrated_probabilities() -> None:
    scores = np.array([[1.0, 0.5, 0.9], [0.0, 0.5, 0.1]], np.float32)
    bare = find_uncertainty(None, scores)
    assert bare == pytest.approx([0, 1, -(0.9 * np.log2(0.9) + 0.1 * np.log2(0.1))], abs=1e-4)
    _, settings = fit_cases()
    softer = find_uncertainty(settings.model_copy(update={"temperature": 2.0}), scores)
    assert softer[2] > bare[2]
    raised = np.array([0.9, 0.1]) ** 0.5
    assert calibrate(scores, 2.0)[:, 2] == pytest.approx(raised / raised.sum(), abs=1e-5)


def test_auroc_and_risks_are_those_of_brute_force() -> None:
    dice, expected = RNG.random(40), RNG.random(40).round(1)  # with ties
    failed = dice < 0.6
    pairs = itertools.product(np.flatnonzero(failed), np.flatnonzero(~failed))
    wins = [(expected[a] < expected[b]) + 0.5 * (expected[a] == expected[b]) for a, b in pairs]
    assert find_auroc(-expected, failed) == pytest.approx(np.mean(wins))
    assert np.isnan(find_auroc(expected, np.ones(40, bool)))
    curves = []
    for _ in range(4000):  # ties in every order
        order = np.lexsort((RNG.random(40), -expected))
        curves.append(np.cumsum(1 - dice[order]) / np.arange(1, 41))
    assert np.abs(np.mean(curves, axis=0) - find_risks(expected, dice)).max() < 0.02
    assert find_risks(dice, dice)[-1] == pytest.approx(np.mean(1 - dice))


def test_reliability_of_some_cases() -> None:
    cases, settings = fit_cases()
    names = [str(index) for index in range(len(cases))]
    found = assess(names, cases, settings)
    assert found is not None
    assert found.aurc_oracle <= found.aurc < found.aurc_random
    assert found.failures == sum(case.dice[1] < 0.6 for case in cases)
    assert found.auroc == 1.0
    assert (found.calibrated_on, found.in_sample) == (30, False)
    bare = assess(names, cases, None)
    assert bare is not None
    assert (bare.after, bare.calibrated_on, bare.auroc) == ((), 0, 1.0)
    assert assess([], [], None) is None


def test_pixels_are_drawn_alike_and_only_where_somebody_decided(tmp_path: Path) -> None:
    scores = softmax(RNG.normal(size=(2, 80, 90)))
    label = RNG.integers(0, 2, (80, 90)).astype(np.uint8)
    label[:40] = 255
    one, two = (Pixels.draw("a", scores, label) for _ in range(2))
    assert np.array_equal(one.labels, two.labels)
    assert 800 < len(one.labels) < 1200
    assert set(one.labels) == {0, 1}
    assert one.probabilities.shape == (2, len(one.labels))
