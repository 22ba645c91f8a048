from __future__ import annotations

import itertools

import numpy as np
import pytest

from dinoseg.data.volumes import Geometry, find_orientation, to_canonical, upright_geometry
from dinoseg.errors import UsageError
from tests.data.volumes.samples import SHAPE, counting, make_label, make_volume, oblique_affine, tilted_affine

TURNS = [
    (axes, signs)
    for axes in itertools.permutations(range(3))
    for signs in itertools.product((1.0, -1.0), repeat=3)
]


def _straight(axes: tuple[int, ...], signs: tuple[float, ...]) -> np.ndarray:
    """Axis i of the array runs along world axis axes[i]."""
    affine = np.eye(4)
    affine[:3, :3] = 0.0
    for column, (axis, sign, size) in enumerate(zip(axes, signs, (4.5, 1.25, 0.75), strict=True)):
        affine[axis, column] = sign * size
    affine[:3, 3] = (-101.5, 33.25, 7.125)
    return affine


def _world(affine: np.ndarray, index: tuple[int, ...]) -> np.ndarray:
    return affine @ (*index, 1)


def test_there_are_48_turns() -> None:
    assert len(TURNS) == 48


@pytest.mark.parametrize(("axes", "signs"), TURNS)
def test_every_voxel_stays_where_it_is(axes: tuple[int, ...], signs: tuple[float, ...]) -> None:
    volume = make_volume(affine=_straight(axes, signs))
    turned = to_canonical(volume).volume
    assert turned.geometry.directions == "IPL"
    for index in itertools.product(*(range(length) for length in turned.geometry.shape)):
        place = np.linalg.inv(volume.affine) @ _world(turned.affine, index)
        there = tuple(np.rint(place[:3]).astype(int))
        np.testing.assert_allclose(place[:3], there, atol=1e-9)
        assert volume.array[(0, *there)] == turned.array[(0, *index)]


@pytest.mark.parametrize(("axes", "signs"), TURNS)
def test_masks_come_back_exactly(axes: tuple[int, ...], signs: tuple[float, ...]) -> None:
    affine = _straight(axes, signs)
    _assert_there_and_back(affine)


@pytest.mark.parametrize(("axes", "signs"), TURNS)
def test_oblique_and_tilted_masks_come_back_exactly(axes: tuple[int, ...], signs: tuple[float, ...]) -> None:
    turn = _straight(axes, signs)
    turn[:3, 3] = 0.0
    for affine in (oblique_affine(seed=1) @ turn, tilted_affine() @ turn):
        _assert_there_and_back(affine)


def _assert_there_and_back(affine: np.ndarray) -> None:
    label = make_label(affine=affine)
    canonical = to_canonical(label)
    back = canonical.orientation.undo(canonical.volume)
    np.testing.assert_array_equal(back.array, label.array)
    np.testing.assert_array_equal(back.affine, affine)
    assert back.geometry.shape == label.geometry.shape
    # The affine of the turned grid keeps every angle: its corners are those of the given one.
    given, turned = (np.sort(item.geometry.corners(), axis=0) for item in (label, canonical.volume))
    np.testing.assert_allclose(given, turned, atol=1e-10)


@pytest.mark.parametrize("seed", range(20))
def test_any_rotation_is_canonical_after_one_turn(seed: int) -> None:
    turned = to_canonical(make_volume(affine=oblique_affine(seed=seed))).volume
    assert find_orientation(turned.geometry).is_canonical
    assert turned.geometry.directions == "IPL"


def test_canonical_slices_are_upright() -> None:
    affine = np.diag([1.0, 1.0, 1.0, 1.0])  # array axes towards right, anterior, superior
    array = np.zeros((3, 4, 5), np.uint8)
    array[2, 3, 4] = 1  # rightmost, foremost, topmost
    turned = to_canonical(make_volume(array, affine=affine)).volume
    assert turned.array.shape == (1, 5, 4, 3)
    assert turned.array[0, 0, 0, 0] == 1  # top slice, anterior at the top, the patient's right on the left


def test_turning_copies_nothing() -> None:
    volume = make_volume(affine=_straight((1, 2, 0), (-1.0, 1.0, 1.0)))
    canonical = to_canonical(volume)
    assert np.shares_memory(canonical.volume.array, volume.array)
    assert np.shares_memory(canonical.orientation.undo(canonical.volume).array, volume.array)


def test_canonical_volume_is_left_alone() -> None:
    volume = make_volume(affine=upright_geometry(SHAPE).affine)
    canonical = to_canonical(volume)
    assert canonical.orientation.is_canonical
    np.testing.assert_array_equal(canonical.volume.array, volume.array)
    np.testing.assert_array_equal(canonical.volume.affine, volume.affine)


def test_label_follows_its_image_where_rounding_would_part_them() -> None:
    # An axis at 45 degrees between two: the last digit decides, and the label's differs.
    half = np.sqrt(0.5)
    affine = np.eye(4)
    affine[:3, :3] = [[half, -half, 0], [half, half, 0], [0, 0, 1]]
    image, label = (
        make_volume(affine=affine),
        make_label(affine=affine * (1 + 1e-7 * (1 - np.eye(4)[3][:, None]))),
    )
    canonical = to_canonical(image)
    turned = canonical.orientation.apply(label)
    np.testing.assert_array_equal(turned.array, canonical.volume.array[0])
    np.testing.assert_allclose(turned.affine, canonical.volume.affine, atol=1e-5)


def test_channels_are_not_touched() -> None:
    array = counting((2, *SHAPE))
    volume = make_volume(array, affine=_straight((0, 1, 2), (1.0, -1.0, 1.0)))
    turned = to_canonical(volume).volume
    assert turned.channels == 2
    for channel in range(2):
        alone = to_canonical(make_volume(array[channel], affine=volume.affine)).volume
        np.testing.assert_array_equal(turned.array[channel], alone.array[0])


def test_unknown_spacing_stays_unknown() -> None:
    volume = make_volume(affine=_straight((2, 1, 0), (1.0, 1.0, 1.0)), spacing_known=False)
    canonical = to_canonical(volume)
    assert not canonical.volume.geometry.spacing_known
    assert not canonical.orientation.undo(canonical.volume).geometry.spacing_known


def test_other_shape_is_refused() -> None:
    orientation = find_orientation(Geometry((4, 5, 7), oblique_affine()))
    with pytest.raises(UsageError, match="the file"):
        orientation.apply(make_volume())
    with pytest.raises(UsageError, match="canonical are"):
        orientation.undo(make_volume())
