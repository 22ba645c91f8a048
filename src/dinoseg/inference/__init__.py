"""Inference: `predict` for whatever people have, `predict_files` for folders, others for scoring."""

from __future__ import annotations

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
