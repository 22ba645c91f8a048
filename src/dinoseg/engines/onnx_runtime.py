"""ONNX Runtime, on the processor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import onnxruntime

from dinoseg.engines.graph import Array, as_floats, explain
from dinoseg.errors import RunError

_ERRORS_ONLY = 3  # of its log levels


class ONNXRuntimeGraph:
    """A graph in a session of ONNX Runtime.

    Args:
        path: an .onnx file.
        threads: cores; all of them if not given.

    Raises:
        RunError: the file cannot be read by this release.
    """

    def __init__(self, path: Path, *, threads: int | None = None) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        if threads is not None:
            options.intra_op_num_threads = threads
        # A model has two graphs, each with threads of its own: those that wait must not keep the cores busy.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._path = path
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its own types are not public, and a damaged file raises any of them
            raise RunError(
                f"{path} cannot be read by onnxruntime {onnxruntime.__version__} ({explain(error)}); "
                "upgrade it with pip install -U onnxruntime, or export the run again"
            ) from error

    def run(self, arrays: Mapping[str, Array]) -> Sequence[Array]:
        """The outputs in their order; see `Graph`."""
        try:
            found: Sequence[Array] = self._session.run(None, as_floats(arrays))
        except Exception as error:
            raise RunError(f"onnxruntime failed on {self._path}: {explain(error)}") from error
        return found
