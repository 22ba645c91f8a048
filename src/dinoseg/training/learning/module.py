"""One step, one validation, one optimiser: the Lightning module of a training run."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from dinoseg.config import TrainSettings
from dinoseg.data.case import IGNORE_ID
from dinoseg.data.tensors.windows import Corner
from dinoseg.errors import RunError
from dinoseg.inference.windows import Blend
from dinoseg.model.decision import find_class
from dinoseg.model.segmenter import Segmenter
from dinoseg.processes import ALONE, Processes
from dinoseg.training.features.bank import Batch, ViewBank
from dinoseg.training.features.epochs import Batches
from dinoseg.training.learning.optimisation import set_rate
from dinoseg.training.learning.step import Step

_TARGET, _DECIDED = 2, 3  # places in the counts of a case


class DecoderTraining(LightningModule):
    """Trains the decoder of a Segmenter on remembered features.

    Checkpoints hold the decoder only. Every epoch draws its order, and seeds torch, from
    the run's seed and its own number, so that a resumed run repeats an uninterrupted one.
    """

    def __init__(
        self,
        model: Segmenter,
        settings: TrainSettings,
        train_bank: ViewBank,
        val_bank: ViewBank | None,
        processes: Processes = ALONE,
    ) -> None:
        super().__init__()
        self.decoder = model.decoder
        self._processes = processes
        self._step = Step(model, settings, train_bank, processes)
        self._model = (model,)  # in a tuple: not a submodule, so not in the checkpoint
        self._val_bank = val_bank
        self._learning: tuple[Optimizer, LambdaLR] | None = None
        self._train_losses: list[Tensor] = []
        self._seen = 0
        self._overlaps: dict[int, Tensor] = {}  # of every image or slice
        self._blend: Blend | None = None

    def train_dataloader(self) -> Batches:
        """The batches of the current epoch, this process's part of them."""
        return self._step.draw_batches(self.current_epoch)

    def val_dataloader(self) -> Batches | list[Any]:
        """All validation images, or slices of the validation volumes, or windows of them, as they are.

        Where processes share them, each has every other image or slice. Where there are too few, some have
        one that another has as well: it is counted once.
        """
        if self._val_bank is None:
            return []
        bank, size = self._val_bank, self._step.settings.batch_size
        own = set(self._processes.share(range(len(bank))) or [0])
        samples = [each for each in bank.list_samples() if each.position in own]
        return Batches(bank, samples if bank.slides else [each for each in samples if each.view == 0], size)

    def on_train_start(self) -> None:
        """Begin with the rate of the schedule: a checkpoint has that of a run of fewer epochs, perhaps."""
        if self._learning is not None:
            set_rate(*self._learning)

    def on_train_epoch_start(self) -> None:
        """Seed what a decoder may draw while training, such as DropPath."""
        self._step.seed_epoch(self.current_epoch)
        self._train_losses.clear()
        self._seen = 0

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """Loss of one batch at the training size."""
        loss = self._step.train_loss(batch, epoch=self.current_epoch, index=index)
        # Logged once an epoch: Lightning's bookkeeping of a logged step costs as much as a tenth of the step.
        self._train_losses.append(loss.detach() * batch.whole)
        self._seen += batch.whole
        if index + 1 == self.trainer.num_training_batches:
            mean = torch.stack(self._train_losses).sum() / self._seen
            if not mean.isfinite():
                raise RunError(
                    f"training diverged in epoch {self.current_epoch + 1}: the loss is {float(mean)}; "
                    "start anew with --overwrite and a lower rate, for example "
                    f"--set train.lr={self._step.settings.lr / 10:g}"
                )
            self.log("train_loss", mean, on_step=False, on_epoch=True, batch_size=1)
        return loss

    def validation_step(self, batch: Batch, index: int) -> None:
        """Loss at the training size, overlap of every case and class at native size."""
        logits = self.decoder(batch.features, batch.pixels)
        loss = self._step.loss(logits, batch.label)
        self.log("val_loss", loss, batch_size=len(batch.positions), sync_dist=self._processes.count > 1)
        for row, position in enumerate(batch.positions):
            one = logits[row : row + 1]
            if batch.corners is None:
                self._overlaps[position] = self._native_overlap(one, position)
            elif (mask := self._add_window(one, position, batch.corners[row])) is not None:
                self._overlaps[position] = self._count(mask, position)

    def on_validation_epoch_end(self) -> None:
        """Mean Dice over cases and foreground classes; of a volume it is that of all its slices together.

        None where no case shows a class: it would be 1 for a decoder that finds nothing.
        """
        overlaps = self._join_overlaps()
        if any(bool(case[:, _TARGET].any()) for case in overlaps):
            decided = torch.stack([case for case in overlaps if bool(case[:, _DECIDED].any())])
            self.log("val_dice", _dice(decided).mean())

    def _join_overlaps(self) -> list[Tensor]:
        """Those of all cases, whichever process saw them, in order; of a volume their sum."""
        found = {key: value for part in self._processes.gather(self._overlaps) for key, value in part.items()}
        self._overlaps = {}
        cases: dict[int, Tensor] = {}
        for position in sorted(found):
            subject = self._val_bank.subject(position)  # type: ignore[union-attr]
            overlap = found[position].to(self.device)
            cases[subject] = cases[subject] + overlap if subject in cases else overlap
        return list(cases.values())

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Optimiser and schedule of the settings; Lightning asks for the rate after every step."""
        self._learning = optimizer, scheduler = self._step.create_optimizer(len(self.train_dataloader()))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def configure_gradient_clipping(self, *arguments: Any, **keywords: Any) -> None:
        """Clip as the settings say, which the trainer is not told."""
        self._step.clip_gradients()

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Move features, labels and pixels."""
        return batch if device.type == "cpu" else batch.to(device)

    def _native_overlap(self, logits: Tensor, position: int) -> Tensor:
        """Pixels in common, of both masks, of the target, and decided ones: (classes - 1, 4), at own size."""
        target = self._val_bank.native_label(position)  # type: ignore[union-attr]
        return self._count(self._model[0].mask(logits, (target.shape[0], target.shape[1]))[0], position)

    def _add_window(self, logits: Tensor, position: int, corner: Corner) -> Tensor | None:
        """The mask of a case at its own size, with the last of its windows; blended as in prediction."""
        bank = self._val_bank
        if self._blend is None:
            height, width = bank.native_label(position).shape  # type: ignore[union-attr]
            windows: Any = bank.windows  # type: ignore[union-attr]
            self._blend = Blend((height, width), window=windows.side, overlap=windows.overlap)
        blend, model = self._blend, self._model[0]
        blend.add(corner, model.probabilities(logits, model.size)[0].cpu().numpy())
        if corner != blend.corners[-1]:
            return None
        self._blend = None
        return torch.from_numpy(find_class(blend.finish()))

    def _count(self, mask: Tensor, position: int) -> Tensor:
        model, bank = self._model[0], self._val_bank
        target = bank.native_label(position).to(mask.device)  # type: ignore[union-attr]
        if bank.ignores:  # type: ignore[union-attr]
            mask[target == IGNORE_ID] = IGNORE_ID  # as in the target: of no class
            decided = (target != IGNORE_ID).sum()
        else:
            decided = torch.tensor(target.numel(), device=target.device)
        pairs = [(mask == index, target == index) for index in model.classes if index != 0]
        counts = [((ours & theirs).sum(), ours.sum() + theirs.sum(), theirs.sum()) for ours, theirs in pairs]
        return torch.stack([torch.stack([*found, decided]) for found in counts])


def _dice(overlaps: Tensor) -> Tensor:
    """Dice from counts (…, 4) as `_native_overlap` gives them; 1 where both masks are empty."""
    common, total = overlaps[..., 0], overlaps[..., 1]
    dice = 2.0 * common / total.clamp(min=1)
    return torch.where(total > 0, dice, torch.ones_like(dice))
