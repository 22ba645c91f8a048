from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from dinoseg.data.volumes import Plane, iter_slices, stack_slices, take_slice, upright_geometry
from dinoseg.errors import UsageError
from tests.data.volumes.samples import SHAPE, counting, make_volume

PLANES: tuple[Plane, ...] = ("axial", "coronal", "sagittal")
UPRIGHT = upright_geometry(SHAPE).affine


def _scan(channels: int = 1) -> np.ndarray:
    return counting((channels, *SHAPE))


def test_slices_are_cut_across_their_axis() -> None:
    volume = make_volume(_scan(2), affine=UPRIGHT)
    np.testing.assert_array_equal(take_slice(volume, 1), volume.array[:, 1])
    np.testing.assert_array_equal(take_slice(volume, 2, plane="coronal"), volume.array[:, :, 2])
    np.testing.assert_array_equal(take_slice(volume, 5, plane="sagittal"), volume.array[:, :, :, 5])


@pytest.mark.parametrize("plane", PLANES)
def test_there_is_one_slice_for_each_place(plane: Plane) -> None:
    volume = make_volume(affine=UPRIGHT)
    slices = list(iter_slices(volume, plane=plane))
    assert len(slices) == SHAPE[PLANES.index(plane)]
    for index, piece in enumerate(slices):
        np.testing.assert_array_equal(piece, take_slice(volume, index, plane=plane))
        assert np.shares_memory(piece, volume.array)
        assert piece.dtype == np.int16


@pytest.mark.parametrize("plane", PLANES)
def test_neighbours_become_channels_and_edges_repeat(plane: Plane) -> None:
    volume = make_volume(_scan(2), affine=UPRIGHT)
    alone = list(iter_slices(volume, plane=plane))
    last = len(alone) - 1
    for index, piece in enumerate(iter_slices(volume, plane=plane, context=3)):
        around = [alone[max(index - 1, 0)], alone[index], alone[min(index + 1, last)]]
        np.testing.assert_array_equal(piece, np.concatenate(around))


@pytest.mark.parametrize("plane", PLANES)
def test_stacking_is_the_inverse(plane: Plane) -> None:
    volume = make_volume(affine=UPRIGHT)
    masks = (piece[0] for piece in iter_slices(volume, plane=plane))
    stacked = stack_slices(masks, plane=plane, shape=volume.geometry.shape)
    np.testing.assert_array_equal(stacked, volume.array[0])
    assert stacked.dtype == np.int16


def test_slices_are_made_one_at_a_time() -> None:
    made: list[int] = []

    def masks() -> Iterator[np.ndarray]:
        for index in range(SHAPE[0]):
            made.append(index)
            yield np.full(SHAPE[1:], index, np.uint8)

    slices = iter_slices(make_volume(affine=UPRIGHT), context=3)
    assert next(slices).shape == (3, 5, 6)
    assert stack_slices(masks(), shape=SHAPE)[3, 0, 0] == 3
    assert made == [0, 1, 2, 3]


def test_only_canonical_volumes_are_cut() -> None:
    with pytest.raises(UsageError, match=r"runs towards RAS.*call to_canonical"):
        iter_slices(make_volume(affine=np.eye(4)))


@pytest.mark.parametrize("index", [-1, 4])
def test_slices_that_are_not_there_are_refused(index: int) -> None:
    with pytest.raises(UsageError, match="it has 4"):
        take_slice(make_volume(affine=UPRIGHT), index)


def test_unknown_plane_and_context_are_refused() -> None:
    volume = make_volume(affine=UPRIGHT)
    with pytest.raises(UsageError, match="axial, coronal, sagittal"):
        iter_slices(volume, plane="transversal")
    with pytest.raises(UsageError, match="context 2"):
        iter_slices(volume, context=2)


@pytest.mark.parametrize(
    ("masks", "words"),
    [
        ([np.zeros((5, 6))] * 3, "3 masks for 4"),
        ([np.zeros((5, 6))] * 5, "mask 5"),
        ([], "0 masks for 4"),
        ([np.zeros((6, 5))], "mask 1"),
        ([np.zeros((5, 6)), np.zeros((5, 6), np.uint8)], "uint8"),
    ],
)
def test_masks_that_do_not_fit_are_refused(masks: list[np.ndarray], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        stack_slices(masks, shape=SHAPE)
