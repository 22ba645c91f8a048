"""Losses against numbers worked out by hand."""

from __future__ import annotations

import math
import warnings
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from dinoseg.config import TrainSettings
from dinoseg.training.learning.losses import create_loss, cross_entropy

LOSSES = get_args(TrainSettings.model_fields["loss"].annotation)


def binary(*logits: float) -> Tensor:
    return torch.tensor(logits, dtype=torch.float32).view(1, 1, 1, -1)


def ids(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.uint8).view(1, 1, -1)


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def value(name: Any, logits: Tensor, label: Tensor) -> float:
    return float(create_loss(name)(logits, label))


def test_binary_cross_entropy() -> None:
    expected = (-math.log(sigmoid(2)) - math.log(1 - sigmoid(-1)) - math.log(1 - sigmoid(0.5))) / 3
    assert value("cross_entropy", binary(2, -1, 0.5), ids(1, 0, 0)) == pytest.approx(expected, rel=1e-6)
    assert value("cross_entropy", binary(0, 0), ids(1, 0)) == pytest.approx(math.log(2))


def test_cross_entropy_over_classes() -> None:
    logits = torch.tensor([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]]).view(1, 3, 1, 2)
    total = math.exp(1) + math.exp(2) + math.exp(3)
    expected = (math.log(total) - 2 + math.log(3)) / 2  # class 1 of (1, 2, 3), class 2 of (0, 0, 0)
    assert value("cross_entropy", logits, ids(1, 2)) == pytest.approx(expected, rel=1e-6)
    assert float(cross_entropy(logits, ids(1, 2))) == pytest.approx(expected, rel=1e-6)


def test_dice_and_cross_entropy_of_one_class() -> None:
    first, second = sigmoid(2), sigmoid(-1)
    dice = 1 - 2 * first / (first + second + 1)
    bce = (-math.log(first) - math.log(1 - second)) / 2
    assert value("dice_cross_entropy", binary(2, -1), ids(1, 0)) == pytest.approx(dice + bce, rel=1e-4)


def test_dice_and_cross_entropy_of_several_classes() -> None:
    """The Dice term is the mean over the foreground classes; the background has none."""
    logits = torch.tensor([[0.0, 1.0], [2.0, 0.0], [0.0, 0.0]]).view(1, 3, 1, 2)
    left, right = math.exp(2) + 2, math.exp(1) + 2
    p1, p2 = [math.exp(2) / left, 1 / right], [1 / left, 1 / right]
    dice_one = 1 - 2 * p1[0] / (p1[0] + p1[1] + 1)
    dice_two = 1 - 2 * p2[1] / (p2[0] + p2[1] + 1)
    entropy = (math.log(left) - 2 + math.log(right)) / 2
    expected = (dice_one + dice_two) / 2 + entropy
    assert value("dice_cross_entropy", logits, ids(1, 2)) == pytest.approx(expected, rel=1e-4)


def test_half_dice_and_half_cross_entropy_of_one_class() -> None:
    """The background counts as a class of its own: its probability is what is left of the lesion's."""
    first, second = sigmoid(2), sigmoid(-1)
    lesion = 1 - 2 * first / (first + second + 1)
    background = 1 - 2 * (1 - second) / (1 - first + 1 - second + 1)
    bce = (-math.log(first) - math.log(1 - second)) / 2
    expected = 0.5 * bce + 0.5 * (lesion + background) / 2
    assert value("half_dice_half_cross_entropy", binary(2, -1), ids(1, 0)) == pytest.approx(
        expected, rel=1e-5
    )


def test_one_channel_is_the_same_as_two() -> None:
    """One channel x says what two channels (0, x) say."""
    label = make_label(1)
    one = torch.randn(2, 1, 7, 9, generator=torch.Generator().manual_seed(1))
    two = torch.cat([torch.zeros_like(one), one], dim=1)
    assert value("half_dice_half_cross_entropy", one, label) == pytest.approx(
        value("half_dice_half_cross_entropy", two, label), rel=1e-6
    )


def test_half_dice_and_half_cross_entropy_of_several_classes() -> None:
    """The Dice term is the mean over all three classes; the first is in neither pixel."""
    logits = torch.tensor([[0.0, 1.0], [2.0, 0.0], [0.0, 0.0]]).view(1, 3, 1, 2)
    left, right = math.exp(2) + 2, math.exp(1) + 2
    p1, p2 = [math.exp(2) / left, 1 / right], [1 / left, 1 / right]
    dice_one = 1 - 2 * p1[0] / (p1[0] + p1[1] + 1)
    dice_two = 1 - 2 * p2[1] / (p2[0] + p2[1] + 1)
    entropy = (math.log(left) - 2 + math.log(right)) / 2
    expected = 0.5 * entropy + 0.5 * (1 + dice_one + dice_two) / 3
    assert value("half_dice_half_cross_entropy", logits, ids(1, 2)) == pytest.approx(expected, rel=1e-4)


def test_focal_of_one_class() -> None:
    pairs = [(sigmoid(2), 1), (sigmoid(-1), 0), (sigmoid(0.5), 0)]
    right = [p if target else 1 - p for p, target in pairs]
    expected = sum(-((1 - p) ** 2) * math.log(p) for p in right) / 3
    assert value("focal", binary(2, -1, 0.5), ids(1, 0, 0)) == pytest.approx(expected, rel=1e-5)


def test_focal_of_several_classes() -> None:
    """Mean over pixels and classes, as in MONAI: a third of the mean over pixels."""
    logits = torch.tensor([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]]).view(1, 3, 1, 2)
    p = math.exp(2) / (math.exp(1) + math.exp(2) + math.exp(3))
    pixels = [-((1 - p) ** 2) * math.log(p), -((1 - 1 / 3) ** 2) * math.log(1 / 3)]
    assert value("focal", logits, ids(1, 2)) == pytest.approx(sum(pixels) / 2 / 3, rel=1e-5)


def test_focal_cares_less_about_what_is_right_already() -> None:
    easy, hard = value("focal", binary(3), ids(1)), value("focal", binary(-3), ids(1))
    easy_ce, hard_ce = (
        value("cross_entropy", binary(3), ids(1)),
        value("cross_entropy", binary(-3), ids(1)),
    )
    assert hard / easy > 100 * hard_ce / easy_ce


def monai_loss(name: str, logits: Tensor, label: Tensor) -> Tensor:
    """The oracle: the field's reference, put together as ours is described."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its import, and of a single channel
        from monai.losses.dice import DiceLoss
        from monai.losses.focal_loss import FocalLoss
    one, ids = logits.shape[1] == 1, label.unsqueeze(1).to(torch.int64)
    if name == "focal":
        return FocalLoss(gamma=2.0, to_onehot_y=not one, use_softmax=not one)(logits, ids)  # type: ignore[no-any-return]
    entropy = (
        torch.nn.functional.binary_cross_entropy_with_logits(logits[:, 0], label.float())
        if one
        else torch.nn.functional.cross_entropy(logits, label.long())
    )
    if name == "cross_entropy":
        return entropy
    if name == "half_dice_half_cross_entropy":
        both = torch.cat([torch.zeros_like(logits), logits], dim=1) if one else logits
        return 0.5 * entropy + 0.5 * DiceLoss(softmax=True, to_onehot_y=True, batch=True)(both, ids)
    if one:
        return entropy + DiceLoss(sigmoid=True, batch=True)(logits, ids)
    return entropy + DiceLoss(softmax=True, to_onehot_y=True, include_background=False, batch=True)(
        logits, ids
    )


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("outputs", [1, 2, 5])
@pytest.mark.parametrize("scale", [1.0, 20.0])
@pytest.mark.parametrize("empty", [False, True])
def test_values_and_gradients_are_monais(name: Any, outputs: int, scale: float, empty: bool) -> None:
    generator = torch.Generator().manual_seed(7)
    logits = (torch.randn(3, outputs, 24, 20, generator=generator) * scale).requires_grad_()
    label = torch.randint(max(outputs, 2), (3, 24, 20), generator=generator).to(torch.uint8) * (not empty)
    ours, theirs = create_loss(name)(logits, label), monai_loss(name, logits, label)
    assert float(ours.detach()) == pytest.approx(float(theirs.detach()), rel=1e-6, abs=1e-6)
    (gradient,), (wanted,) = (torch.autograd.grad(loss, logits) for loss in (ours, theirs))
    assert float((gradient - wanted).abs().max()) <= 1e-6


def one_hot_logits(label: Tensor, outputs: int, scale: float = 30.0) -> Tensor:
    if outputs == 1:
        return (label.float().unsqueeze(1) * 2 - 1) * scale
    hot = torch.nn.functional.one_hot(label.long(), outputs).movedim(-1, 1).float()
    return (hot * 2 - 1) * scale


def make_label(outputs: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(max(outputs, 2), (2, 7, 9), generator=generator).to(torch.uint8)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("outputs", [1, 3])
def test_a_perfect_answer_costs_nothing_and_its_opposite_much(name: str, outputs: int) -> None:
    label = make_label(outputs)
    logits = one_hot_logits(label, outputs)
    assert value(name, logits, label) == pytest.approx(0, abs=1e-5)
    assert value(name, -logits, label) > 1


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("outputs", [1, 3])
def test_an_empty_mask_that_is_found_empty_costs_nothing(name: str, outputs: int) -> None:
    label = torch.zeros(2, 7, 9, dtype=torch.uint8)
    assert value(name, one_hot_logits(label, outputs), label) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("name", ["dice_cross_entropy", "half_dice_half_cross_entropy"])
def test_dice_counts_over_the_batch(name: str) -> None:
    """An image without the class adds nothing of its own: two images are one of twice the size."""
    logits = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    label = torch.zeros(2, 4, 4, dtype=torch.uint8)
    label[0, :2] = 1
    wide = torch.cat(list(logits), dim=-1)[None], torch.cat(list(label), dim=-1)[None]
    assert value(name, logits, label) == pytest.approx(value(name, *wide), rel=1e-5)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("outputs", [1, 3, 5])
@pytest.mark.parametrize("scale", [1.0, 1e4])
@pytest.mark.parametrize("empty", [False, True])
def test_losses_and_gradients_are_finite(name: Any, outputs: int, scale: float, empty: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    logits = (torch.randn(2, outputs, 7, 9, generator=generator) * scale).requires_grad_()
    label = make_label(outputs) * (not empty)
    loss = create_loss(name)(logits, label)
    assert loss.shape == ()
    loss.backward()
    assert torch.isfinite(loss)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert float(logits.grad.abs().sum()) > 0


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("outputs", [1, 3])
def test_a_step_down_the_gradient_lowers_the_loss(name: Any, outputs: int) -> None:
    loss, label = create_loss(name), make_label(outputs)
    logits = torch.randn(2, outputs, 7, 9, generator=torch.Generator().manual_seed(1)).requires_grad_()
    before = loss(logits, label)
    (gradient,) = torch.autograd.grad(before, logits)
    assert float(loss(logits.detach() - gradient, label)) < float(before.detach())


def test_the_losses_differ() -> None:
    label = make_label(1)
    logits = torch.randn(2, 1, 7, 9, generator=torch.Generator().manual_seed(1))
    assert len({round(value(name, logits, label), 4) for name in LOSSES}) == len(LOSSES) == 4


WEIGHTS = (0.5, 1.0, 3.0)


def draw_three(scale: float = 1.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(2, 3, 6, 5, generator=generator) * scale
    return logits, torch.randint(3, (2, 6, 5), generator=generator).to(torch.uint8)


@pytest.mark.parametrize("name", LOSSES)
def test_equal_weights_of_the_classes_change_nothing(name: Any) -> None:
    logits, label = draw_three()
    assert float(create_loss(name, weights=(2.0, 2.0, 2.0))(logits, label)) == pytest.approx(
        value(name, logits, label), rel=1e-5
    )


def test_weighted_cross_entropy_is_torchs() -> None:
    logits, label = draw_three()
    wanted = torch.nn.functional.cross_entropy(logits, label.long(), weight=torch.tensor(WEIGHTS))
    assert float(create_loss("cross_entropy", weights=WEIGHTS)(logits, label)) == pytest.approx(
        float(wanted), rel=1e-6
    )


def test_a_weight_of_binary_cross_entropy_repeats_its_pixels() -> None:
    """A lesion's pixel of weight 3 counts like three of them."""
    weighted = create_loss("cross_entropy", weights=(1.0, 3.0))(binary(2, -1, 0.5), ids(1, 0, 0))
    repeated = value("cross_entropy", binary(2, 2, 2, -1, 0.5), ids(1, 1, 1, 0, 0))
    assert float(weighted) == pytest.approx(repeated, rel=1e-6)


@pytest.mark.parametrize("name", ["cross_entropy", "focal"])
def test_a_weight_repeats_the_pixels_of_its_class(name: Any) -> None:
    logits = torch.randn(1, 3, 1, 3, generator=torch.Generator().manual_seed(2))
    picked = torch.tensor([0, 1, 1, 2, 2, 2])
    weighted = create_loss(name, weights=(1.0, 2.0, 3.0))(logits, ids(0, 1, 2))
    assert float(weighted) == pytest.approx(value(name, logits[..., picked], ids(0, 1, 1, 2, 2, 2)), rel=1e-6)


def test_the_dice_term_is_weighted_by_class() -> None:
    """Its foreground classes here, all classes in the other loss; the background's own weight is left out."""
    logits, label = draw_three()
    chance = logits.softmax(1)
    target = torch.nn.functional.one_hot(label.long(), 3).movedim(-1, 1)
    common, total = (chance * target).sum((0, 2, 3)), (chance + target).sum((0, 2, 3))
    missed = [float(one) for one in 1 - 2 * common / total]
    entropy = float(create_loss("cross_entropy", weights=WEIGHTS)(logits, label))
    loss = float(create_loss("dice_cross_entropy", weights=WEIGHTS)(logits, label))
    assert loss == pytest.approx(entropy + (missed[1] + 3 * missed[2]) / 4, rel=1e-4)
    loss = float(create_loss("half_dice_half_cross_entropy", weights=WEIGHTS)(logits, label))
    dice = (0.5 * missed[0] + missed[1] + 3 * missed[2]) / 4.5
    assert loss == pytest.approx(0.5 * entropy + 0.5 * dice, rel=1e-4)


@pytest.mark.parametrize("name", LOSSES)
def test_undecided_pixels_have_no_weight(name: Any) -> None:
    logits, label = draw_three()
    wanted = create_loss(name, weights=WEIGHTS)(logits[..., :3], label[..., :3])
    label[..., 3:] = 255
    found = create_loss(name, weights=WEIGHTS, ignore=True)(logits, label)
    assert float(found) == pytest.approx(float(wanted), rel=1e-5)
