"""Reading a checkpoint as people have it: bare, or in a trainer's dictionary and with prefixes."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dinoseg.backbones.keys import name_some
from dinoseg.backbones.tensor_files import read_tensors
from dinoseg.errors import RunError, WeightsError
from dinoseg.releases.tensors import refuse_odd_tensors
from dinoseg.streams import ignoring_warnings

State = dict[str, Tensor]
SUFFIXES = (".pth", ".pt", ".safetensors")
#: Keys under which training programs put the table of tensors; nnU-Net's is the first.
DEEPEST = 8
WRAPPERS = ("network_weights", "state_dict", "model_state_dict", "model", "net")


def read_checkpoint(path: Path) -> State:
    """Read the table of tensors of a .pth, .pt or .safetensors file, under the program's own names.

    Raises:
        WeightsError: the file is missing, damaged, of another kind, or would run code.
        RunError: two tensors have one name once the prefixes of wrappers are gone.
    """
    if not path.is_file():
        raise WeightsError(f"{path} does not exist; accepted is a file in {', '.join(SUFFIXES)}")
    if path.suffix not in SUFFIXES:
        raise WeightsError(f"{path} ends in {path.suffix!r}; accepted are {', '.join(SUFFIXES)}")
    state = read_tensors(path) if path.suffix == ".safetensors" else _unwrap(_read_pth(path), path)
    with ignoring_warnings():  # torch warns about what is refused here
        refuse_odd_tensors(state, path)
    plain: State = {}
    for name, tensor in state.items():
        short = strip_wrappers(name)
        if short in plain:
            raise RunError(f"{path} holds {short} twice, with and without a prefix; keep one of them")
        plain[short] = tensor.detach()
    return plain


def strip_wrappers(name: str) -> str:
    """A tensor's name without what DataParallel (`module.`) and torch.compile (`_orig_mod.`) put in."""
    parts = [part for part in name.split(".") if part != "_orig_mod"]
    while parts[:1] == ["module"]:
        del parts[0]
    return ".".join(parts)


def _unwrap(content: Any, path: Path) -> State:
    depth = 0
    while not _is_table(content):
        depth += 1
        if depth > DEEPEST:  # perhaps in itself
            raise WeightsError(
                f"{path} holds tables in tables, more than {DEEPEST} deep; save its state_dict alone"
            )
        keys = [str(key) for key in content] if isinstance(content, dict) else []
        found = [key for key in WRAPPERS if key in keys and isinstance(content[key], dict)]
        if len(found) != 1:
            given = f"several tables ({', '.join(found)})" if found else f"no table ({name_some(keys)})"
            raise WeightsError(
                f"{path} holds {given}; accepted is one table of tensors, alone or under "
                f"{', '.join(WRAPPERS)}"
            )
        content = content[found[0]]
    table: State = content
    return table


def _is_table(content: Any) -> bool:
    return (
        isinstance(content, dict)
        and bool(content)
        and all(isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items())
    )


def _read_pth(path: Path) -> Any:
    """Read without running anybody's code; numpy's plain numbers, which trainers log, are let in."""
    try:
        zipped = zipfile.is_zipfile(path)
        if zipped:
            _refuse_damaged_zip(path)
        with ignoring_warnings(), torch.serialization.safe_globals(_plain_numbers()):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except WeightsError:
        raise
    except Exception as error:  # the unpickler raises whatever a damaged or hostile file makes it raise
        raise WeightsError(
            f"{path} was refused: it is damaged or holds more than tensors and numbers ({_explain(error)}); "
            "fetch it again, or save its state_dict alone as .safetensors"
        ) from error


def _refuse_damaged_zip(path: Path) -> None:
    """Raise where a check sum is wrong, which torch does not look at, or a record would unfold in memory.

    Raises:
        WeightsError: names the record.
    """
    with zipfile.ZipFile(path) as archive:
        records = archive.infolist()
        folded = [record.filename for record in records if record.compress_type != zipfile.ZIP_STORED]
        if folded or sum(record.file_size for record in records) > path.stat().st_size:
            raise WeightsError(
                f"{path} was refused: its records are compressed or overlap ({name_some(folded)}), which "
                "torch.save never writes; save its state_dict again"
            )
        damaged = archive.testzip()
    if damaged is not None:
        raise WeightsError(f"{path} is damaged (the check sum of {damaged} is wrong); fetch it again")


def _plain_numbers() -> list[Any]:
    """What the pickle of a numpy number names: the maker, under its names of numpy 1 and 2, and the types."""
    make = np.float64(0).__reduce__()[0]
    makers = [(make, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    kinds = np.typecodes["AllFloat"] + np.typecodes["AllInteger"] + "?"
    return [*makers, np.dtype, *{type(np.dtype(kind)) for kind in kinds}]


def _explain(error: Exception) -> str:
    """One line; torch's own goes on for a paragraph and ends in advice to run the file's code."""
    text = str(error)
    named = re.search(r"GLOBAL ([\w.]+)", text)
    if named:
        return f"it names {named.group(1)}"
    return text.splitlines()[0][:120] if text else type(error).__name__
