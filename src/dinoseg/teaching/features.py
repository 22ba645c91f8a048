"""What a frozen backbone says about every slice of a project: computed once, nearest first, kept as numbers.

Each slice is seen in two sizes side by side. Its maps, the deeper half of the levels, are projected on the
directions in which the first slices differ most; those are found once and kept with the project, so that it
sees the same numbers when it is opened again. What the backbone said itself lies in the feature cache that
`train` uses.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from threading import Condition, Thread

import numpy as np
import torch
from numpy.typing import NDArray

from dinoseg.backbones import create_backbone
from dinoseg.backbones.backbone import Backbone
from dinoseg.backbones.cache import EntryStore, FeatureCache
from dinoseg.backbones.features import Features
from dinoseg.backbones.weights import list_weights
from dinoseg.backbones.weights_settings import read_settings
from dinoseg.config import CacheSettings
from dinoseg.config.training import Training
from dinoseg.data.case import Image
from dinoseg.data.digests import remember_digests
from dinoseg.data.tensors.transforms import PREPARATION, prepare_pixels
from dinoseg.errors import DinosegError, RunError
from dinoseg.outputs import atomic_path, digest_json
from dinoseg.progress import Progress
from dinoseg.teaching.frames import Frame
from dinoseg.teaching.subjects import Reader
from dinoseg.training.features.jobs import compute_on

LOG = logging.getLogger(__name__)

Maps = NDArray[np.float16]

SCALES = (1.0, 0.5)
SIDE = 448  # px, of the larger of the two
WIDTH = 256  # numbers of each cell that are kept of its features
PLACES = 5  # numbers that say where in the image it lies
_PLACE = 0.3  # of the length of the others
_FOR_BASIS = 4  # slices: with more of them no image is segmented better
_IN_MEMORY = 1_500_000_000  # bytes of maps; beyond that they lie in a file that is mapped


def choose_backbone(given: str | None) -> str:
    """The backbone that was asked for, else the one `train` takes, else the first whose weights are here."""
    default = str(Training().backbone)
    here = [status.name for status in list_weights() if status.present and status.accepted]
    if given is not None or not here or default in here:
        return given or default
    return here[0]


class Seer:
    """What is seen on a slice: its pixels in two sizes through a backbone, remembered.

    Args:
        name: of the backbone.
        reader: of the slices.
        accept_license: accept the licence of the weights.
        progress: shows where the weights are from.
    """

    def __init__(
        self, name: str, reader: Reader, *, accept_license: bool = False, side: int = SIDE, progress: Progress
    ) -> None:
        self._backbone: Backbone = create_backbone(
            name, scales=SCALES, accept_license=accept_license, progress=progress
        )
        settings = CacheSettings()
        store = EntryStore(settings.folder or read_settings().home / "features", limit_gb=settings.limit_gb)
        network = compute_on("cpu", self._backbone)
        self._cache = FeatureCache(network, self._backbone.digest, store, dtype=settings.dtype)
        self._reader = reader
        self.side = side
        self.grid = -(-side // max(self._backbone.strides[0], 1))

    @property
    def digest(self) -> str:
        """Of all that the numbers of a cell depend on but the image."""
        return digest_json([self._backbone.digest, self.side, PREPARATION])

    def see(self, frame: Frame) -> NDArray[np.float32]:
        """(cells, C): the maps of the deeper half of the levels, row by row.

        Raises:
            DataError: the image cannot be read.
        """
        key = self._cache.key(self._name(frame), repr((PREPARATION, self.side)), str(frame.index))

        def pixels(_: int) -> torch.Tensor:
            return self._prepare(self._reader.image(frame.subject, frame.index))

        return self._join(self._cache.features([key], pixels))

    def look(self, image: Image) -> NDArray[np.float32]:
        """(cells, C) of an image that is in no project; remembered by its content."""
        content = hashlib.sha256(np.ascontiguousarray(image.array).data).hexdigest()
        key = self._cache.key(content, repr((PREPARATION, self.side, image.array.shape)))
        return self._join(self._cache.features([key], lambda _: self._prepare(image)))

    def _prepare(self, image: Image) -> torch.Tensor:
        size, backbone = (self.side, self.side), self._backbone
        return torch.from_numpy(prepare_pixels(image, size, mean=backbone.mean, std=backbone.std))

    def _join(self, features: Features) -> NDArray[np.float32]:
        levels = features.levels
        grid = (self.grid, self.grid)
        alike = [
            level
            if level.shape[-2:] == grid
            else torch.nn.functional.interpolate(level, grid, mode="bilinear", align_corners=False)
            for level in levels[len(levels) // 2 :]
        ]
        # (1, C, h, w) -> (h * w, C)
        cells: NDArray[np.float32] = torch.cat(alike, dim=1)[0].flatten(1).T.contiguous().numpy()
        return cells

    def _name(self, frame: Frame) -> str:
        """Of the file's content, and how its intensities are read."""
        with remember_digests() as memory:
            found = [memory.find(path) for path in frame.subject.files.images if path.is_file()]
        where = str(frame.subject.files.image) if not found else ""
        return digest_json([found, where, self._reader.describe()])


@dataclass(frozen=True)
class Basis:
    """A projection of a cell's numbers.

    Attributes:
        mean: (C,).
        axes: (C, D), of channels that vary alike.
        length: of a cell's projected numbers, usually.
        digest: of what gave the numbers.
    """

    mean: NDArray[np.float32]
    axes: NDArray[np.float32]
    length: float
    digest: str

    @classmethod
    def fit(cls, seen: Sequence[NDArray[np.float32]], digest: str, *, width: int = WIDTH) -> Basis:
        """The directions in which the cells differ most, where all channels vary alike."""
        cells = np.concatenate(seen)
        mean = cells.mean(axis=0)
        spread = np.maximum(cells.std(axis=0), 1e-6)
        normal = (cells - mean) / spread
        values, vectors = np.linalg.eigh(normal.T @ normal / len(normal))
        order = np.argsort(values)[::-1][:width]
        axes = vectors[:, order] / spread[:, None]
        length = float(np.sqrt(np.maximum(values[order], 0).sum()))
        return cls(mean, axes.astype(np.float32), length, digest)

    def apply(self, cells: NDArray[np.float32]) -> Maps:
        """(cells, C) of a square grid -> (cells, D + `PLACES`)."""
        projected = ((cells - self.mean) @ self.axes).clip(-6e4, 6e4)
        places = _list_places(round(len(cells) ** 0.5)) * (self.length * _PLACE)
        joined: Maps = np.concatenate([projected, places], axis=1).astype(np.float16)
        return joined

    def save(self, path: Path) -> None:
        """Write it down."""
        with atomic_path(path, overwrite=True) as temporary, temporary.open("wb") as file:
            named = (np.array(self.length), np.array(self.digest))
            np.savez(file, mean=self.mean, axes=self.axes, length=named[0], digest=named[1])

    @classmethod
    def load(cls, path: Path, digest: str) -> Basis | None:
        """What `save` wrote; None where it is of other numbers, or cannot be read."""
        try:
            with np.load(path, allow_pickle=False) as file:
                found = cls(file["mean"], file["axes"], float(file["length"]), str(file["digest"]))
        except (OSError, ValueError, KeyError):
            return None
        return found if found.digest == digest else None


def _list_places(grid: int) -> NDArray[np.float32]:
    """(grid², PLACES): across, down, and their products, each about as large as the others."""
    down, across = np.mgrid[:grid, :grid].reshape(2, -1).astype(np.float32) / max(grid - 1, 1) * 2 - 1
    found = np.stack([across, down, across**2, down**2, across * down], axis=1)
    places: NDArray[np.float32] = found * np.float32(2 / PLACES**0.5)
    return places


class Memory:
    """The maps of all slices, (F, cells, D); in memory, or mapped from a file where they are too many."""

    def __init__(self, frames: int, cells: int, width: int = WIDTH + PLACES) -> None:
        shape = (frames, cells, width)
        size = 2 * frames * cells * width
        self.maps: Maps
        if size <= _IN_MEMORY:
            self.maps = np.zeros(shape, np.float16)
        else:
            self._file = TemporaryFile()  # noqa: SIM115 - lives as long as the map
            self.maps = np.memmap(self._file, np.float16, mode="w+", shape=shape)
        self.means = np.zeros((frames, width), np.float32)
        self.ready = np.zeros(frames, bool)

    def put(self, frame: int, maps: Maps) -> None:
        """Keep the maps of a slice."""
        self.maps[frame] = maps
        self.means[frame] = maps.mean(axis=0, dtype=np.float32)
        self.ready[frame] = True


@dataclass(frozen=True)
class FeatureProgress:
    """How far the features are.

    Attributes:
        done: slices.
        total: slices.
        eta_s: seconds that the rest will take; None where that is not known or nothing is left.
    """

    done: int
    total: int
    eta_s: float | None


class FeatureThread:
    """Computes what is missing in a thread of its own, nearest first, and rests while something is learned.

    Args:
        frames: all slices, in order.
        seer: sees them.
        basis_path: where the projection is kept.
        tell: called with the number of a slice when its maps are there, or with the error that it gave.
    """

    def __init__(
        self,
        frames: Sequence[Frame],
        seer: Seer,
        basis_path: Path,
        tell: Callable[[int, DinosegError | None], None],
    ) -> None:
        self._frames = frames
        self._seer = seer
        self._path = basis_path
        self._tell = tell
        self._basis = Basis.load(basis_path, seer.digest)
        self._condition = Condition()
        self._near = 0
        self._resting = 0
        self._stopped = False
        self._missing = set(range(len(frames)))
        self._seconds: list[float] = []
        self.memory = Memory(len(frames), seer.grid**2)
        self._thread = Thread(target=self._run, name="features", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the slice at hand."""
        with self._condition:
            self._stopped = True
            self._condition.notify_all()
        self._thread.join()

    def show(self, frame: int) -> None:
        """Say which slice is looked at: it is next, then those behind it."""
        self._near = frame

    def rest(self) -> None:
        """Begin nothing new until `go_on`."""
        with self._condition:
            self._resting += 1

    def go_on(self) -> None:
        """The end of `rest`."""
        with self._condition:
            self._resting -= 1
            self._condition.notify_all()

    @property
    def progress(self) -> FeatureProgress:
        """How far it is."""
        left, taken = len(self._missing), self._seconds[-20:]
        eta = left * sum(taken) / len(taken) if left and taken else None
        return FeatureProgress(len(self._frames) - left, len(self._frames), eta)

    def _run(self) -> None:
        pending: dict[int, NDArray[np.float32]] = {}
        while (number := self._take(pending)) is not None:
            began = time.monotonic()
            try:
                pending[number] = self._seer.see(self._frames[number])
            except DinosegError as error:
                self._finish(number, error)
            except Exception as error:  # one image must not keep the others from being seen
                LOG.error("features failed", exc_info=error)
                self._finish(number, RunError(f"its features could not be computed: {error}"))
            else:
                self._seconds.append(time.monotonic() - began)
            if self._basis is None and pending and len(pending) >= min(_FOR_BASIS, len(self._missing)):
                self._basis = self._fit(pending)
            if self._basis is not None:
                self._keep(self._basis, pending)

    def _fit(self, seen: Mapping[int, NDArray[np.float32]]) -> Basis:
        basis = Basis.fit(list(seen.values()), self._seer.digest)
        try:
            basis.save(self._path)
        except DinosegError as error:  # it is computed again the next time
            LOG.warning("the projection of the features was not kept: %s", error)
        return basis

    def _keep(self, basis: Basis, pending: dict[int, NDArray[np.float32]]) -> None:
        for number, cells in pending.items():
            self.memory.put(number, self._project(basis, cells))
            self._finish(number, None)
        pending.clear()

    def look(self, image: Image) -> Maps | None:
        """(cells, D) of an image that is in no project; None before the projection is known."""
        return None if self._basis is None else self._project(self._basis, self._seer.look(image))

    def _project(self, basis: Basis, cells: NDArray[np.float32]) -> Maps:
        maps = basis.apply(cells)
        spare = self.memory.maps.shape[2] - maps.shape[1]  # of a backbone with fewer numbers than are kept
        return np.pad(maps, ((0, 0), (0, spare))) if spare else maps

    def _finish(self, number: int, error: DinosegError | None) -> None:
        with self._condition:
            self._missing.discard(number)
        self._tell(number, error)

    def _take(self, pending: dict[int, NDArray[np.float32]]) -> int | None:
        with self._condition:
            self._condition.wait_for(lambda: self._stopped or not self._resting)
            left = self._missing - pending.keys()
            if self._stopped or not left:
                return None
            return min(left, key=lambda number: (number - self._near) % len(self._frames))
