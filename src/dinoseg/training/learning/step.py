"""One step of learning, as Lightning and the loop without it take it: which batches, loss and update."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from dinoseg.config import TrainSettings, list_weights
from dinoseg.errors import UsageError
from dinoseg.model.segmenter import Segmenter
from dinoseg.processes import ALONE, Processes
from dinoseg.training.features.bank import Batch, ViewBank
from dinoseg.training.features.epochs import Batches, draw_epoch
from dinoseg.training.learning.feature_augmentation import augment_features
from dinoseg.training.learning.losses import create_loss
from dinoseg.training.learning.optimisation import create_optimizer, create_schedule


class Step:
    """What happens to the decoder of a model at every step.

    Args:
        model: its decoder learns.
        settings: how.
        bank: what it learns from.
        processes: that share each batch.

    Raises:
        UsageError: a batch is too small for each of them to have a part of it.
    """

    def __init__(
        self, model: Segmenter, settings: TrainSettings, bank: ViewBank, processes: Processes = ALONE
    ) -> None:
        if settings.batch_size < processes.count:
            raise UsageError(
                f"train.batch_size is {settings.batch_size}, and {processes.count} processes share each "
                f"batch; raise it with --batch-size {processes.count}, or lower --devices"
            )
        self.decoder = model.decoder
        self.settings = settings
        self.processes = processes
        self._counts = True  # whether this process's part of the batch is one, and no stand-in
        self._bank = bank
        self._for_volumes = model.settings.preprocessing.for_volumes
        weights = list_weights(settings.class_weights, model.classes)
        create = partial(create_loss, settings.loss, weights=weights, ignore=bank.ignores)
        self._loss = create()
        self._shared_loss = self._loss if processes.count == 1 else create(across=self._sum)

    def seed_epoch(self, epoch: int) -> None:
        """Seed what a decoder may draw while training, such as DropPath."""
        torch.manual_seed(self.settings.seed * 1_000_003 + epoch)

    def draw_batches(self, epoch: int) -> Batches:
        """The batches of an epoch, in order; of each this process's part, where several share them."""
        settings, steps = self.settings, self.settings.steps_per_epoch
        samples = draw_epoch(
            self._bank,
            count=None if steps is None else steps * settings.batch_size,
            min_samples=settings.min_epoch_samples,
            foreground_share=settings.foreground_share if self._for_volumes else 0.0,
            seed=settings.seed,
            epoch=epoch,
        )
        return Batches(self._bank, samples, settings.batch_size, self.processes)

    def create_optimizer(self, steps: int) -> tuple[Optimizer, LambdaLR]:
        """The optimiser, and its rate, which is to move on after every step; `steps` are an epoch."""
        optimizer = create_optimizer(self.decoder.parameters(), self.settings)
        return optimizer, LambdaLR(optimizer, create_schedule(self.settings, steps))

    def train_loss(self, batch: Batch, *, epoch: int, index: int) -> Tensor:
        """Loss of one batch at the training size, with features as they are augmented there."""
        features = augment_features(
            batch.features, self.settings, epoch=epoch, step=index, process=self.processes.rank
        )
        self._counts = batch.counts
        return self.judge(self.decoder.decode_all(features, batch.pixels), batch.label)

    def judge(self, scales: Sequence[Tensor], label: Tensor) -> Tensor:
        """Loss over the scales of deep supervision: each counts half of the next finer one."""
        weights = [0.5**n for n in range(len(scales))]
        losses = [
            weight * self._shared_loss(logits, label[:, :: 2**n, :: 2**n])
            for n, (weight, logits) in enumerate(zip(weights, scales, strict=True))
        ]
        return torch.stack(losses).sum() / sum(weights)

    def loss(self, logits: Tensor, label: Tensor) -> Tensor:
        """Loss of logits (B, K, H, W) and ids (B, H, W), a scalar; of this process's part alone."""
        return self._loss(logits, label)

    def _sum(self, part: Tensor) -> Tensor:
        return self.processes.total(part if self._counts else 0.0 * part)

    def clip_gradients(self) -> None:
        """Scale a gradient down that is larger than the settings allow."""
        if self.settings.gradient_clip is not None:
            torch.nn.utils.clip_grad_norm_(self.decoder.parameters(), self.settings.gradient_clip)
