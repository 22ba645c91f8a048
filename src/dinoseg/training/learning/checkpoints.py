"""The checkpoints of a run: their names, and reading them back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from dinoseg.errors import RunError

LAST, BEST = "last", "best"


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a checkpoint, on the CPU.

    Raises:
        RunError: the file is damaged.
    """
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises whatever a damaged file makes it raise
        raise RunError(f"{path} is damaged; restore it, or choose another --out") from error
    return checkpoint
