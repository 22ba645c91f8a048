"""A method of somebody else's: a package of two modules, written as pip would install it."""

from __future__ import annotations

from pathlib import Path

CARD = '''"""The toy's card."""

from typing import Literal

from pydantic import Field

from dinoseg.config import DecoderSettings, TrainSettings
from dinoseg.methods import Card


class ToySettings(DecoderSettings):
    """Decoder of the toy."""

    method: Literal["toy"] = "toy"
    width: int = Field(4, ge=1, description="channels between the two convolutions")


CARD = Card(
    name="toy",
    title="toy: two 1x1 convolutions",
    source="nobody",
    settings=ToySettings,
    recipe=TrainSettings(epochs=3, loss="cross_entropy", schedule="constant"),
    decoder="toy_methods.decoder:Toy",
    size=32,
)
'''

DECODER = '''"""The toy's network."""

import torch
from torch import nn
from torch.nn import functional as F

from dinoseg.methods.blocks.resizing import resize
from dinoseg.methods.decoder import Decoder


class Toy(Decoder):
    """Every map to one width and one grid, their sum, a classifier."""

    levels = None

    def __init__(self, channels, outputs, *, width=4):
        super().__init__()
        self.project = nn.ModuleList(nn.Conv2d(c, width, 1) for c in channels)
        self.classify = nn.Conv2d(width, outputs, 1)

    def decode(self, features, image):
        size = tuple(features.levels[0].shape[-2:])
        maps = [resize(each(level), size) for each, level in zip(self.project, features.levels)]
        return resize(self.classify(F.gelu(torch.stack(maps).sum(dim=0))), features.padded)
'''


def write_modules(site: Path) -> None:
    """The package `toy_methods`, which can be imported where `site` is on the path."""
    package = site / "toy_methods"
    package.mkdir(parents=True)
    for name, text in (("__init__", ""), ("card", CARD), ("decoder", DECODER)):
        (package / f"{name}.py").write_text(text)


def write_offer(site: Path, entry: str, *, package: str = "toy-methods") -> None:
    """The metadata of an installed package that offers a method, such as `toy = toy_methods.card:CARD`."""
    folder = site / f"{package.replace('-', '_')}-1.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(f"[dinoseg.methods]\n{entry}\n")


def install(site: Path) -> None:
    """The whole package, as pip would leave it."""
    write_modules(site)
    write_offer(site, "toy = toy_methods.card:CARD")
