"""Training: `train()` makes a run folder; `train_draws()` and `learn_curve()` many that belong together."""

from __future__ import annotations

from dinoseg.training.fitting import train
from dinoseg.training.series.curve import Curve, learn_curve
from dinoseg.training.series.draws import Draws, train_draws

__all__ = ["Curve", "Draws", "learn_curve", "train", "train_draws"]
