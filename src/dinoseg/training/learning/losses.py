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
Sum = Callable[[Tensor], Tensor] | None  # over the processes that share a batch
GAMMA = 2.0  # of the focal loss
SMOOTH = 1e-5  # of the Dice term: a class that is nowhere, and nowhere predicted, costs nothing


def create_loss(name: LossName, *, weights: Weights = None, ignore: bool = False, across: Sum = None) -> Loss:
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
        across: sums a tensor over the processes that share a batch: the loss is then that of the whole
            batch, the same in each.

    Returns:
        A function of logits (B, K, H, W) and ids (B, H, W), uint8, giving a scalar.
    """
    loss: Loss = LOSSES[name]
    if weights is not None or across is not None:
        loss = partial(LOSSES[name], weights=weights, across=across)
    return partial(_on_decided, loss, alone=across is None) if ignore else loss


def cross_entropy(logits: Tensor, label: Tensor, weights: Weights = None, across: Sum = None) -> Tensor:
    """Mean cross-entropy over pixels; binary where there is one channel."""
    if weights is None and across is None:
        return _cross_entropy(logits, label, reduction="mean")
    return _mean_over_pixels(_cross_entropy(logits, label, reduction="none"), label, weights, across)


def dice_cross_entropy(logits: Tensor, label: Tensor, weights: Weights = None, across: Sum = None) -> Tensor:
    """Cross-entropy and the Dice term of the foreground."""
    dice = _dice_term(logits, label, weights, across, background=False)
    return cross_entropy(logits, label, weights, across) + dice


def half_dice_half_cross_entropy(
    logits: Tensor, label: Tensor, weights: Weights = None, across: Sum = None
) -> Tensor:
    """Half of the cross-entropy and half of the Dice term of all classes."""
    dice = _dice_term(logits, label, weights, across, background=True)
    return 0.5 * cross_entropy(logits, label, weights, across) + 0.5 * dice


def focal(logits: Tensor, label: Tensor, weights: Weights = None, across: Sum = None) -> Tensor:
    """Focal loss: mean over pixels, and over the classes as well where there are several channels."""
    plain = _cross_entropy(logits, label, reduction="none")
    pixels = (1 - torch.exp(-plain)) ** GAMMA * plain
    alone = weights is None and across is None
    mean = pixels.mean() if alone else _mean_over_pixels(pixels, label, weights, across)
    return mean / logits.shape[1]


LOSSES: Mapping[str, Callable[..., Tensor]] = {
    "cross_entropy": cross_entropy,
    "dice_cross_entropy": dice_cross_entropy,
    "half_dice_half_cross_entropy": half_dice_half_cross_entropy,
    "focal": focal,
}


def _mean_over_pixels(values: Tensor, label: Tensor, weights: Weights, across: Sum) -> Tensor:
    """Mean of the pixels' values (…), each weighted by the class of its label where there are weights."""
    if weights is None:  # of a channel or several: (B, H, W) or (B, K, H, W)
        total, count = values.sum(), values.new_tensor(float(values.numel()))
    else:
        of_pixels = values.new_tensor(weights)[label.long()]
        total, count = (values * of_pixels).sum(), of_pixels.sum()
    if across is None:
        return total / count
    # 0 where nobody decided a pixel in any process's part of the batch
    return across(total) / across(count).clamp(min=torch.finfo(total.dtype).tiny)


def _on_decided(loss: Loss, logits: Tensor, label: Tensor, *, alone: bool) -> Tensor:
    """The loss of the pixels that are not `IGNORE_ID`; 0 where there are none."""
    keep = label != IGNORE_ID
    if alone and not keep.any():
        return 0.0 * logits.sum()  # a gradient of 0 for every parameter
    return loss(logits.movedim(1, -1)[keep], label[keep])  # (B, K, H, W) -> (N, K)


def _cross_entropy(logits: Tensor, label: Tensor, *, reduction: str) -> Tensor:
    if logits.shape[1] == 1:
        # Squeezed, not indexed: the gradient of an index is a copy into zeros.
        target = label.to(logits.dtype)
        return F.binary_cross_entropy_with_logits(logits.squeeze(1), target, reduction=reduction)
    return F.cross_entropy(logits, label.long(), reduction=reduction)


def _dice_term(logits: Tensor, label: Tensor, weights: Weights, across: Sum, *, background: bool) -> Tensor:
    """1 - Dice of the probabilities, mean over classes, weighted where there are weights.

    Over the batch: a single image without the class would otherwise give a term of pure noise.
    """
    chance, target = _compare(logits, label, background=background)
    pixels = [axis for axis in range(chance.ndim) if axis != 1]
    common = (chance * target).sum(pixels)
    total = chance.sum(pixels) + target.sum(pixels)
    if across is not None:
        common, total = across(common), across(total)
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
