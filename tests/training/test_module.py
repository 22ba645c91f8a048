"""The validation score: Dice of every case and class at the mask's own size."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from dinoseg.config import TrainSettings
from dinoseg.training.learning.module import DecoderTraining, _dice
from tests.inference.models import BINARY, THREE, make_glass


def make_module(label: Tensor, classes: dict[int, str]) -> DecoderTraining:
    bank: Any = SimpleNamespace(
        native_label=lambda position: label, ignores=False, subject=lambda position: position
    )
    return DecoderTraining(make_glass(classes), TrainSettings(), bank, bank)


def logits_of(mask: Tensor, outputs: int) -> Tensor:
    """Certain logits (1, K, H, W) of a mask (H, W)."""
    if outputs == 1:
        return ((mask.float() * 2 - 1) * 9)[None, None]
    return (torch.nn.functional.one_hot(mask.long(), outputs).movedim(-1, 0).float() * 9)[None]


def ids(*rows: list[int]) -> Tensor:
    return torch.tensor(rows, dtype=torch.uint8)


def scores(mask: Tensor, label: Tensor, classes: dict[int, str]) -> list[float]:
    module = make_module(label, classes)
    overlap = module._native_overlap(logits_of(mask, 1 if len(classes) == 2 else len(classes)), 0)
    return _dice(overlap).tolist()


def test_dice_by_hand() -> None:
    mask, label = ids([0, 1, 1, 0], [0, 1, 0, 0]), ids([0, 1, 1, 1], [0, 0, 0, 0])
    assert scores(mask, label, BINARY) == pytest.approx([2 * 2 / 6])


def test_each_foreground_class_has_a_score() -> None:
    mask, label = ids([1, 1, 2, 0], [0, 0, 2, 2]), ids([1, 1, 0, 0], [1, 0, 0, 2])
    assert scores(mask, label, THREE) == pytest.approx([2 * 2 / 5, 2 * 1 / 4])


@pytest.mark.parametrize(("mask", "label", "dice"), [(0, 0, 1.0), (1, 0, 0.0), (0, 1, 0.0), (1, 1, 1.0)])
def test_empty_masks(mask: int, label: int, dice: float) -> None:
    full = torch.ones(3, 4, dtype=torch.uint8)
    assert scores(full * mask, full * label, BINARY) == [dice]


def test_the_mask_decides_the_size() -> None:
    """Logits of 2x2 are enlarged to 6x8; a column that is thinner than a pixel of them still counts."""
    label = torch.zeros(6, 8, dtype=torch.uint8)
    label[:, 4:] = 1
    assert scores(ids([0, 1], [0, 1]), label, BINARY) == [1.0]
    label[:, 3] = 1
    assert scores(ids([0, 1], [0, 1]), label, BINARY) == pytest.approx([2 * 24 / (24 + 30)])


def test_the_epochs_score_is_the_mean_over_cases_and_classes() -> None:
    module = make_module(ids([1, 1, 0, 0], [1, 0, 0, 2]), THREE)
    logged: dict[str, float] = {}
    module.log = lambda name, value, **keywords: logged.update({name: float(value)})  # type: ignore[method-assign, assignment, misc]
    for case, mask in enumerate((ids([1, 1, 2, 0], [0, 0, 2, 2]), ids([1, 1, 0, 0], [1, 0, 0, 2]))):
        module._overlaps[case] = module._native_overlap(logits_of(mask, 3), 0)
    module.on_validation_epoch_end()
    assert logged == {"val_dice": pytest.approx((0.8 + 0.5 + 1 + 1) / 4)}
    logged.clear()
    module.on_validation_epoch_end()  # the next epoch begins with nothing
    assert logged == {}


def test_deep_supervision_judges_every_scale_against_the_label_of_its_grid() -> None:
    """Each scale counts half of the next finer one; a single scale counts as it is."""
    module = make_module(ids([0]), BINARY)
    label = torch.zeros(1, 5, 6, dtype=torch.uint8)
    label[:, 2:, 2:] = 1
    scales = [((label[:, :: 2**n, :: 2**n].float() * 2 - 1) * 9).unsqueeze(1) for n in range(3)]
    assert module._step.judge(scales, label) < 0.01
    alone = module._step.judge(scales[:1], label)
    assert torch.equal(alone, module._step.loss(scales[0], label))
    wrong = module._step.judge([scales[0], -scales[1], scales[2]], label)
    expected = (
        module._step.loss(scales[0], label) + 0.5 * module._step.loss(-scales[1], label[:, ::2, ::2])
    ) / 1.75
    assert wrong == pytest.approx(float(expected), rel=0.02)
