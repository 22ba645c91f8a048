"""`NiftiForms`: how a NIfTI header says where its voxels lie, kept so that what is written says the same."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class NiftiForms:
    """The numbers of a NIfTI header that place its voxels, as they are stored.

    A file may hold two placements, sform and qform, and programs differ in which one they follow. A mask
    opens over its image in all of them only if it carries both, with their codes.

    Attributes:
        version: 1 or 2.
        sform_code: 0 where the sform is not in use.
        qform_code: 0 where the qform is not in use.
        sform: rows x, y, z of the affine, four numbers each.
        quaternion: b, c, d.
        offset: x, y, z of the first voxel by the qform.
        pixdim: eight numbers; the first is qfac, the next three the voxel size.
        units: of space and time, the byte `xyzt_units`.
        disagreement: one line where both forms are in use and place the voxels differently, or "".
    """

    version: int
    sform_code: int
    qform_code: int
    sform: tuple[float, ...]
    quaternion: tuple[float, ...]
    offset: tuple[float, ...]
    pixdim: tuple[float, ...]
    units: int
    disagreement: str = ""
