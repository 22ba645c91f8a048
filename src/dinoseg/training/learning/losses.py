"""Losses on logits (B, K, H, W) and class ids (B, H, W); Dice and focal terms are MONAI's."""

from __future__ import annotations

from collections.abc import Callable

import torch
from monai.losses.dice import DiceLoss
from monai.losses.focal_loss import FocalLoss
from torch import Tensor
from torch.nn import functional as F

from dinoseg.config import LossName
from dinoseg.training.learning.masked_losses import create_masked_loss

Loss = Callable[[Tensor, Tensor], Tensor]


def create_loss(name: LossName, outputs: int, *, ignore: bool = False) -> Loss:
    """The loss of a training run.

    Args:
        name: "cross_entropy" (binary where `outputs` is 1); "dice_cross_entropy" (its sum with
            a Dice term over the foreground classes of the whole batch, as in nnU-Net);
            "half_dice_half_cross_entropy" (half of it and half of a Dice term over all classes
            of the whole batch, background included, as in DINO-AugSeg); "focal" (gamma 2).
        outputs: K, channels of the logits.
        ignore: the labels hold `IGNORE_ID` where nobody decided: these pixels count for nothing.

    Returns:
        A function of logits (B, K, H, W) and ids (B, H, W), uint8, giving a scalar.
    """
    if ignore:
        return create_masked_loss(name)
    if name == "focal":
        return _focal(outputs)
    if name == "cross_entropy":
        return cross_entropy
    return _dice_cross_entropy(outputs) if name == "dice_cross_entropy" else _half_dice_half_cross_entropy()


def cross_entropy(logits: Tensor, label: Tensor) -> Tensor:
    """Mean cross-entropy over pixels; binary where there is one channel."""
    if logits.shape[1] == 1:
        # Squeezed, not indexed: the gradient of an index is a copy into zeros.
        return F.binary_cross_entropy_with_logits(logits.squeeze(1), label.to(logits.dtype))
    return F.cross_entropy(logits, label.long())


def _dice_cross_entropy(outputs: int) -> Loss:
    # Over the batch: a single image without the class would otherwise give a Dice term of pure noise.
    if outputs == 1:
        dice = DiceLoss(sigmoid=True, batch=True)
    else:
        dice = DiceLoss(softmax=True, to_onehot_y=True, include_background=False, batch=True)

    def loss(logits: Tensor, label: Tensor) -> Tensor:
        total: Tensor = cross_entropy(logits, label) + dice(logits, label.unsqueeze(1).to(torch.int64))
        return total

    return loss


def _half_dice_half_cross_entropy() -> Loss:
    dice = DiceLoss(softmax=True, to_onehot_y=True, batch=True)

    def loss(logits: Tensor, label: Tensor) -> Tensor:
        classes = logits
        if logits.shape[1] == 1:
            # The published form has a channel for the background as well; a softmax over (0, x) is the
            # sigmoid of x, so that this is the same function of the probabilities.
            classes = torch.cat([torch.zeros_like(logits), logits], dim=1)
        overlap: Tensor = dice(classes, label.unsqueeze(1).to(torch.int64))
        return 0.5 * cross_entropy(logits, label) + 0.5 * overlap

    return loss


def _focal(outputs: int) -> Loss:
    focal = FocalLoss(gamma=2.0, to_onehot_y=outputs > 1, use_softmax=outputs > 1)

    def loss(logits: Tensor, label: Tensor) -> Tensor:
        value: Tensor = focal(logits, label.unsqueeze(1).to(torch.int64))
        return value

    return loss
