"""Augmentation of remembered features: drawn anew for every batch, in training only."""

from __future__ import annotations

import hashlib

import torch

from dinoseg.backbones.features import Features
from dinoseg.config import TrainSettings
from dinoseg.methods.blocks.wt_aug import wt_aug


def augment_features(
    features: Features, settings: TrainSettings, *, epoch: int, step: int, process: int
) -> Features:
    """The features of a training batch as the decoder is to see them.

    What is drawn follows from the seed of the run and the place of the batch in it alone, so that a
    resumed run draws what an uninterrupted one does.

    Args:
        features: of the batch, as the backbone gave them.
        settings: of the run; the features themselves come back where they ask for no augmentation.
        epoch: number of the epoch, from 0.
        step: number of the batch within the epoch, from 0.
        process: number of the process, from 0, where several share an epoch.
    """
    if settings.feature_augmentation is None:
        return features
    place = f"features:{settings.seed}:{epoch}:{step}:{process}"
    seed = int.from_bytes(hashlib.sha256(place.encode()).digest()[:7], "big")
    return wt_aug(
        features,
        torch.Generator().manual_seed(seed),
        probability=settings.wavelet_probability,
        drop=settings.wavelet_drop,
    )
