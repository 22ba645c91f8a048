"""Settings of a model and of a training run: frozen, typed, checked; YAML in and out.

`preset(name, method)` gives the two recipes: `paper` (as published) and `default` (ours).
"""

from __future__ import annotations

from dinoseg.config.changes import decoder_settings, from_yaml, override, parse_assignments, to_yaml
from dinoseg.config.inference import Inference, Plane
from dinoseg.config.postprocessing import ClassPostprocessing, PostprocessingSettings, describe_steps
from dinoseg.config.presets import preset, preset_preprocessing
from dinoseg.config.settings import (
    AugmentationSettings,
    BackboneSettings,
    CacheSettings,
    Classes,
    DecoderSettings,
    DinoAugSegSettings,
    DinoUNetSettings,
    IntensitySettings,
    LinearSettings,
    LossName,
    Method,
    ModelSettings,
    PercentileIntensity,
    PreprocessingSettings,
    Preset,
    RangeIntensity,
    RunSettings,
    SegDINOv1Settings,
    SegDINOv2Settings,
    Settings,
    TrainSettings,
    WindowIntensity,
)

__all__ = [
    "AugmentationSettings",
    "BackboneSettings",
    "CacheSettings",
    "ClassPostprocessing",
    "Classes",
    "DecoderSettings",
    "DinoAugSegSettings",
    "DinoUNetSettings",
    "Inference",
    "IntensitySettings",
    "LinearSettings",
    "LossName",
    "Method",
    "ModelSettings",
    "PercentileIntensity",
    "Plane",
    "PostprocessingSettings",
    "PreprocessingSettings",
    "Preset",
    "RangeIntensity",
    "RunSettings",
    "SegDINOv1Settings",
    "SegDINOv2Settings",
    "Settings",
    "TrainSettings",
    "WindowIntensity",
    "decoder_settings",
    "describe_steps",
    "from_yaml",
    "override",
    "parse_assignments",
    "preset",
    "preset_preprocessing",
    "to_yaml",
]
