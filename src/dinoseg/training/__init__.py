"""Training: `train()` makes a run folder; `train_draws`, `train_folds` and `learn_curve` many together."""

from __future__ import annotations

from dinoseg.training.fitting import train
from dinoseg.training.series.curve import Curve, learn_curve
from dinoseg.training.series.draws import Draws, train_draws
from dinoseg.training.series.folds import CrossValidation, train_folds

__all__ = ["CrossValidation", "Curve", "Draws", "learn_curve", "train", "train_draws", "train_folds"]
