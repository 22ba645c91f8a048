"""`Decoder`: the upper half of the seam, `Decoder(features, image) -> logits`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor, nn

from dinoseg.backbones.features import Features
from dinoseg.methods.shapes import Found, Sizes


class Decoder(nn.Module):
    """Base of all decoders: subclasses implement `decode` on the padded grid.

    Attributes:
        levels: how many maps the method reads; None for any number.
        needs_image: whether `decode` looks at the image; if not, training on remembered
            features never opens one.
        released: this module's parameter prefix -> prefix in the released program's
            checkpoint, for `dinoseg import`.
        released_backbone: prefix of the backbone's tensors there.
        released_twins: patterns of second names of the same tensors there, and the first names.
        released_unused: patterns of tensors there that no prediction needs.

    A method whose settings have a `reach` is given, in volumes, the features of so many slices on either side
    (`Features.around`). A method with `released` names says in `infer` how its settings are read from a
    checkpoint.
    """

    levels: ClassVar[int | None] = 4
    needs_image: ClassVar[bool] = False
    released: ClassVar[Mapping[str, str]] = {}
    released_backbone: ClassVar[str] = "backbone."
    released_twins: ClassVar[Mapping[str, str]] = {}
    released_unused: ClassVar[Sequence[str]] = ()

    def forward(self, features: Features, image: Tensor | None = None) -> Tensor:
        """Logits at the size of the image that the features came from.

        Args:
            features: maps of the frozen backbone.
            image: (B, 3, H, W), normalised; only read where `needs_image`.

        Returns:
            (B, K, H, W), unbounded; K = 1 means sigmoid, K > 1 softmax over classes.
        """
        logits = self.decode(features, image)
        height, width = features.size
        return logits[..., :height, :width]

    def decode_all(self, features: Features, image: Tensor | None) -> list[Tensor]:
        """Logits that a training step is to judge: those of `forward`, then coarser ones where there are.

        Returns:
            The n-th is (B, K, H / 2**n, W / 2**n), rounded up.
        """
        return [self(features, image)]

    def decode(self, features: Features, image: Tensor | None) -> Tensor:
        """Logits (B, K, padded height, padded width)."""
        raise NotImplementedError

    @classmethod
    def infer(cls, sizes: Sizes) -> Found:
        """Read widths and options from the shapes of a checkpoint's tensors, under our names.

        Raises:
            KeyError: a tensor that every checkpoint of the method has is not there.
            RunError: a tensor has fewer dimensions than the method's.
        """
        raise NotImplementedError
