"""Inference: `predict` for whatever people have, `predict_files` for folders, others for scoring.

Names load on first use: drawing a mask, or reading a report of predictions, needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dinoseg.inference.files.pipeline import predict_files
    from dinoseg.inference.predictor import predict, predict_cases
    from dinoseg.inference.results.prediction import Prediction
    from dinoseg.inference.results.report import Failure, PredictedFile, PredictionReport
    from dinoseg.inference.results.volume_prediction import VolumePrediction
    from dinoseg.inference.volumes import segment_volume

__all__ = [
    "Failure",
    "PredictedFile",
    "Prediction",
    "PredictionReport",
    "VolumePrediction",
    "predict",
    "predict_cases",
    "predict_files",
    "segment_volume",
]

_HOMES = {
    "Failure": "results.report",
    "PredictedFile": "results.report",
    "Prediction": "results.prediction",
    "PredictionReport": "results.report",
    "VolumePrediction": "results.volume_prediction",
    "predict": "predictor",
    "predict_cases": "predictor",
    "predict_files": "files.pipeline",
    "segment_volume": "volumes",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'dinoseg.inference' has no attribute {name!r}")
    return getattr(import_module(f"dinoseg.inference.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
