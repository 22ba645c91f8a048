"""Volumes that are the same: what must not stand in two splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256

from dinoseg.data.cases.files import CaseFiles
from dinoseg.data.digests import remember_digests
from dinoseg.data.splits.duplicates import DuplicatePair
from dinoseg.data.volumes import Volume
from dinoseg.progress import Progress, Silent


def find_same_files(
    cases: Sequence[CaseFiles], parts: Mapping[str, str], *, progress: Progress | None = None
) -> tuple[DuplicatePair, ...]:
    """Pairs of cases in different parts whose image files have the same bytes.

    Args:
        cases: the volumes to compare.
        parts: case id -> split, or group; pairs within one part are not reported.
        progress: shows the reading.

    Raises:
        FileFormatError: a file cannot be read.
    """
    steps = (progress or Silent()).track(cases, total=len(cases), label="Comparing volumes")
    with remember_digests() as memory:
        digests = {case.id: "".join(memory.find(path) for path in case.images) for case in steps}
    return find_equal(digests, parts)


def find_equal(digests: Mapping[str, str], parts: Mapping[str, str]) -> tuple[DuplicatePair, ...]:
    """Pairs of cases in different parts with the same digest (case id -> digest)."""
    first: dict[str, list[str]] = {}
    pairs = []
    for name, digest in digests.items():
        others = first.setdefault(digest, [])
        pairs += [DuplicatePair(other, name, 0) for other in others if parts[other] != parts[name]]
        others.append(name)
    return tuple(pairs)


def digest_voxels(volume: Volume) -> str:
    """Hash of shape and voxels, the same for every file format and compression, and for uint8 and int16.

    Floats that hold whole numbers differ from integers: what a slope made of them may be rounded.
    """
    digest = sha256(repr((volume.array.shape, volume.array.dtype.kind == "f")).encode())
    wide = "<f4" if volume.array.dtype.kind == "f" else "<i8"
    for channel in volume.array:
        for plane in channel:  # (D, H, W) -> (H, W)
            digest.update(plane.astype(wide).tobytes())
    return digest.hexdigest()
