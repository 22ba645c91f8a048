"""What the shapes of a checkpoint's tensors say about its decoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from dinoseg.errors import RunError


@dataclass(frozen=True)
class Found:
    """What the shapes of a decoder's tensors say.

    Attributes:
        options: of the decoder, by the names of its settings.
        outputs: channels of the logits.
        channels: widths of the maps that it reads.
        classifiers: our prefix of the layers that make logits.
        hidden: options that show in no tensor, and stay as published unless they are set.
        notes: lines for the reader about what was concluded.
    """

    options: Mapping[str, Any]
    outputs: int
    channels: tuple[int, ...]
    classifiers: str
    hidden: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Sizes:
    """Sizes of tensors by name: `sizes("classify.weight", 0)`; KeyError if there is no such tensor.

    Args:
        state: the tensors, under our names.
        rename: what the released program calls them, for messages.
    """

    def __init__(self, state: Mapping[str, Tensor], rename: Callable[[str], str] = str) -> None:
        self._state = state
        self._rename = rename

    def __contains__(self, name: str) -> bool:
        return name in self._state

    def __call__(self, name: str, axis: int = 0) -> int:
        """Size of the tensor along `axis`.

        Raises:
            KeyError: there is no such tensor.
            RunError: it has fewer axes.
        """
        shape = tuple(self._state[name].shape)
        if len(shape) <= axis:
            raise RunError(
                f"{self._rename(name)} has shape {shape}, which it has in no checkpoint of the method"
            )
        return shape[axis]
