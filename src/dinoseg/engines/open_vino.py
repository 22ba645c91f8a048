"""OpenVINO, on the processor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import openvino

from dinoseg.engines.graph import Array, EnginePrecision, as_floats, explain
from dinoseg.errors import RunError

_PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}


class OpenVINOGraph:
    """A graph that OpenVINO compiled for this processor.

    Args:
        path: an .onnx file.
        precision: what it computes in. It is always said: OpenVINO itself would choose by the processor.
        threads: cores; all of them if not given.

    Raises:
        RunError: the file cannot be read by this release.
    """

    def __init__(
        self, path: Path, *, precision: EnginePrecision = "float32", threads: int | None = None
    ) -> None:
        options: dict[str, object] = {
            "INFERENCE_PRECISION_HINT": _PRECISIONS[precision],
            "PERFORMANCE_HINT": "LATENCY",
        }
        if threads is not None:
            options["INFERENCE_NUM_THREADS"] = threads
        self._path = path
        try:
            compiled = openvino.Core().compile_model(str(path), "CPU", options)
            self._request = compiled.create_infer_request()
            self._outputs = len(compiled.outputs)
        except Exception as error:  # of types that are not public
            raise RunError(
                f"{path} cannot be read by openvino {openvino.__version__} ({explain(error)}); "
                "upgrade it with pip install -U openvino, or export the run again"
            ) from error

    def run(self, arrays: Mapping[str, Array]) -> Sequence[Array]:
        """The outputs in their order; see `Graph`."""
        try:
            self._request.infer(as_floats(arrays), share_inputs=True)
            # Copies: the next call writes into the same memory.
            return [
                np.array(self._request.get_output_tensor(index).data, np.float32)
                for index in range(self._outputs)
            ]
        except Exception as error:
            raise RunError(f"openvino failed on {self._path}: {explain(error)}") from error
