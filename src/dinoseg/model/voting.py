"""Masks computed where the tensors are: one vote for each decoder and each symmetry, averaged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dinoseg.backbones.features import Features
from dinoseg.errors import DinosegError, RunError
from dinoseg.methods.blocks.resizing import resize
from dinoseg.model.confidence import Tally
from dinoseg.model.decision import decide
from dinoseg.model.network import Answer, decision_of
from dinoseg.model.settings import ModelSettings
from dinoseg.model.symmetries import SYMMETRIES, Symmetry


class Voting(nn.Module):
    """Answers of one backbone with one decoder or several; see `network.Answering`.

    What is built on it says how it is set (`settings`) and where it is (`device`), and what its backbone
    and decoders give (`look`, `decide`).
    """

    settings: ModelSettings

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        raise NotImplementedError

    @property
    def decoders(self) -> int:
        """How many there are."""
        return 1

    def look(self, pixels: Tensor) -> Features:
        """Normalised pixels (B, 3, H, W) as the features that all decoders share."""
        raise NotImplementedError

    def decide(self, features: Features, pixels: Tensor, spacing: float | None = None) -> list[Tensor]:
        """Logits (B, K, h, w) of each decoder; of slices that are `spacing` mm apart, if it is known."""
        raise NotImplementedError

    @torch.inference_mode()
    def answer(
        self,
        pixels: NDArray[np.float32],
        sizes: Sequence[tuple[int, int]],
        *,
        symmetries: int = 1,
        probabilities: bool = False,
        spacing: float | None = None,
    ) -> list[Answer]:
        """Masks of arrays, computed on the model's device; see `network.Answering`.

        Raises:
            RunError: the logits are not finite.
            DinosegError: the accelerator's memory is too small.
        """
        self.eval()
        with self.explaining(len(pixels)):
            given = torch.from_numpy(pixels).to(self.device)
            features = self.look(given)
            votes = self._vote(given, features, symmetries=symmetries, spacing=spacing)
            pooled = features.levels[-1].mean(dim=(2, 3)).cpu().numpy()  # (B, C, h, w) -> (B, C)
            return [
                self.conclude(
                    [vote[index : index + 1] for vote in votes],
                    size,
                    probabilities=probabilities,
                    embedding=pooled[index],
                )
                for index, size in enumerate(sizes)
            ]

    def probabilities(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        """Class probabilities (B, classes, *size), background first, from logits of any size."""
        logits = resize(logits.float(), size)
        if logits.shape[1] > 1:
            return logits.softmax(dim=1)
        foreground = logits.sigmoid()
        return torch.cat([1 - foreground, foreground], dim=1)

    def mask(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        """Class ids (B, *size), uint8: the most probable class of every pixel of the native grid."""
        logits = resize(logits.float(), size)
        # Ten times as fast as argmax on a processor; of equal ones both take the first.
        ids = logits.max(dim=1).indices if logits.shape[1] > 1 else logits[:, 0] > 0
        return ids.to(torch.uint8)

    @contextmanager
    def explaining(self, batch_size: int) -> Iterator[None]:
        """Say in one line that the accelerator's memory is too small, and what to do."""
        try:
            yield
        except torch.OutOfMemoryError as error:
            raise DinosegError(
                f"the memory of {self.device} is too small for {batch_size} images or windows at once; "
                "choose fewer with --batch-size, or a smaller --window"
            ) from error

    def _vote(
        self, pixels: Tensor, features: Features, *, symmetries: int, spacing: float | None
    ) -> list[Tensor]:
        """Logits (B, K, H, W) of the pixels as they are, then under each symmetry, turned back."""
        votes = self.decide(features, pixels, spacing)
        for symmetry in SYMMETRIES[1:symmetries]:
            turned = turn(pixels, symmetry)
            votes += [turn_back(vote, symmetry) for vote in self.decide(self.look(turned), turned, spacing)]
        if not all(bool(vote.isfinite().all()) for vote in votes):
            raise RunError(
                "the model's output holds NaN or infinity; its weights are damaged, train it again"
            )
        return votes

    def conclude(
        self,
        votes: Sequence[Tensor],
        size: tuple[int, int],
        *,
        probabilities: bool,
        embedding: NDArray[np.float32] | None = None,
    ) -> Answer:
        """The answer for one image of this size; `votes` are logits (1, K, H, W)."""
        decision = decision_of(self.settings)
        single = len(votes) == 1 and decision == "probable"
        scores = None if single and not probabilities else self._average(votes, size)[0]
        if single or scores is None:
            # Straight from the logits, whether or not probabilities are kept: one answer either way.
            mask = self.mask(votes[0], size)[0].cpu().numpy()
        elif decision == "probable":
            mask = scores.max(dim=0).indices.to(torch.uint8).cpu().numpy()
        else:
            mask = decide(scores.cpu().numpy(), decision)
        kept = scores.cpu().numpy() if probabilities and scores is not None else None
        return Answer(mask, kept, self._tally(votes), embedding)

    def _tally(self, votes: Sequence[Tensor]) -> Tally:
        """Sum of what each decoder says by itself: confidence is calibrated on single ones, also of folds."""
        each = [self._tally_one(votes[index :: self.decoders]) for index in range(self.decoders)]
        return sum(each[1:], each[0])

    def _tally_one(self, votes: Sequence[Tensor]) -> Tally:
        height, width = votes[0].shape[-2:]
        scores = self._average(votes, (height, width))[0].flatten(1)  # (K, pixels)
        best, ids = scores.max(dim=0)
        classes = len(scores)
        sums = torch.bincount(ids, minlength=classes), scores.sum(dim=1)
        agreed = torch.bincount(ids, weights=best, minlength=classes)
        return Tally(*(each.double().cpu().numpy() for each in (*sums, agreed)))

    def _average(self, votes: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        total = self.probabilities(votes[0], size)
        for vote in votes[1:]:
            total = total + self.probabilities(vote, size)
        return total / len(votes)


def turn(maps: Tensor, symmetry: Symmetry) -> Tensor:
    """(…, H, W) under a symmetry: (…, W, H) where it is transposed."""
    laid = maps.transpose(-2, -1) if symmetry.transposed else maps
    return laid.flip(symmetry.mirrored).contiguous()


def turn_back(maps: Tensor, symmetry: Symmetry) -> Tensor:
    """What `turn` was given, from what it gave."""
    laid = maps.flip(symmetry.mirrored)
    return laid.transpose(-2, -1).contiguous() if symmetry.transposed else laid
