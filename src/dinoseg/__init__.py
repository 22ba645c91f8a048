"""dinoseg: medical image segmentation on frozen DINO backbones.

The public names are loaded on first use, so that `import dinoseg` is quick and needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dinoseg.backbones import create_backbone
    from dinoseg.config.inference import Inference
    from dinoseg.config.training import Training
    from dinoseg.data import Case
    from dinoseg.errors import DinosegError
    from dinoseg.evaluation import evaluate
    from dinoseg.inference import Prediction, predict
    from dinoseg.methods import METHODS
    from dinoseg.model.opening import load
    from dinoseg.model.segmenter import Segmenter
    from dinoseg.training import train

__version__ = "0.1.0"

__all__ = [
    "METHODS",
    "Case",
    "DinosegError",
    "Inference",
    "Prediction",
    "Segmenter",
    "Training",
    "create_backbone",
    "evaluate",
    "load",
    "predict",
    "train",
]

_HOMES = {
    "METHODS": "dinoseg.methods",
    "Case": "dinoseg.data",
    "DinosegError": "dinoseg.errors",
    "Inference": "dinoseg.config.inference",
    "Prediction": "dinoseg.inference",
    "Segmenter": "dinoseg.model.segmenter",
    "Training": "dinoseg.config.training",
    "create_backbone": "dinoseg.backbones",
    "evaluate": "dinoseg.evaluation",
    "load": "dinoseg.model.opening",
    "predict": "dinoseg.inference",
    "train": "dinoseg.training",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'dinoseg' has no attribute {name!r}")
    from dinoseg.streams import keeping_filters

    with keeping_filters():
        return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
