"""`SharedBackbone`: several decoders behind one frozen backbone, which looks at an image once for all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dinoseg.backbones.features import Features
from dinoseg.config import PostprocessingSettings
from dinoseg.model.segmenter import Segmenter
from dinoseg.model.voting import Voting

_TINY = 1e-7  # least probability whose logarithm is taken


class SharedBackbone(Voting):
    """Models with the same backbone and preprocessing, whose class probabilities are averaged.

    Attributes:
        members: two or more.
        settings: those of the first member.
    """

    def __init__(self, members: Sequence[Segmenter]) -> None:
        super().__init__()
        self.members = tuple(members)
        self.settings = members[0].settings
        self._modules_of_members = torch.nn.ModuleList(members)  # so that .to() and .eval() reach them
        self.postprocessing: PostprocessingSettings | None = None
        self.run: Path | None = None

    @property
    def first(self) -> Segmenter:
        """The member whose backbone looks for all."""
        return self.members[0]

    @property
    def mean(self) -> tuple[float, ...]:
        """What is subtracted of R, G and B in 0..1."""
        return self.first.mean

    @property
    def std(self) -> tuple[float, ...]:
        """What R, G and B are then divided by."""
        return self.first.std

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.first.device

    @property
    def decoders(self) -> int:
        """How many there are."""
        return len(self.members)

    def look(self, pixels: Tensor) -> Features:
        """What the backbone makes of normalised pixels."""
        return self.first.look(pixels)

    def decide(self, features: Features, pixels: Tensor, spacing: float | None = None) -> list[Tensor]:
        """Logits of each member."""
        return [vote for member in self.members for vote in member.decide(features, pixels, spacing)]

    @torch.inference_mode()
    def logits(self, pixels: NDArray[np.float32], *, spacing: float | None = None) -> NDArray[np.float32]:
        """Log-odds of the averaged probabilities of arrays, as `Network` asks for them."""
        self.eval()
        with self.explaining(len(pixels)):
            given = torch.from_numpy(pixels).to(self.device)
            votes = self._vote(given, self.look(given), symmetries=1, spacing=spacing)
            size = (int(pixels.shape[-2]), int(pixels.shape[-1]))
            scores = self._average(votes, size).clamp(_TINY, 1 - _TINY)
            binary = self.settings.outputs == 1
            found: NDArray[np.float32] = (scores[:, 1:].logit() if binary else scores.log()).cpu().numpy()
            return found

    def describe(self) -> dict[str, Any]:
        """That of the first member: an ensemble describes all."""
        return self.first.describe()
