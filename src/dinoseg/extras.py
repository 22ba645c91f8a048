"""Which extra of the package brings which library, and what to say where one is missing."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

from dinoseg.errors import DinosegError

#: Extra -> the libraries that it brings and that something here cannot do without.
EXTRAS: Mapping[str, tuple[str, ...]] = {
    "train": ("torch", "lightning", "tensorboard", "safetensors"),
    "hub": ("huggingface_hub", "fsspec"),
    "ray": ("ray",),
    "serve": ("fastapi", "uvicorn", "python_multipart", "prometheus_client"),
    "runtime": ("onnxruntime",),
    "openvino": ("openvino",),
    "export": ("onnx", "onnxscript"),
    "dicom": ("pydicom", "highdicom"),
}


def install_line(extra: str) -> str:
    """The command that brings an extra."""
    return f"pip install 'dinoseg[{extra}]'"


def require(library: str, purpose: str, *, extra: str | None = None) -> None:
    """Raise unless a library of an extra is installed; it is not imported.

    Args:
        library: its name when imported.
        purpose: what needs it, the beginning of the sentence.
        extra: the extra to name; the one that brings the library if not given.

    Raises:
        DinosegError: it is missing; the command that installs it is named.
    """
    if find_spec(library) is None:
        raise DinosegError(f"{purpose} needs {library}, which is not installed; {_fix(library, extra)}")


def explain_missing(error: ImportError) -> str:
    """One line for an import that failed because an extra is not installed; "" for any other failure."""
    library = (error.name or "").partition(".")[0]
    if not isinstance(error, ModuleNotFoundError) or not _find_extra(library):
        return ""
    return f"this needs {library}, which is not installed; {_fix(library)}"


def _find_extra(library: str) -> str:
    return next((extra for extra, brought in EXTRAS.items() if library in brought), "")


def _fix(library: str, extra: str | None = None) -> str:
    return f"run {install_line(extra or _find_extra(library))}"
