"""pydicom and highdicom, loaded when they are first needed; without them the error names the pip line."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dinoseg.errors import DinosegError, FileFormatError
from dinoseg.streams import ignoring_warnings

INSTALL = 'pip install "dinoseg[dicom]"'

_LONGEST = 300


def load_pydicom(module: str = "pydicom") -> Any:
    """The module pydicom, or a part of it such as `pydicom.pixels`.

    Raises:
        DinosegError: it is not installed.
    """
    return _load(module)


def load_highdicom(module: str = "highdicom") -> Any:
    """The module highdicom, or a part of it such as `highdicom.seg`.

    Raises:
        DinosegError: it is not installed.
    """
    return _load(module)


@contextmanager
def explaining(name: object) -> Iterator[None]:
    """Turn whatever a library raises about the file `name` into one line; hide what it warns of.

    Raises:
        FileFormatError: the block failed.
    """
    try:
        with ignoring_warnings():  # pydicom warns about every value that the standard would write otherwise
            yield
    except DinosegError:
        raise
    except Exception as error:  # damaged bytes make libraries raise nearly anything
        raise FileFormatError(f"{name} {_explain(error)}") from error


def shorten(message: str) -> str:
    """`message` on one line, cut where it is very long: damaged files make libraries quote pages."""
    line = " ".join(message.split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]} ..."


def _load(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DinosegError(
            f"DICOM needs {module.partition('.')[0]}, which is not installed ({error}); run {INSTALL}"
        ) from error


def _explain(error: Exception) -> str:
    text = shorten(str(error)) or type(error).__name__
    if isinstance(error, MemoryError):
        return f"needs more memory than there is ({text})"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read ({error.strerror})"
    if isinstance(error, EOFError) or "less than expected" in text or "truncated" in text.lower():
        return f"is truncated ({text}); copy it again from its source"
    return f"cannot be read ({text}); is it damaged?"
