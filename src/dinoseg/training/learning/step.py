"""One step of learning, as Lightning and the loop without it take it: which batches, loss and update."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from dinoseg.config import TrainSettings, list_weights
from dinoseg.model.segmenter import Segmenter
from dinoseg.training.features.bank import Batch, Batches, ViewBank
from dinoseg.training.features.epochs import draw_epoch
from dinoseg.training.learning.feature_augmentation import augment_features
from dinoseg.training.learning.losses import create_loss
from dinoseg.training.learning.optimisation import create_optimizer, create_schedule


class Step:
    """What happens to the decoder of a model at every step.

    Args:
        model: its decoder learns.
        settings: how.
        bank: what it learns from.
    """

    def __init__(self, model: Segmenter, settings: TrainSettings, bank: ViewBank) -> None:
        self.decoder = model.decoder
        self.settings = settings
        self._bank = bank
        self._for_volumes = model.settings.preprocessing.for_volumes
        weights = list_weights(settings.class_weights, model.classes)
        self._loss = create_loss(settings.loss, weights=weights, ignore=bank.ignores)

    def seed_epoch(self, epoch: int) -> None:
        """Seed what a decoder may draw while training, such as DropPath."""
        torch.manual_seed(self.settings.seed * 1_000_003 + epoch)

    def draw_batches(self, epoch: int, *, process: int = 0, processes: int = 1) -> Batches:
        """The batches of an epoch, in order; one process's share where several share it."""
        settings, steps = self.settings, self.settings.steps_per_epoch
        samples = draw_epoch(
            self._bank,
            count=None if steps is None else steps * settings.batch_size * processes,
            min_samples=settings.min_epoch_samples,
            foreground_share=settings.foreground_share if self._for_volumes else 0.0,
            seed=settings.seed,
            epoch=epoch,
        )
        share = len(samples) // processes if processes > 1 else len(samples)
        return Batches(self._bank, samples[process::processes][:share], settings.batch_size)

    def create_optimizer(self, steps: int) -> tuple[Optimizer, LambdaLR]:
        """The optimiser, and its rate, which is to move on after every step; `steps` are an epoch."""
        optimizer = create_optimizer(self.decoder.parameters(), self.settings)
        return optimizer, LambdaLR(optimizer, create_schedule(self.settings, steps))

    def train_loss(self, batch: Batch, *, epoch: int, index: int, process: int = 0) -> Tensor:
        """Loss of one batch at the training size, with features as they are augmented there."""
        features = augment_features(batch.features, self.settings, epoch=epoch, step=index, process=process)
        return self.judge(self.decoder.decode_all(features, batch.pixels), batch.label)

    def judge(self, scales: Sequence[Tensor], label: Tensor) -> Tensor:
        """Loss over the scales of deep supervision: each counts half of the next finer one."""
        weights = [0.5**n for n in range(len(scales))]
        losses = [
            weight * self.loss(logits, label[:, :: 2**n, :: 2**n])
            for n, (weight, logits) in enumerate(zip(weights, scales, strict=True))
        ]
        return torch.stack(losses).sum() / sum(weights)

    def loss(self, logits: Tensor, label: Tensor) -> Tensor:
        """Loss of logits (B, K, H, W) and ids (B, H, W), a scalar."""
        return self._loss(logits, label)

    def clip_gradients(self) -> None:
        """Scale a gradient down that is larger than the settings allow."""
        if self.settings.gradient_clip is not None:
            torch.nn.utils.clip_grad_norm_(self.decoder.parameters(), self.settings.gradient_clip)
