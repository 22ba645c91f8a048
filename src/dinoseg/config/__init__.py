"""Settings: frozen, typed, checked; changed by dotted keys, YAML in and out."""

from __future__ import annotations

from dinoseg.config.changes import from_yaml, override, parse_assignments, suggest, to_yaml, validate
from dinoseg.config.class_weights import list_weights
from dinoseg.config.confidence import ConfidenceSettings, FeatureSettings
from dinoseg.config.inference import Inference, Plane
from dinoseg.config.postprocessing import ClassPostprocessing, PostprocessingSettings, describe_steps
from dinoseg.config.settings import (
    AugmentationSettings,
    BackboneEngine,
    BackboneSettings,
    CacheSettings,
    Classes,
    Decision,
    DecoderSettings,
    IntensitySettings,
    LossName,
    PercentileIntensity,
    PreprocessingSettings,
    Preset,
    RangeIntensity,
    Settings,
    TrainSettings,
    WindowIntensity,
)

__all__ = [
    "AugmentationSettings",
    "BackboneEngine",
    "BackboneSettings",
    "CacheSettings",
    "ClassPostprocessing",
    "Classes",
    "ConfidenceSettings",
    "Decision",
    "DecoderSettings",
    "FeatureSettings",
    "Inference",
    "IntensitySettings",
    "LossName",
    "PercentileIntensity",
    "Plane",
    "PostprocessingSettings",
    "PreprocessingSettings",
    "Preset",
    "RangeIntensity",
    "Settings",
    "TrainSettings",
    "WindowIntensity",
    "describe_steps",
    "from_yaml",
    "list_weights",
    "override",
    "parse_assignments",
    "suggest",
    "to_yaml",
    "validate",
]
