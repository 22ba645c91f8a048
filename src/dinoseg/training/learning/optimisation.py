"""The optimisers, and how the learning rate changes over a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from dinoseg.config import TrainSettings

POLY_POWER = 0.9


def create_optimizer(parameters: Iterable[nn.Parameter], settings: TrainSettings) -> torch.optim.Optimizer:
    """The optimiser of a training run.

    Args:
        parameters: of the decoder.
        settings: "adamw" decouples the weight decay, "adam" adds it to the gradient, "sgd" as well, with
            Nesterov's momentum.
    """
    if settings.optimizer == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=settings.lr,
            momentum=settings.momentum,
            nesterov=settings.momentum > 0,
            weight_decay=settings.weight_decay,
            fused=True,
        )
    kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    return kind(parameters, lr=settings.lr, weight_decay=settings.weight_decay, fused=True)


def create_schedule(settings: TrainSettings, steps: int) -> Callable[[int], float]:
    """The learning rate of a step, relative to `lr`.

    Args:
        settings: of the run. The warm-up rises linearly, step by step. After it, "constant" stays at 1,
            "cosine" falls to 0 step by step, and "poly" falls to 0 as (1 - progress)**0.9, epoch by epoch,
            as in nnU-Net.
        steps: of an epoch.

    Returns:
        A function of the number of the step, from 0.
    """
    warmup = settings.warmup_epochs * steps
    epochs = max(1, settings.epochs - settings.warmup_epochs)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        if settings.schedule == "constant":
            return 1.0
        if settings.schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (epochs * steps)))
        return math.pow(max(0.0, 1 - (step - warmup) // steps / epochs), POLY_POWER)

    return factor


def set_rate(optimizer: torch.optim.Optimizer, scheduler: LambdaLR) -> None:
    """Let the next step have the rate that the schedule says, whatever the optimiser remembers."""
    step = scheduler.last_epoch  # LambdaLR's word; ours counts steps
    for group, base, factor in zip(
        optimizer.param_groups, scheduler.base_lrs, scheduler.lr_lambdas, strict=True
    ):
        group["lr"] = base * factor(step)
