"""Losses on logits (B, K, H, W) and class ids (B, H, W).

Each is a function of pixels in whatever arrangement: (N, K) and (N,) for pixels in a row will do, which is
how those that nobody decided are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from dinoseg.config import LossName
from dinoseg.data.case import IGNORE_ID

Loss = Callable[[Tensor, Tensor], Tensor]
Weights = tuple[float, ...] | None
GAMMA = 2.0  # of the focal loss
SMOOTH = 1e-5  # of the Dice term: a class that is nowhere, and nowhere predicted, costs nothing


def create_loss(name: LossName, *, weights: Weights = None, ignore: bool = False) -> Loss:
    """The loss of a training run.

    Args:
        name: "cross_entropy" (binary where there is one channel); "dice_cross_entropy" (its sum with
            a Dice term over the foreground classes of the whole batch, as in nnU-Net);
            "half_dice_half_cross_entropy" (half of it and half of a Dice term over all classes
            of the whole batch, background included, as in DINO-AugSeg); "focal" (gamma 2).
        weights: of the classes, background first, above 0. Means over pixels, of cross-entropy and focal
            loss, become means weighted by the class that the label has; the mean over the classes of the
            Dice term one weighted by the class.
        ignore: the labels hold `IGNORE_ID` where nobody decided: these pixels count for nothing.

    Returns:
        A function of logits (B, K, H, W) and ids (B, H, W), uint8, giving a scalar.
    """
    loss = LOSSES[name] if weights is None else partial(LOSSES[name], weights=weights)
    return partial(_on_decided, loss) if ignore else loss


def cross_entropy(logits: Tensor, label: Tensor, weights: Weights = None) -> Tensor:
    """Mean cross-entropy over pixels; binary where there is one channel."""
    if weights is None:
        return _cross_entropy(logits, label, reduction="mean")
    return _mean_over_pixels(_cross_entropy(logits, label, reduction="none"), label, weights)


def dice_cross_entropy(logits: Tensor, label: Tensor, weights: Weights = None) -> Tensor:
    """Cross-entropy and the Dice term of the foreground."""
    return cross_entropy(logits, label, weights) + _dice_term(logits, label, weights, background=False)


def half_dice_half_cross_entropy(logits: Tensor, label: Tensor, weights: Weights = None) -> Tensor:
    """Half of the cross-entropy and half of the Dice term of all classes."""
    dice = _dice_term(logits, label, weights, background=True)
    return 0.5 * cross_entropy(logits, label, weights) + 0.5 * dice


def focal(logits: Tensor, label: Tensor, weights: Weights = None) -> Tensor:
    """Focal loss: mean over pixels, and over the classes as well where there are several channels."""
    plain = _cross_entropy(logits, label, reduction="none")
    pixels = (1 - torch.exp(-plain)) ** GAMMA * plain
    mean = pixels.mean() if weights is None else _mean_over_pixels(pixels, label, weights)
    return mean / logits.shape[1]


LOSSES: Mapping[str, Callable[..., Tensor]] = {
    "cross_entropy": cross_entropy,
    "dice_cross_entropy": dice_cross_entropy,
    "half_dice_half_cross_entropy": half_dice_half_cross_entropy,
    "focal": focal,
}


def _mean_over_pixels(values: Tensor, label: Tensor, weights: tuple[float, ...]) -> Tensor:
    """Mean of the pixels' values (…), each weighted by the class of its label."""
    of_pixels = values.new_tensor(weights)[label.long()]
    return (values * of_pixels).sum() / of_pixels.sum()


def _on_decided(loss: Loss, logits: Tensor, label: Tensor) -> Tensor:
    """The loss of the pixels that are not `IGNORE_ID`; 0 where there are none."""
    keep = label != IGNORE_ID
    if not keep.any():
        return 0.0 * logits.sum()  # a gradient of 0 for every parameter
    return loss(logits.movedim(1, -1)[keep], label[keep])  # (B, K, H, W) -> (N, K)


def _cross_entropy(logits: Tensor, label: Tensor, *, reduction: str) -> Tensor:
    if logits.shape[1] == 1:
        # Squeezed, not indexed: the gradient of an index is a copy into zeros.
        target = label.to(logits.dtype)
        return F.binary_cross_entropy_with_logits(logits.squeeze(1), target, reduction=reduction)
    return F.cross_entropy(logits, label.long(), reduction=reduction)


def _dice_term(logits: Tensor, label: Tensor, weights: Weights, *, background: bool) -> Tensor:
    """1 - Dice of the probabilities, mean over classes, weighted where there are weights.

    Over the batch: a single image without the class would otherwise give a term of pure noise.
    """
    chance, target = _compare(logits, label, background=background)
    pixels = [axis for axis in range(chance.ndim) if axis != 1]
    common = (chance * target).sum(pixels)
    total = chance.sum(pixels) + target.sum(pixels)
    missed = 1 - (2 * common + SMOOTH) / (total + SMOOTH)
    if weights is None:
        return missed.mean()
    of_classes = missed.new_tensor(weights if background else weights[1:])
    return (missed * of_classes).sum() / of_classes.sum()


def _compare(logits: Tensor, label: Tensor, *, background: bool) -> tuple[Tensor, Tensor]:
    """Probabilities and what they should be, a channel per class, the background's first if wanted."""
    if logits.shape[1] == 1 and not background:
        return logits.sigmoid(), label.unsqueeze(1).to(logits.dtype)
    if logits.shape[1] == 1:  # a softmax over (0, x) is the sigmoid of x
        logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
    chance = logits.softmax(dim=1)
    target = torch.zeros_like(chance).scatter_(1, label.long().unsqueeze(1), 1.0)
    return (chance, target) if background else (chance[:, 1:], target[:, 1:])
