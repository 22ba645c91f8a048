"""Training: `train()` turns a folder of images and masks into a run folder."""

from __future__ import annotations

from dinoseg.training.fitting import train

__all__ = ["train"]
