"""Training: `train()` makes a run folder; `train_draws()` and `learn_curve()` many that belong together."""

from __future__ import annotations

from dinoseg.training.curve import Curve, learn_curve
from dinoseg.training.draws import Draws, train_draws
from dinoseg.training.fitting import train

__all__ = ["Curve", "Draws", "learn_curve", "train", "train_draws"]
