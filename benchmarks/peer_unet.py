"""The peer: a plain U-Net of MONAI, trained from scratch on the same few cases, scored in the same way.

Residual U-Net as in MONAI's tutorials (16 to 256 channels, two residual units), AdamW at 1e-3 with a
cosine, Dice + cross-entropy, a fresh augmentation at every step from the ranges of our `default` preset.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from monai.losses import DiceCELoss
from monai.networks.nets import UNet
from numpy.typing import NDArray
from torch import Tensor, nn

from dinoseg.config.presets import DEFAULT
from dinoseg.data.augmentation import apply_to_image, apply_to_label, draw_view
from dinoseg.data.case import Case
from dinoseg.data.transforms import resize_image, resize_label, to_rgb

BATCH = 4  # as our presets
RATE = 1e-3


@dataclass(frozen=True)
class Peer:
    """A trained U-Net, and what it took."""

    network: nn.Module
    size: int
    parameters: int
    seconds: float

    def segment(self, case: Case) -> NDArray[np.uint8]:
        """Class ids (H, W) at the size of the image, as our models make them: logits are resized."""
        height, width = case.image.size
        pixels = _standardise(resize_image(to_rgb(case.image), (self.size, self.size)))
        with torch.inference_mode():
            logits = self.network(pixels.unsqueeze(0))
        resized = nn.functional.interpolate(logits, size=(height, width), mode="bilinear")
        return np.asarray(resized.argmax(dim=1)[0].to(torch.uint8).numpy())


def train_unet(
    cases: Sequence[Case], classes: Mapping[int, str], *, size: int, steps: int, seed: int
) -> Peer:
    """Train on all of `cases` (images with labels) for a number of steps; nothing is chosen on other data."""
    torch.manual_seed(seed)
    network = UNet(2, 3, len(classes), channels=(16, 32, 64, 128, 256), strides=(2, 2, 2, 2), num_res_units=2)
    images = [resize_image(to_rgb(case.image), (size, size)) for case in cases]
    labels = [_label(case, size) for case in cases]
    loss = DiceCELoss(softmax=True, to_onehot_y=True, batch=True)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = torch.Generator().manual_seed(seed)
    started = time.perf_counter()
    for step in range(steps):
        chosen = torch.randint(len(cases), (BATCH,), generator=generator).tolist()
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


def _standardise(pixels: Tensor) -> Tensor:
    """Mean 0 and deviation 1 of each image, as MONAI's NormalizeIntensity does."""
    return (pixels - pixels.mean()) / pixels.std().clamp(min=1e-6)


def _label(case: Case, size: int) -> Tensor:
    if case.label is None:
        raise ValueError(f"{case.id} has no mask")
    return torch.from_numpy(resize_label(case.label, (size, size)).array)
