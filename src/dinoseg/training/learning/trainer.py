"""Lightning at work: all epochs of one run, with what is written on the way."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import DDPStrategy

from dinoseg.config import TrainSettings
from dinoseg.model.segmenter import Segmenter
from dinoseg.model.settings import RunSettings
from dinoseg.processes import ALONE, Processes
from dinoseg.progress import Progress
from dinoseg.training.features.bank import ViewBank
from dinoseg.training.learning.callbacks import AtomicCheckpointIO, create_checkpoints
from dinoseg.training.learning.guards import call_quietly
from dinoseg.training.learning.history import History, Row
from dinoseg.training.learning.loggers import logging_to
from dinoseg.training.learning.module import DecoderTraining


def learn(
    model: Segmenter,
    settings: RunSettings,
    banks: tuple[ViewBank, ViewBank | None],
    *,
    metrics: Path,
    checkpoints: Path,
    device: str,
    resume_from: Path | None,
    progress: Progress,
    choosing: bool = True,
    processes: Processes = ALONE,
) -> list[Row]:
    """Train the decoder of `model` to the end of the last epoch.

    Args:
        model: its decoder learns, in place.
        settings: of the run.
        banks: to learn from, and to validate on where there is any.
        metrics: the table to write; logs/ lies beside it.
        checkpoints: folder of the checkpoints.
        device: "cpu", "cuda" or "cuda:1".
        resume_from: a checkpoint to go on from.
        progress: shows the bar and a line per epoch.
        choosing: the validation cases show a class, so that they can tell the epochs apart.
        processes: that train together; the first writes.

    Returns:
        One row per epoch, those before `resume_from` included.
    """
    train_bank, val_bank = banks
    recipe = settings.train
    history = History(metrics, progress)
    module = DecoderTraining(model, recipe, train_bank, val_bank, processes)
    validated = val_bank is not None
    saving = create_checkpoints(checkpoints, recipe, validated=validated, choosing=choosing and validated)
    no_log: AbstractContextManager[list[Logger]] = nullcontext([])  # one process writes
    logging = logging_to(metrics.parent, settings, progress) if processes.is_first else no_log
    with logging as loggers:
        options = _options(recipe, device, metrics.parent, loggers, processes, validated=validated)
        trainer = call_quietly(Trainer, callbacks=[history, *saving], **options)
        call_quietly(trainer.fit, module, ckpt_path=resume_from)
    return history.rows


def _options(
    settings: TrainSettings,
    device: str,
    root: Path,
    loggers: list[Logger],
    processes: Processes,
    *,
    validated: bool,
) -> dict[str, Any]:
    return {
        **_choose_devices(device, processes),
        "max_epochs": settings.epochs,
        "plugins": [AtomicCheckpointIO()],
        "logger": loggers or False,
        "default_root_dir": root,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "limit_val_batches": None if validated else 0,
        "log_every_n_steps": 0,
        "check_val_every_n_epoch": settings.validate_every,
        "reload_dataloaders_every_n_epochs": 1,
        "use_distributed_sampler": False,
    }


def _choose_devices(device: str, processes: Processes) -> dict[str, Any]:
    cuda = device.startswith("cuda")
    accelerator = "gpu" if cuda else "cpu"
    if processes.count == 1:
        return {
            "accelerator": accelerator,
            "devices": [int(device.partition(":")[2] or 0)] if cuda else 1,
        }
    return {
        "accelerator": accelerator,
        "devices": processes.count // processes.nodes,
        "num_nodes": processes.nodes,
        "strategy": DDPStrategy(process_group_backend="nccl" if cuda else "gloo"),
        "sync_batchnorm": cuda,  # torch has none for processors
    }
