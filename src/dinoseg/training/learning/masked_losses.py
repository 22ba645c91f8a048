"""The losses where labels hold pixels that nobody decided: those count for nothing.

Each is the function of `losses` on the other pixels; where there are none, it is 0. They are written out
because MONAI's masks multiply logits, and a logit of 0 is no absence.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from dinoseg.config import LossName
from dinoseg.data.case import IGNORE_ID

_GAMMA = 2.0
_SMOOTH = 1e-5  # of the Dice term, as in MONAI


def create_masked_loss(name: LossName) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss `name` on the pixels that are not `IGNORE_ID`.

    Returns:
        A function of logits (B, K, H, W) and ids (B, H, W), uint8, giving a scalar.
    """

    def loss(logits: Tensor, label: Tensor) -> Tensor:
        keep = label != IGNORE_ID
        if not keep.any():
            return 0.0 * logits.sum()  # a gradient of 0 for every parameter
        pixels = _Pixels(logits.movedim(1, -1)[keep], label[keep].long())  # (B, K, H, W) -> (N, K)
        if name == "cross_entropy":
            return pixels.cross_entropy().mean()
        if name == "focal":
            return pixels.focal().mean()
        if name == "dice_cross_entropy":
            return pixels.cross_entropy().mean() + pixels.dice(background=False)
        return 0.5 * pixels.cross_entropy().mean() + 0.5 * pixels.dice(background=True)

    return loss


class _Pixels:
    """Decided pixels in a row: logits (N, K) and ids (N,)."""

    def __init__(self, logits: Tensor, ids: Tensor) -> None:
        self.logits = logits
        self.ids = ids

    def cross_entropy(self) -> Tensor:
        """(N,); binary where there is one channel."""
        if self.logits.shape[1] == 1:
            return F.binary_cross_entropy_with_logits(
                self.logits[:, 0], self.ids.to(self.logits.dtype), reduction="none"
            )
        return F.cross_entropy(self.logits, self.ids, reduction="none")

    def focal(self) -> Tensor:
        """(N,) where there is one channel, else (N, K): one term per class, as in MONAI."""
        if self.logits.shape[1] == 1:
            plain = self.cross_entropy()
            return (1 - torch.exp(-plain)) ** _GAMMA * plain
        chosen = F.one_hot(self.ids, self.logits.shape[1]).to(self.logits.dtype)
        log = self.logits.log_softmax(dim=1)
        return -((1 - log.exp()) ** _GAMMA) * log * chosen

    def dice(self, *, background: bool) -> Tensor:
        """1 - Dice, mean over classes, of all pixels together."""
        probabilities, target = self._probabilities()
        if not background:
            probabilities, target = probabilities[:, 1:], target[:, 1:]
        common = (probabilities * target).sum(dim=0)
        total = probabilities.sum(dim=0) + target.sum(dim=0)
        return (1 - (2 * common + _SMOOTH) / (total + _SMOOTH)).mean()

    def _probabilities(self) -> tuple[Tensor, Tensor]:
        """Probabilities and one-hot ids (N, classes), background first."""
        logits = self.logits
        if logits.shape[1] == 1:  # a softmax over (0, x) is the sigmoid of x
            logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
        probabilities = logits.softmax(dim=1)
        return probabilities, F.one_hot(self.ids, logits.shape[1]).to(probabilities.dtype)
