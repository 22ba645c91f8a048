"""The feature cache: what a frozen backbone said about an image is remembered on disk.

One file per entry, named by the hash of everything it depends on, written under a
temporary name and moved into place: two processes can share a folder, and whoever finds
an entry missing or damaged computes it again. Entries are memory-mapped and stay so while
they are used, so a training set larger than memory costs address space, not memory.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from dinoseg.backbones.features import Features
from dinoseg.errors import DiskFullError, OutputError
from dinoseg.outputs import is_temporary, name_temporary, record, sweep

CHECKSUM = "crc32"
ENTRY_FORMAT = "features 2"  # part of every key: another version does not read what it does not know
SUFFIX = ".safetensors"
KEPT_OPEN = 8192  # memory maps of a store; a process may have 65,530 by default on Linux
SPARE = 0.95  # a full store is emptied to this share of its limit
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class _Opened:
    """An entry that is memory-mapped, and the file that it was."""

    path: Path
    file: tuple[int, int, int]
    tensors: dict[str, Tensor]


class EntryStore:
    """A bounded folder of named tensors.

    Args:
        folder: created when the first entry is written.
        limit_gb: size beyond which the entries that were unused longest are removed.
            Entries used by this object are never removed by it; when they alone reach
            the limit, further ones are not stored.
    """

    def __init__(self, folder: Path, *, limit_gb: float) -> None:
        self.folder = folder
        self.limit = int(limit_gb * 1e9)
        self._used: set[str] = set()
        self._opened: dict[str, _Opened] = {}
        self._full = False
        self._sweep()
        self._size = sum(size for _, size, _ in self._scan())

    def __contains__(self, key: str) -> bool:
        return self._path(key).is_file()

    def get(self, key: str) -> dict[str, Tensor] | None:
        """The tensors of an entry, memory-mapped, or None where it is missing or damaged.

        The first time an entry is used its checksum is verified; a damaged one is removed. The
        first ones stay open, for as long as their files are there in the same length: of entries
        that are all used once an epoch, those that were used last would be the wrong ones to keep.
        """
        opened = self._opened.get(key)
        if opened is not None:
            if _identify(opened.path) == opened.file:
                return opened.tensors
            del self._opened[key]
        return self._open(key)

    def open_ahead(self, keys: Iterable[str]) -> None:
        """Open entries that will be used, as many as stay open.

        Their handles then lie side by side in memory. Opened between the steps of a training, each
        sits in the gap that a batch has left, and the next batch needs a new place.
        """
        for key in keys:
            if len(self._opened) >= KEPT_OPEN:
                return
            self.get(key)

    def _open(self, key: str) -> dict[str, Tensor] | None:
        path = self._path(key)
        try:
            with safe_open(path, "pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                expected = (file.metadata() or {}).get(CHECKSUM)
        except SafetensorError:
            _remove(path)
            return None
        except OSError:  # not there, or not to be read now: computed instead
            return None
        if key not in self._used:
            if expected != _checksum(tensors):
                _remove(path)
                return None
            self._mark_used(key, path)
        self._keep_open(key, path, tensors)
        return tensors

    def _keep_open(self, key: str, path: Path, tensors: dict[str, Tensor]) -> None:
        identity = _identify(path) if len(self._opened) < KEPT_OPEN else None
        if identity is not None:
            self._opened[key] = _Opened(path, identity, tensors)

    def put(self, key: str, tensors: Mapping[str, Tensor]) -> bool:
        """Write an entry; False where there is no room left within the limit.

        Raises:
            OutputError: the disk is full or the folder is not writable.
        """
        contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        data = save(contiguous, metadata={CHECKSUM: _checksum(contiguous)})
        if not self._make_room(len(data)):
            return False
        path = self._path(key)
        temporary = name_temporary(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(data)
            record(path, temporary)
            temporary.replace(path)
        except OSError as error:
            raise (DiskFullError if error.errno == errno.ENOSPC else OutputError)(
                f"the feature cache {self.folder} cannot be written ({error.strerror}); "
                "free some space or name another folder with --set cache.folder=DIR"
            ) from error
        finally:
            _remove(temporary)
        self._used.add(key)
        self._size += len(data)
        return True

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key[2:]}{SUFFIX}"

    def _mark_used(self, key: str, path: Path) -> None:
        self._used.add(key)
        try:
            os.utime(path)  # the order of removal; a shared read-only cache has no order
        except OSError:
            return

    def _make_room(self, size: int) -> bool:
        if self._size + size <= self.limit:
            return True
        if self._full:
            return False
        entries = sorted(self._scan())  # oldest first; also corrects for what others wrote
        self._size = sum(entry[1] for entry in entries)
        target = min(int(self.limit * SPARE), self.limit - size)  # room for more, not to scan at every entry
        for _, freed, path in entries:
            if self._size <= target:
                break
            if path.parent.name + path.name.removesuffix(SUFFIX) not in self._used:
                _remove(path)
                self._size -= freed
        self._full = self._size + size > self.limit
        return not self._full

    def _sweep(self) -> None:
        """Remove what writers that were killed left behind."""
        sweep(self.folder.glob("??/.*"))

    def _scan(self) -> list[tuple[float, int, Path]]:
        """(time of last use, bytes, path) of every entry."""
        found = []
        for path in self.folder.glob(f"??/*{SUFFIX}"):
            try:
                status = path.stat()
            except OSError:  # removed by another process meanwhile
                continue
            if is_temporary(path):
                continue
            found.append((status.st_mtime, status.st_size, path))
        return found


class FeatureCache:
    """A backbone that remembers.

    Args:
        backbone: computes (1, 3, H, W) pixels to Features; `digest` names its weights.
        store: where entries are kept.
        dtype: of stored maps; they come back as float32.
    """

    def __init__(
        self,
        backbone: Callable[[Tensor], Features],
        digest: str,
        store: EntryStore,
        *,
        dtype: Literal["float32", "bfloat16"] = "bfloat16",
    ) -> None:
        self.backbone = backbone
        self.store = store
        self.dtype = dtype
        self._digest = digest

    def key(self, *parts: str) -> str:
        """Key of an entry from what names the pixels: content, preprocessing, view."""
        return entry_key(ENTRY_FORMAT, self._digest, self.dtype, *parts)

    def __contains__(self, key: str) -> bool:
        return key in self.store

    def features(self, keys: Sequence[str], pixels: Callable[[int], Tensor]) -> Features:
        """Features of a batch, remembered or computed now and remembered.

        Args:
            keys: one per image, from `key`.
            pixels: called with a position in `keys` where that entry is missing; gives
                (3, H, W), normalised.

        Images are computed one by one: an entry then has the same bits whoever computes it
        beside what.
        """
        return _unpack([self._one(key, partial(pixels, index)) for index, key in enumerate(keys)])

    def _one(self, key: str, pixels: Callable[[], Tensor]) -> Mapping[str, Tensor]:
        entry = self.store.get(key)
        if entry is None:
            entry = self.compute(pixels())
            self.store.put(key, entry)
        return entry

    def compute(self, pixels: Tensor) -> dict[str, Tensor]:
        """The entry of one image (3, H, W), normalised; not yet remembered. May be called in any thread."""
        return compute_entry(self.backbone, pixels, self.dtype)


def compute_entry(
    backbone: Callable[[Tensor], Features], pixels: Tensor, dtype: Literal["float32", "bfloat16"]
) -> dict[str, Tensor]:
    """What is remembered of one image (3, H, W), normalised: its maps, stored as `dtype`."""
    return _pack(backbone(pixels.unsqueeze(0)), DTYPES[dtype])


def _identify(path: Path) -> tuple[int, int, int] | None:
    """Which file this is and how long; None where it is gone.

    Reading the map of a file that was cut short would kill the process.
    """
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):  # gone already, or in a folder that may only be read
        path.unlink()


def entry_key(*parts: str) -> str:
    """Hash of the parts; any difference in any of them gives another key."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode()
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    value = 0
    for name in sorted(tensors):
        value = zlib.crc32(name.encode(), value)
        value = zlib.crc32(cast(Any, tensors[name].reshape(-1).view(torch.uint8).numpy()), value)
    return f"{value:08x}"


def _pack(features: Features, dtype: torch.dtype) -> dict[str, Tensor]:
    """Features of one image as named tensors: maps, class tokens (levels, C) and the geometry.

    A ViT's maps are alike and become one tensor (levels, C, h, w): one look-up instead of four.
    """
    maps = [level[0].to(dtype) for level in features.levels]
    alike = len({level.shape for level in maps}) == 1
    entry = {"levels": torch.stack(maps)} if alike else {f"level{i}": level for i, level in enumerate(maps)}
    if features.cls:
        entry["cls"] = torch.cat(features.cls).to(dtype)
    entry["geometry"] = torch.tensor([*features.size, *features.padded, *features.strides])
    return entry


def _unpack(entries: Sequence[Mapping[str, Tensor]]) -> Features:
    """One batch, float32, from entries of images of the same size."""
    first = entries[0]
    height, width, padded_height, padded_width, *strides = first["geometry"].tolist()
    if "levels" in first:
        levels = _stack(entries, "levels").unbind(1)  # (B, levels, C, h, w) -> (B, C, h, w) each
    else:
        levels = tuple(_stack(entries, f"level{index}") for index in range(len(strides)))
    return Features(
        levels=tuple(levels),
        strides=tuple(strides),
        size=(height, width),
        padded=(padded_height, padded_width),
        cls=tuple(_stack(entries, "cls").unbind(1)) if "cls" in first else None,
    )


def _stack(entries: Sequence[Mapping[str, Tensor]], name: str) -> Tensor:
    return torch.stack([entry[name] for entry in entries]).float()
