"""The learner: sums over slices, which say the same whatever came before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dinoseg.teaching.estimate import advise, estimate
from dinoseg.teaching.features import Basis, Memory
from dinoseg.teaching.learner import Learner, find_margin, measure_paint, score_all
from dinoseg.teaching.records import Estimated
from dinoseg.teaching.refining import agree
from dinoseg.teaching.suggestion import WARM, choose_next

CELLS, WIDTH = 16, 6


def make_memory(frames: int = 8, seed: int = 0) -> tuple[Memory, np.ndarray]:
    """Features of which the first number tells the class of a cell, and those classes."""
    generator = np.random.default_rng(seed)
    memory = Memory(frames, CELLS, WIDTH)
    truth = generator.integers(0, 2, (frames, CELLS))
    for frame in range(frames):
        maps = generator.normal(0, 0.3, (CELLS, WIDTH))
        maps[:, 0] += 2 * truth[frame] - 1
        memory.put(frame, maps.astype(np.float16))
    return memory, truth


def paint(truth: np.ndarray) -> dict[int, np.ndarray]:
    return {class_id: (truth == class_id).astype(np.float32) for class_id in (0, 1)}


def test_it_tells_cells_apart_that_it_has_not_seen() -> None:
    memory, truth = make_memory()
    learner = Learner(memory)
    learner.set_paint(0, paint(truth[0]))
    model = learner.learn()
    assert model is not None
    scores = score_all(model, memory)
    assert (scores.cells.argmax(axis=2) == truth).mean() > 0.95


def test_replaced_and_removed_paint_leaves_no_trace() -> None:
    memory, truth = make_memory()
    learner, fresh = Learner(memory), Learner(memory)
    for frame in (0, 1, 2):
        learner.set_paint(frame, paint(1 - truth[frame]))
    for frame in (1, 2):
        learner.set_paint(frame, paint(truth[frame]))
    learner.set_paint(0, {})
    for frame in (2, 1):
        fresh.set_paint(frame, paint(truth[frame]))
    one, other = learner.learn(), fresh.learn()
    assert one is not None
    assert other is not None
    assert np.allclose(one.weights, other.weights, atol=1e-6)


def test_leaving_a_slice_out_equals_never_having_seen_it() -> None:
    memory, truth = make_memory()
    learner, fresh = Learner(memory), Learner(memory)
    for frame in (0, 1, 2):
        learner.set_paint(frame, paint(truth[frame]))
    for frame in (0, 2):
        fresh.set_paint(frame, paint(truth[frame]))
    one, other = learner.learn(without=[1]), fresh.learn()
    assert one is not None
    assert other is not None
    assert np.allclose(one.weights, other.weights, atol=1e-6)


def test_classes_count_alike_however_much_is_painted() -> None:
    memory, truth = make_memory(4)
    learner = Learner(memory)
    few = (truth[0] == 1) & (np.cumsum(truth[0] == 1) <= 2)
    learner.set_paint(0, {0: (truth[0] == 0).astype(np.float32), 1: few.astype(np.float32)})
    model = learner.learn()
    assert model is not None
    found = score_all(model, memory).cells.argmax(axis=2)
    assert abs(found.mean() - truth.mean()) < 0.15


def test_one_class_alone_teaches_nothing() -> None:
    memory, truth = make_memory()
    learner = Learner(memory)
    learner.set_paint(0, {1: (truth[0] == 1).astype(np.float32)})
    assert learner.learn() is None


def test_paint_counts_once_its_features_are_there() -> None:
    memory, truth = make_memory()
    memory.ready[0] = False
    learner = Learner(memory)
    learner.set_paint(0, paint(truth[0]))
    assert learner.painted == []
    memory.ready[0] = True
    learner.count(0)
    assert learner.painted == [0]


def test_three_classes_are_told_apart() -> None:
    generator = np.random.default_rng(1)
    memory, truth = Memory(5, CELLS, WIDTH), generator.integers(0, 3, (5, CELLS))
    for frame in range(5):
        maps = generator.normal(0, 0.2, (CELLS, WIDTH))
        maps[np.arange(CELLS), truth[frame]] += 2
        memory.put(frame, maps.astype(np.float16))
    learner = Learner(memory)
    learner.set_paint(0, {id_: (truth[0] == id_).astype(np.float32) for id_ in range(3)})
    learner.set_paint(1, {id_: (truth[1] == id_).astype(np.float32) for id_ in range(3)})
    model = learner.learn()
    assert model is not None
    assert (score_all(model, memory).cells.argmax(axis=2) == truth).mean() > 0.95


def test_painted_pixels_are_counted_in_their_cells() -> None:
    canvas = np.full((8, 8), 255, np.uint8)
    canvas[0:2, 0:3] = 1
    canvas[7, 7] = 0
    found = measure_paint(canvas, 4)
    assert found[1].reshape(4, 4)[0].tolist() == [4, 2, 0, 0]
    assert found[0].reshape(4, 4)[3, 3] == 1
    assert sorted(found) == [0, 1]


def test_margin_is_between_the_best_two() -> None:
    assert find_margin(np.array([[0.1, 0.9, 0.5], [2.0, 2.0, 0.0]])) == pytest.approx([0.4, 0.0])


def test_an_estimate_needs_two_slices_and_says_what_unseen_ones_get() -> None:
    memory, truth = make_memory(12)
    learner = Learner(memory)
    learner.set_paint(0, paint(truth[0]))
    assert estimate(learner) is None
    for frame in range(1, 12):
        learner.set_paint(frame, paint(truth[frame]))
    found = estimate(learner)
    assert found is not None
    assert found.images == 12
    assert 0.9 < found.low <= found.dice <= found.high <= 1


def test_an_estimate_of_noise_is_low() -> None:
    memory, _ = make_memory(10)
    generator = np.random.default_rng(3)
    learner = Learner(memory)
    for frame in range(10):
        learner.set_paint(frame, paint(generator.integers(0, 2, CELLS)))
    found = estimate(learner)
    assert found is not None
    assert found.dice < 0.75


def test_advice_follows_from_how_dice_moved() -> None:
    def history(*dice: float) -> list[tuple[int, Estimated]]:
        return [(n, Estimated(n, value, value, value)) for n, value in enumerate(dice, start=2)]

    assert "two images or more" in advise([])
    assert "too few to tell" in advise(history(0.5))
    assert "more labels help: Dice rose by 0.20" in advise(history(0.4, 0.5, 0.6))
    assert "do not help much" in advise(history(0.80, 0.80, 0.81, 0.80, 0.80))


def test_next_stands_for_others_and_later_is_unsure() -> None:
    means = np.array([0, 1, 2, 3, 4, 20, 21, 22, 23, 24, 90], np.float32)[:, None]
    ask = {"means": means, "ready": np.ones(11, bool)}
    every, none = np.arange(11), np.array([], np.int64)
    assert choose_next(every, none, uncertainty=None, **ask) == 5  # in the middle of all
    unsure = np.linspace(0, 1, 11, dtype=np.float32)
    assert choose_next(every[:10], np.array([10]), uncertainty=unsure, **ask) in (4, 5)
    assert choose_next(every[[0, 1, 2, 3, 4, 6]], np.array([7]), uncertainty=unsure, **ask) == 2
    warm = np.full(WARM, 7)
    sure = np.array([0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0], np.float32)
    assert choose_next(every[:4], warm, uncertainty=sure, **ask) == 3
    assert choose_next(none, np.array([9]), uncertainty=unsure, **ask) is None
    ask["ready"] = np.zeros(11, bool)
    assert choose_next(every[3:], none, uncertainty=None, **ask) == 3


def test_cells_that_look_alike_agree() -> None:
    maps = np.zeros((4, 2), np.float16)
    maps[:2, 0], maps[2:, 1] = 1, 1
    agreed = agree(np.array([[1.0], [0.0], [-1.0], [-1.0]], np.float32), maps)
    assert agreed[:, 0] == pytest.approx([0.5, 0.5, -1, -1], abs=1e-3)


def test_a_basis_is_read_back_for_the_same_features_only(tmp_path: Path) -> None:
    path = tmp_path / "basis.npz"
    cells = np.random.default_rng(0).normal(size=(49, 9)).astype(np.float32)
    basis = Basis.fit([cells], "one", width=4)
    basis.save(path)
    found = Basis.load(path, "one")
    assert found is not None
    assert np.array_equal(found.apply(cells), basis.apply(cells))
    assert Basis.load(path, "other") is None
    path.write_bytes(b"cut off")
    assert Basis.load(path, "one") is None
