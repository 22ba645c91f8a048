"""Connected components of a mask, found slice by slice: memory does not grow with the number of slices.

Each slice is labelled by itself, and what touches from slice to slice is joined. Labels of single slices
are not kept: labelling is repeated when a slice is asked for, which costs time and no memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Components:
    """The components of a mask (D, H, W), numbered from 0.

    Voxels belong together across an edge (within a slice) or a face.

    Attributes:
        take: gives slice `index` of the mask, (H, W); must give the same one each time.
        numbers: (N,), component of each label of each slice, all slices in a row.
        starts: position in `numbers` of each slice's first label.
        sizes: voxels of each component.
        enclosed: whether a component touches no side of the grid.
    """

    take: Callable[[int], Mask]
    numbers: NDArray[np.int64]
    starts: tuple[int, ...]
    sizes: NDArray[np.int64]
    enclosed: NDArray[np.bool_]

    def select(self, index: int, chosen: NDArray[np.bool_]) -> Mask:
        """Slice `index`, (H, W), of the components that are `chosen` (one flag for each)."""
        mask = self.take(index)
        # Without any component there is nothing to look up; the mask is false everywhere then.
        return mask & chosen[self._number(index, mask)] if len(chosen) else mask

    def count(self, index: int, where: Mask) -> NDArray[np.int64]:
        """Voxels (N,) of each component of slice `index` that are in `where`."""
        mask = self.take(index)
        return np.bincount(self._number(index, mask)[where & mask], minlength=len(self.sizes))

    def _number(self, index: int, mask: Mask) -> NDArray[np.int64]:
        """Component of each pixel of a slice; 0 as well where the mask is false."""
        labels, count = _label(mask)
        start = self.starts[index]
        table = np.concatenate([[0], self.numbers[start : start + count]])
        return np.asarray(table[labels])


def find_components(take: Callable[[int], Mask], depth: int, *, flat: bool = False) -> Components:
    """Find the components of a mask that is given slice by slice.

    Args:
        take: gives slice `index`, (H, W).
        depth: number of slices.
        flat: it is an image: its one slice has edges only, nothing lies open above or below it.
    """
    sizes, edges, outside = [np.zeros(0, np.int64)], [np.zeros((2, 0), np.int64)], [np.zeros(0, np.int64)]
    starts: list[int] = []
    total, previous = 0, None
    for index in range(depth):
        labels, count = _label(take(index))
        starts.append(total)
        sizes.append(np.bincount(labels.ravel(), minlength=count + 1)[1:])
        if previous is not None:
            edges.append(_touching(previous, labels, count) + np.array([[starts[-2]], [total]]))
        outside.append(_at_the_side(labels, count, whole=not flat and index in (0, depth - 1)) + total)
        total, previous = total + count, labels
    numbers, found = _join(np.concatenate(edges, axis=1), total)
    open_ = np.zeros(found, bool)
    open_[numbers[np.concatenate(outside)]] = True
    weights = np.concatenate(sizes)
    summed = np.bincount(numbers, weights=weights, minlength=found).astype(np.int64)
    return Components(take, numbers, tuple(starts), summed, ~open_)


def _label(mask: Mask) -> tuple[NDArray[np.int32], int]:
    from scipy import ndimage

    labels, count = ndimage.label(mask)
    return labels, int(count)


def _touching(upper: NDArray[np.int32], lower: NDArray[np.int32], count: int) -> NDArray[np.int64]:
    """Pairs (2, N) of labels, from 0, that lie on each other in two slices."""
    both = (upper > 0) & (lower > 0)
    codes = (upper[both].astype(np.int64) - 1) * max(count, 1) + lower[both] - 1
    if codes.size:  # most neighbours say the same: sorting what is left is quick
        codes = np.unique(codes[np.concatenate([[True], codes[1:] != codes[:-1]])])
    return np.stack(np.divmod(codes, max(count, 1)))


def _at_the_side(labels: NDArray[np.int32], count: int, *, whole: bool) -> NDArray[np.int64]:
    """Labels, from 0, that touch an edge of the slice, or all of them."""
    if whole:
        return np.arange(count)
    sides = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    found: NDArray[np.int64] = np.unique(sides[sides > 0]).astype(np.int64) - 1
    return found


def _join(edges: NDArray[Any], total: int) -> tuple[NDArray[np.int64], int]:
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    if not total:
        return np.zeros(0, np.int64), 0
    graph = coo_matrix((np.ones(edges.shape[1], bool), (edges[0], edges[1])), shape=(total, total))
    found, numbers = connected_components(graph, directed=False)
    return numbers.astype(np.int64), int(found)
