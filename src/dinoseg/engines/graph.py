"""`Graph`: what an engine makes of an .onnx file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Engine = Literal["onnxruntime", "openvino"]
EnginePrecision = Literal["float32", "bfloat16"]
ENGINES: tuple[Engine, ...] = get_args(Engine)


class Graph(Protocol):
    """A function of arrays, called from one thread at a time."""

    def run(self, arrays: Mapping[str, Array]) -> Sequence[Array]:
        """The outputs in their order.

        Args:
            arrays: name of an input -> float32 array of the size that the graph was made for, any batch.

        Raises:
            RunError: the engine refuses the arrays, or fails.
        """


def explain(error: Exception, most: int = 300) -> str:
    """What an engine says, on one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= most else f"{text[:most]} ..."


def as_floats(arrays: Mapping[str, Any]) -> dict[str, Array]:
    """The arrays as engines take them: float32, in one piece."""
    return {name: np.ascontiguousarray(value, np.float32) for name, value in arrays.items()}
