"""Learning step by step, with no run folder and no Lightning: for teaching a model while looking on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from dinoseg.config import TrainSettings
from dinoseg.model.segmenter import Segmenter
from dinoseg.training.features.bank import Batch, ViewBank
from dinoseg.training.learning.guards import isolated
from dinoseg.training.learning.step import Step


@dataclass(frozen=True)
class Taken:
    """A step that was taken.

    Attributes:
        epoch: from 0.
        index: number of the batch within the epoch, from 0.
        positions: images or slices of the bank that were seen.
        loss: of the batch, before the step.
    """

    epoch: int
    index: int
    positions: tuple[int, ...]
    loss: float


class Loop:
    """The steps of a training, one at a time: batches, losses and weights are those of the trainer.

    Between the steps the decoder is in eval mode, ready to predict, and the process is as it was.

    Args:
        model: its decoder learns, in place.
        settings: of the training; its validation, checkpoints and patience are nobody's here.
        bank: what is learned from; features that are not there yet are computed when they are needed.
    """

    def __init__(self, model: Segmenter, settings: TrainSettings, bank: ViewBank) -> None:
        self._model = model
        self._settings = settings
        self._step = Step(model, settings, bank)
        self._optimizer, self._schedule = self._step.create_optimizer(len(self._step.draw_batches(0)))
        self._random: tuple[torch.Tensor, list[torch.Tensor]] | None = None

    def steps(self) -> Iterator[Taken]:
        """Take the steps of all epochs, each when it is asked for; to be stopped at any time.

        Raises:
            DataError: an image of a batch cannot be read.
        """
        for epoch in range(self._settings.epochs):
            for index, batch in enumerate(self._step.draw_batches(epoch)):
                with self._own_state(epoch if index == 0 else None):
                    loss = self._take(batch, epoch, index)
                yield Taken(epoch, index, batch.positions, loss)

    def _take(self, batch: Batch, epoch: int, index: int) -> float:
        device = self._model.device
        batch = batch if device.type == "cpu" else batch.to(device)
        loss = self._step.train_loss(batch, epoch=epoch, index=index)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._step.clip_gradients()
        self._optimizer.step()
        self._schedule.step()
        return float(loss.detach())

    @contextmanager
    def _own_state(self, starting: int | None) -> Iterator[None]:
        """Train mode, torch's deterministic mode and random numbers of this loop, for the time of a step."""
        with isolated(self._model.device.type):
            if starting is not None:
                self._step.seed_epoch(starting)
            elif self._random is not None:
                torch.set_rng_state(self._random[0])
                torch.cuda.set_rng_state_all(self._random[1])
            self._model.decoder.train()
            try:
                yield
            finally:
                self._model.decoder.eval()
                self._random = torch.get_rng_state(), torch.cuda.get_rng_state_all()
