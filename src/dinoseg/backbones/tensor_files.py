"""Reading tensors from files without running anybody's code."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from dinoseg.errors import WeightsError


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a `.safetensors` or `.pth` file onto the CPU.

    Args:
        path: the file.

    Raises:
        WeightsError: the file is missing, damaged, of another kind, or holds more than tensors.
    """
    if not path.is_file():
        raise WeightsError(f"{path} does not exist; give Meta's .pth or a .safetensors file")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix in (".pth", ".pt"):
        return _read_pth(path)
    raise WeightsError(f"{path} ends in '{path.suffix}'; accepted are .safetensors and Meta's .pth")


def read_folder(folder: Path) -> dict[str, Tensor]:
    """Read `model.safetensors` of a Hugging Face folder, or the parts that its index names.

    Raises:
        WeightsError: neither is there, or a part is missing or damaged.
    """
    tensors: dict[str, Tensor] = {}
    for part in list_parts(folder):
        tensors.update(read_tensors(part))
    return tensors


def list_parts(folder: Path) -> list[Path]:
    """Return the weight files of a Hugging Face folder.

    Raises:
        WeightsError: there are none, or the index cannot be read.
    """
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if whole.is_file():
        return [whole]
    if not index.is_file():
        raise WeightsError(
            f"{folder} has no model.safetensors; save the model again with save_pretrained (safetensors)"
        )
    try:
        names = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        return [folder / Path(name).name for name in sorted(set(names))]
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise WeightsError(f"{index} is damaged: {error}") from error


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except Exception as error:  # beside SafetensorError whatever a wrong header makes the reader raise
        raise WeightsError(f"{path} is damaged ({error}); fetch it again") from error


def _read_pth(path: Path) -> dict[str, Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # the unpickler raises whatever a damaged or hostile file makes it raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(
            f"{path} was refused: it is damaged or holds more than tensors ({reason:.120}); "
            f"fetch it again from Meta, or use a .safetensors file"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(
            f"{path} is no table of tensors; accepted are the backbone files as Meta sends them"
        )
    return state
