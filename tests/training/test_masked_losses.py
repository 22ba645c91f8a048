"""Losses with pixels that nobody decided: those of the other pixels, whatever lies in them."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from dinoseg.config import TrainSettings
from dinoseg.data.case import IGNORE_ID
from dinoseg.training.learning.losses import create_loss

LOSSES = get_args(TrainSettings.model_fields["loss"].annotation)


def draw(outputs: int, *, width: int = 12) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(outputs)
    logits = torch.randn(2, outputs, 10, width, generator=generator)
    label = torch.randint(max(outputs, 2), (2, 10, width), generator=generator, dtype=torch.uint8)
    return logits, label


@pytest.mark.parametrize("outputs", [1, 2, 4])
@pytest.mark.parametrize("name", LOSSES)
def test_without_such_pixels_nothing_changes(name: Any, outputs: int) -> None:
    logits, label = draw(outputs)
    plain = create_loss(name)(logits, label)
    assert create_loss(name, ignore=True)(logits, label) == pytest.approx(float(plain), rel=1e-5)


@pytest.mark.parametrize("outputs", [1, 4])
@pytest.mark.parametrize("name", LOSSES)
def test_it_is_the_loss_of_the_other_pixels(name: Any, outputs: int) -> None:
    logits, label = draw(outputs)
    wanted = create_loss(name)(logits[..., :7], label[..., :7])
    logits[..., 7:] *= 50
    label[..., 7:] = IGNORE_ID
    logits.requires_grad_()
    loss = create_loss(name, ignore=True)(logits, label)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(float(wanted), rel=1e-5)
    assert logits.grad is not None
    assert logits.grad[..., :7].abs().min() > 0
    assert not logits.grad[..., 7:].any()


@pytest.mark.parametrize("name", LOSSES)
def test_nothing_decided_costs_nothing(name: Any) -> None:
    logits, label = draw(3)
    logits.requires_grad_()
    loss = create_loss(name, ignore=True)(logits, torch.full_like(label, IGNORE_ID))
    loss.backward()
    assert loss == 0
    assert logits.grad is not None
    assert not logits.grad.any()
