"""A network without torch, so that a process that serves it is there at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinoseg.config import BackboneSettings, PreprocessingSettings
from dinoseg.methods import decoder_settings
from dinoseg.model.settings import ModelSettings


class Grey:
    """A lesion is where a picture is bright; `volumes` as `PreprocessingSettings`."""

    postprocessing = None
    run = None
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)

    def __init__(self, size: int = 32, **volumes: Any) -> None:
        self.settings = ModelSettings(
            backbone=BackboneSettings(name="grey"),
            decoder=decoder_settings("linear"),
            preprocessing=PreprocessingSettings(size=size, **volumes),
            classes={0: "background", 1: "lesion"},
        )

    def describe(self) -> Mapping[str, Any]:
        return {"method": "linear", "backbone": "grey", "size": [self.settings.preprocessing.size] * 2}

    def logits(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        return (pixels.mean(axis=1, keepdims=True) - np.float32(0.5)) * np.float32(50)
