"""Near duplicates by the features of a backbone: among the banks of a training, or all images of a folder."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dinoseg.backbones.extractors import Backbone
from dinoseg.data import CaseFiles, open_dataset
from dinoseg.data.images import read_image
from dinoseg.data.layouts.dataset import Dataset
from dinoseg.data.splits.alike import MIRRORED, AlikeCases, find_alike, to_unit
from dinoseg.data.splits.splits import Splits, find_split_file, resolve_splits
from dinoseg.data.tensors.transforms import prepare_pixels
from dinoseg.errors import UsageError
from dinoseg.progress import Progress
from dinoseg.training.features.bank import ViewBank


def tell_alike(
    cases: Sequence[CaseFiles],
    splits: Splits,
    banks: tuple[ViewBank, ViewBank | None],
    progress: Progress,
) -> None:
    """Name training and validation images that look nearly the same to the backbone.

    Args:
        cases: those of the banks, in their order.
        splits: that hold them.
        banks: of training and of validation; slices of volumes and windows are not compared.
        progress: told.
    """
    train_bank, val_bank = banks
    if val_bank is None or train_bank.windows is not None or any(case.is_volume for case in cases):
        return
    means = [_find_mean(bank, position) for bank in (train_bank, val_bank) for position in range(len(bank))]
    vectors = {case.id: mean.numpy() for case, mean in zip(cases, means, strict=True)}
    found = find_alike(vectors, splits.find_split(), _find_mirrored(train_bank))
    if line := found.describe():
        progress.note(line)


def _find_mean(bank: ViewBank, position: int) -> Tensor:
    """(C,), remembered."""
    return bank.remember_of("mean", position, lambda: torch.from_numpy(average(bank.see(position))))


def _find_mirrored(bank: ViewBank) -> list[float]:
    """Cosines of some images with their mirror images, remembered."""

    def compare(position: int) -> Tensor:
        other = torch.from_numpy(average(bank.see(position, mirrored=True)))
        return torch.cosine_similarity(_find_mean(bank, position), other, dim=0)

    places = range(0, len(bank), -(-len(bank) // MIRRORED))
    return [float(bank.remember_of("mirrored", place, partial(compare, place))) for place in places]


def average(deepest: Tensor) -> NDArray[np.float32]:
    """(1, C, h, w) -> (C,), the mean over the map."""
    mean: NDArray[np.float32] = deepest[0].float().mean(dim=(1, 2)).cpu().numpy()
    return mean


@torch.inference_mode()
def find_alike_images(
    data: Path | str,
    backbone: Backbone,
    *,
    size: int = 256,
    splits: Path | None = None,
    device: str = "cpu",
    progress: Progress,
) -> AlikeCases:
    """Pairs of images in different splits, or groups, that a backbone sees as nearly the same.

    Args:
        data: folder (or CSV) of images and masks.
        backbone: on the device already.
        size: side in px that images are resized to.
        splits: a splits.json to use instead of the data's own.
        device: where it computes.
        progress: shows the reading.

    Raises:
        UsageError: the data are volumes.
        DataError: an image or the splits cannot be read.
    """
    dataset = open_dataset(data, scan_labels=False)
    if dataset.is_volumes:
        raise UsageError(
            f"{data} holds volumes, and only images are compared by features; leave --backbone out"
        )
    parts = _find_parts(dataset, splits)
    cases = [case for case in dataset.cases if case.id in parts]
    step = max(1, len(cases) // MIRRORED)
    vectors, mirrored = {}, []
    for place, case in enumerate(progress.track(cases, total=len(cases), label="features of the images")):
        prepared = prepare_pixels(read_image(case.image), (size, size), mean=backbone.mean, std=backbone.std)
        pixels = torch.from_numpy(prepared).unsqueeze(0).to(device)
        vectors[case.id] = average(backbone(pixels).levels[-1])
        if place % step == 0:
            other = average(backbone(pixels.flip(-1)).levels[-1])
            mirrored.append(float(to_unit(vectors[case.id]) @ to_unit(other)))
    return find_alike(vectors, parts, mirrored)


def _find_parts(dataset: Dataset, splits: Path | None) -> dict[str, str]:
    given = splits is not None or find_split_file(dataset.root) is not None
    if given or any(case.split for case in dataset.cases):
        return dict(resolve_splits(dataset, path=splits).find_split())
    return {case.id: case.group for case in dataset.cases}
