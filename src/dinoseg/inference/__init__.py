"""Inference: `predict` for whatever people have, `predict_files` for folders, `predict_cases` for scoring."""

from __future__ import annotations

from dinoseg.inference.files import predict_files
from dinoseg.inference.prediction import Prediction
from dinoseg.inference.predictor import predict, predict_cases
from dinoseg.inference.report import Failure, PredictedFile, PredictionReport

__all__ = [
    "Failure",
    "PredictedFile",
    "Prediction",
    "PredictionReport",
    "predict",
    "predict_cases",
    "predict_files",
]
