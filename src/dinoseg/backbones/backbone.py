"""`Backbone`: the lower half of the seam, image -> Features."""

from __future__ import annotations

from typing import Literal, Protocol

from torch import Tensor

from dinoseg.backbones.features import Features

Precision = Literal["float32", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")


class Backbone(Protocol):
    """A frozen network that turns normalised images into feature maps.

    What is built on several passes or networks (two input sizes, say) is a backbone too; it then has a
    digest of its own, of everything that its features depend on.
    """

    @property
    def name(self) -> str:
        """Catalog name, or name of the local folder."""

    @property
    def layers(self) -> tuple[int, ...]:
        """Tapped blocks or stages, counted from 0."""

    @property
    def channels(self) -> tuple[int, ...]:
        """Width of each level."""

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels of the padded image per cell of each level."""

    @property
    def stride(self) -> int:
        """The image is padded to a multiple of this."""

    @property
    def mean(self) -> tuple[float, float, float]:
        """What to subtract from RGB in [0, 1] before the call."""

    @property
    def std(self) -> tuple[float, float, float]:
        """The deviation to divide by."""

    @property
    def precision(self) -> Precision:
        """What the network computes in; features are float32 either way."""

    @property
    def digest(self) -> str:
        """Sha256 of weights, settings, layers and precision: equal digests give equal features."""

    @property
    def identity(self) -> str:
        """What a trained decoder belongs to, in whichever precision: weights, settings and layers."""

    @property
    def weights_sha256(self) -> str:
        """Sha256 of the weight file."""

    @property
    def license(self) -> str:
        """Licence of the weights."""

    @property
    def source(self) -> str:
        """Where the weights came from."""

    def __call__(self, image: Tensor, /) -> Features:
        """Features of (B, 1 | 3 | 4, H, W), normalised, of any H and W from 1 up."""
