"""The peer: a plain U-Net of MONAI, trained from scratch on the same few cases, scored in the same way.

Residual U-Net as in MONAI's tutorials (16 to 256 channels, two residual units), AdamW at 1e-3 with a
cosine, Dice + cross-entropy, a fresh augmentation at every step from the ranges of our `default` preset.
Volumes are taken slice by slice, through the intensities that our models see.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from monai.losses import DiceCELoss
from monai.networks.nets import UNet
from numpy.typing import NDArray
from torch import Tensor, nn

from dinoseg.config import PreprocessingSettings
from dinoseg.data import Dataset, read_case
from dinoseg.data.case import Image, LabelMap
from dinoseg.data.cases.files import CaseFiles
from dinoseg.data.cases.volumes import VolumeSlices, read_volume_case, take_label_slice
from dinoseg.data.tensors.augmentation import apply_to_image, apply_to_label, draw_view
from dinoseg.data.tensors.transforms import resize_image, resize_label, to_rgb
from dinoseg.evaluation.metrics import DEFAULT_TOLERANCE, ClassScore, score_case
from dinoseg.methods.presets import DEFAULT

BATCH = 4  # as our presets
RATE = 1e-3


@dataclass(frozen=True)
class Peer:
    """A trained U-Net, and what it took."""

    network: nn.Module
    size: int
    parameters: int
    seconds: float

    def segment(self, image: Image) -> NDArray[np.uint8]:
        """Class ids (H, W) at the size of the image, as our models make them: logits are resized."""
        pixels = _standardise(_resize(image, self.size))
        with torch.inference_mode():
            logits = self.network(pixels.unsqueeze(0))
        resized = nn.functional.interpolate(logits, size=image.size, mode="bilinear")
        return np.asarray(resized.argmax(dim=1)[0].to(torch.uint8).numpy())


def train_unet(
    dataset: Dataset,
    case_ids: Sequence[str],
    preprocessing: PreprocessingSettings,
    *,
    steps: int,
    seed: int,
) -> Peer:
    """Train on all of the cases for a number of steps; nothing is chosen on other data."""
    torch.manual_seed(seed)
    size, outputs = preprocessing.size, len(dataset.classes)
    network = UNet(2, 3, outputs, channels=(16, 32, 64, 128, 256), strides=(2, 2, 2, 2), num_res_units=2)
    pairs = [pair for files in dataset.find(case_ids) for pair in _read(dataset, files, preprocessing).pairs]
    images = [_resize(image, size) for image, _ in pairs]
    labels = [torch.from_numpy(resize_label(label, (size, size)).array) for _, label in pairs]
    loss = DiceCELoss(softmax=True, to_onehot_y=True, batch=True)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = torch.Generator().manual_seed(seed)
    started = time.perf_counter()
    for step in range(steps):
        chosen = torch.randint(len(pairs), (BATCH,), generator=generator).tolist()
        views = [draw_view(DEFAULT.augmentation, case=str(place), index=1 + step * BATCH + place, seed=seed)
                 for place in range(BATCH)]  # fmt: skip
        drawn = list(zip(chosen, views, strict=True))
        pixels = torch.stack([_standardise(apply_to_image(view, images[case])) for case, view in drawn])
        target = torch.stack([apply_to_label(view, labels[case]) for case, view in drawn])
        optimizer.zero_grad()
        loss(network(pixels), target.unsqueeze(1).long()).backward()
        optimizer.step()
        schedule.step()
    network.eval()
    parameters = sum(weight.numel() for weight in network.parameters())
    return Peer(network, size, parameters, time.perf_counter() - started)


def score_peer(
    peer: Peer, dataset: Dataset, case_ids: Sequence[str], preprocessing: PreprocessingSettings
) -> list[ClassScore]:
    """Scores of every case at its own size, and of volumes in 3D, as `evaluate` takes them."""
    scores: list[ClassScore] = []
    for files in dataset.find(case_ids):
        case = _read(dataset, files, preprocessing)
        found = np.stack([peer.segment(image) for image, _ in case.pairs])
        target = np.stack([label.array for _, label in case.pairs])
        if not dataset.is_volumes:
            found, target = found[0], target[0]
        scores += score_case(
            found,
            target,
            classes=dataset.classes,
            spacing=case.spacing,
            tolerance=DEFAULT_TOLERANCE["px" if case.spacing is None else "mm"],
            case=files.id,
            group=files.group,
        )
    return scores


@dataclass(frozen=True)
class _Case:
    """What the U-Net sees of a case: the image and its mask, or every slice of a volume and of its label.

    Attributes:
        pairs: in canonical orientation where they are slices.
        spacing: of a pixel or voxel in mm, in the order of the axes; None where it is not known.
    """

    pairs: list[tuple[Image, LabelMap]]
    spacing: tuple[float, ...] | None


def _read(dataset: Dataset, files: CaseFiles, preprocessing: PreprocessingSettings) -> _Case:
    if not dataset.is_volumes:
        case = read_case(files, dataset.labels)
        if case.label is None:
            raise ValueError(f"{files.id} has no mask")
        return _Case([(case.image, case.label)], case.spacing)
    volume = read_volume_case(files, dataset.labels).canonical()
    if volume.label is None:
        raise ValueError(f"{files.id} has no label")
    slices, geometry = VolumeSlices(volume.image, preprocessing), volume.image.geometry
    pairs = [
        (slices.image(index), take_label_slice(volume.label, index, plane=preprocessing.plane))
        for index in range(len(slices))
    ]
    return _Case(pairs, geometry.spacing if geometry.spacing_known else None)


def _resize(image: Image, size: int) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(to_rgb(resize_image(image, (size, size)))))


def _standardise(pixels: Tensor) -> Tensor:
    """Mean 0 and deviation 1 of each image, as MONAI's NormalizeIntensity does."""
    return (pixels - pixels.mean()) / pixels.std().clamp(min=1e-6)
