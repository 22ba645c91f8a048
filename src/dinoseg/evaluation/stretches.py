"""A mask as stretches of pixels along its rows: components and overlaps without a label for each pixel."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dinoseg.evaluation.surfaces import Mask

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Stretches:
    """The stretches of a mask in the order of the array, and the component of each.

    Attributes:
        starts: (N,) flat position of the first pixel in the padded grid.
        ends: (N,) flat position after the last one.
        components: (N,) from 0, in the order of their first pixel.
        sizes: (K,) pixels of each component.
    """

    starts: Ints
    ends: Ints
    components: Ints
    sizes: Ints

    @property
    def count(self) -> int:
        """Number of components."""
        return len(self.sizes)


def find_stretches(mask: Mask) -> Stretches:
    """Find the components of a mask; pixels belong together across an edge or a face.

    Args:
        mask: (H, W) or (D, H, W), at least one pixel along each axis.
    """
    # One column of background (and one row, in 3D): no stretch goes on in the next row or plane.
    shape = (*mask.shape[:-2], mask.shape[-2] + mask.ndim - 2, mask.shape[-1] + 1)
    flat = np.zeros(math.prod(shape) + 1, np.bool_)
    flat[1:].reshape(shape)[..., : mask.shape[-2], : mask.shape[-1]] = mask
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    starts, ends = changes[0::2], changes[1::2]
    steps = (shape[-1],) if mask.ndim == 2 else (shape[-1], shape[-1] * shape[-2])
    edges = [find_overlaps(starts + step, ends + step, starts, ends)[:2] for step in steps]
    components, count = _join(np.concatenate(edges, axis=1), len(starts))
    sizes = np.bincount(components, weights=ends - starts, minlength=count).astype(np.int64)
    return Stretches(starts, ends, components, sizes)


def find_overlaps(starts: Ints, ends: Ints, other_starts: Ints, other_ends: Ints) -> tuple[Ints, Ints, Ints]:
    """Return which stretches share positions: index of the one, of the other, and how many they share.

    Args:
        starts: (N,) of stretches in order that do not touch.
        ends: (N,) positions after their last pixels.
        other_starts: (M,) of the other ones, on the same grid.
        other_ends: (M,) likewise.
    """
    first = np.searchsorted(other_ends, starts, side="right")
    counts = np.searchsorted(other_starts, ends, side="left") - first
    one = np.repeat(np.arange(len(starts)), counts)
    within = np.arange(len(one)) - np.repeat(np.cumsum(counts) - counts, counts)
    other = np.repeat(first, counts) + within
    common = np.minimum(ends[one], other_ends[other]) - np.maximum(starts[one], other_starts[other])
    return one, other, common


def _join(edges: Ints, count: int) -> tuple[Ints, int]:
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    if not count:
        return np.zeros(0, np.int64), 0
    graph = coo_matrix((np.ones(edges.shape[1], np.int8), (edges[0], edges[1])), shape=(count, count))
    found, components = connected_components(graph, directed=False)
    return components.astype(np.int64), int(found)
