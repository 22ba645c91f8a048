"""Engines: programs that compute a graph of ONNX. Arrays in, arrays out; none of them needs torch."""

from __future__ import annotations

from pathlib import Path

from dinoseg.engines.graph import ENGINES, Array, Engine, EnginePrecision, Graph
from dinoseg.errors import UsageError
from dinoseg.extras import require

__all__ = [
    "DEFAULT_ENGINE",
    "ENGINES",
    "Array",
    "Engine",
    "EnginePrecision",
    "Graph",
    "check_engine",
    "open_graph",
]

DEFAULT_ENGINE: Engine = "onnxruntime"


def check_engine(engine: str, precision: EnginePrecision = "float32") -> Engine:
    """Return the engine if there is one of that name, it is installed, and it computes in that precision.

    Raises:
        UsageError: there is none of that name, or it has no such precision.
        DinosegError: it is not installed.
    """
    found = next((known for known in ENGINES if known == engine), None)
    if found is None:
        raise UsageError(f"engine {engine!r} is unknown; accepted are {', '.join(ENGINES)}")
    if precision == "bfloat16" and engine != "openvino":
        raise UsageError(f"{engine} computes in float32; precision bfloat16 needs --engine openvino")
    require(engine, f"engine {engine}")
    return found


def open_graph(
    path: Path,
    *,
    engine: Engine = DEFAULT_ENGINE,
    precision: EnginePrecision = "float32",
    threads: int | None = None,
) -> Graph:
    """A graph, ready to compute.

    Args:
        path: an .onnx file.
        engine: what computes it; never chosen by what happens to be installed.
        precision: what it computes in.
        threads: cores; all of them if not given.

    Raises:
        UsageError: there is no such engine, or it has no such precision.
        RunError: the engine cannot read the graph.
        DinosegError: the engine is not installed.
    """
    check_engine(engine, precision)
    if engine == "openvino":
        from dinoseg.engines.open_vino import OpenVINOGraph

        return OpenVINOGraph(path, precision=precision, threads=threads)
    from dinoseg.engines.onnx_runtime import ONNXRuntimeGraph

    return ONNXRuntimeGraph(path, threads=threads)
