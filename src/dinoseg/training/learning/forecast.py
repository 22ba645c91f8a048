"""How long a training will take, from a few views and steps that are timed before the long work begins."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from copy import deepcopy
from dataclasses import dataclass
from typing import TypeVar

import torch

from dinoseg.config import TrainSettings
from dinoseg.model.segmenter import Segmenter
from dinoseg.progress import show_duration
from dinoseg.streams import map_ahead
from dinoseg.training.features.bank import Sample, ViewBank
from dinoseg.training.features.jobs import FeatureJob
from dinoseg.training.features.threads import one_image_per_thread
from dinoseg.training.learning.step import Step

LONG = 60.0  # seconds from which on it is said what would be shorter
_SLOW = 8.0  # seconds after which a first, colder try is measurement enough
_QUICK = "segdino-v1"

T = TypeVar("T")


@dataclass(frozen=True)
class Speed:
    """Seconds of this machine, measured.

    Attributes:
        view: features of a view of an image, views side by side as they are computed.
        step: a step of learning.
        validation: a batch of validation images.
    """

    view: float
    step: float
    validation: float


@dataclass(frozen=True)
class Forecast:
    """What is to be done, and how fast it goes.

    Attributes:
        speed: of this machine.
        views: of which features are not remembered yet.
        steps: of an epoch.
        validations: batches of a validation.
        settings: of the training.
    """

    speed: Speed
    views: int
    steps: int
    validations: int
    settings: TrainSettings

    @property
    def _unit(self) -> str:
        return "views" if self.settings.window is None else "windows"

    @property
    def features(self) -> float:
        """Seconds for the features."""
        return self.views * self.speed.view

    @property
    def learning(self) -> float:
        """Seconds for all epochs with their validations."""
        epochs = self.settings.epochs
        validations = self.validations * (epochs // self.settings.validate_every)
        return epochs * self.steps * self.speed.step + validations * self.speed.validation

    def word(self, *, method: str, bank_views: int) -> str:
        """One line, with what would make a long run shorter.

        Args:
            method: that is trained.
            bank_views: of every image that is learned from.
        """
        features = f"{show_duration(self.features)} for the features of {self.views} {self._unit}"
        learning = f"{show_duration(self.learning)} for {self.settings.epochs} epochs of {self.steps} steps"
        told = f"this will take about {features} and {learning}"
        if self.features + self.learning < LONG:
            return told
        return f"{told}; shorter: {', '.join(self._list_shorter(method, bank_views))}"

    def _list_shorter(self, method: str, bank_views: int) -> list[str]:
        found = []
        if bank_views > 1 and self.views:
            found.append(
                "--set train.views=1" + (" --set train.min_bank=0" if self.settings.min_bank else "")
            )
        if self.settings.epochs > 1:
            found.append(f"--epochs {max(1, self.settings.epochs // 3)}")
        smaller = "a smaller --size" if self.settings.window is None else "a smaller train.window"
        return [*found, smaller, *([f"--method {_QUICK}"] if method == "segdino-v2" else [])]


def forecast(
    model: Segmenter, settings: TrainSettings, banks: tuple[ViewBank, ViewBank | None], trial: ViewBank
) -> Forecast:
    """Time a few views and a step, and count what there is to do; nothing of the run is changed.

    Args:
        model: that will learn; a copy of its decoder does now.
        settings: of the training.
        banks: to learn from and to validate on.
        trial: a bank of one case, with a store of its own, for what is timed.
    """
    train_bank, val_bank = banks
    lacking = [job for bank in banks if bank is not None for job in bank.list_jobs()]
    counted = settings.model_copy(
        update={"foreground_share": 0.0}
    )  # asks for every mask, and counts the same
    return Forecast(
        speed=Speed(_time_view(trial), *_time_step(model, settings, trial)),
        views=sum(len(job.views) for job in lacking),
        steps=len(Step(model, counted, train_bank).draw_batches(0)),
        validations=0 if val_bank is None else -(-len(val_bank.list_samples()) // settings.batch_size),
        settings=settings,
    )


def _time_view(trial: ViewBank) -> float:
    job = FeatureJob(0, trial.list_jobs()[0].views[:1])
    with one_image_per_thread() as workers:

        def compute() -> None:
            with closing(
                map_ahead(trial.work.compute, [job] * workers, workers=workers, ahead=workers)
            ) as done:
                for _ in done:
                    pass

        return _time(compute) / workers


def _time_step(model: Segmenter, settings: TrainSettings, trial: ViewBank) -> tuple[float, float]:
    """Seconds of a step and of validating a batch, both with the decoder as it is."""
    step = Step(model, settings, trial)
    step.decoder = deepcopy(model.decoder).train()
    batch = trial.batch([Sample(0, 0)] * settings.batch_size).to(model.device)
    optimizer, _ = step.create_optimizer(1)
    whole = model.settings.preprocessing.window is None
    height, width = trial.native_label(0).shape if whole else model.size

    def learn() -> float:
        loss = step.train_loss(batch, epoch=0, index=0)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return float(loss.detach())

    def validate() -> int:
        step.decoder.eval()
        with torch.no_grad():
            logits = step.decoder(batch.features, batch.pixels)
            return sum(int(model.mask(row[None], (height, width)).sum()) for row in logits)

    return _time(learn), _time(validate)


def _time(work: Callable[[], T]) -> float:
    """Seconds that `work` takes; of a second time, as the first starts threads and fills caches."""
    for _ in range(2):
        started = time.perf_counter()
        work()
        taken = time.perf_counter() - started
        if taken > _SLOW:
            break
    return taken
