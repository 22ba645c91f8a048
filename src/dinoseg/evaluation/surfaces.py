"""Surfaces of masks and the distances between them: each is computed once and serves every metric."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]

# Distances are sums of products of rounded spacings: 3 x 0.1 mm must still be within 0.3 mm.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class SurfaceDistances:
    """Distances between the surfaces of two masks, neither of them empty.

    Attributes:
        to_target: (P,) of each surface pixel of the prediction to the target's surface, in no
            particular order.
        to_prediction: (T,) of each surface pixel of the target to the prediction's surface.
    """

    to_target: NDArray[np.float64]
    to_prediction: NDArray[np.float64]

    def hausdorff(self, percentile: float) -> float:
        """Return the larger of the two directed percentiles."""
        both = (self.to_target, self.to_prediction)
        return float(max(np.percentile(distances, percentile) for distances in both))

    def mean(self) -> float:
        """Return the mean over the surface pixels of both masks."""
        total = self.to_target.sum() + self.to_prediction.sum()
        return float(total / (self.to_target.size + self.to_prediction.size))

    def share_within(self, tolerance: float) -> float:
        """Return the share of the surface pixels of both masks at most `tolerance` away."""
        limit = tolerance * (1 + _ROUNDING)
        near = np.count_nonzero(self.to_target <= limit) + np.count_nonzero(self.to_prediction <= limit)
        return float(near / (self.to_target.size + self.to_prediction.size))


def measure_surfaces(prediction: Mask, target: Mask, spacing: tuple[float, ...]) -> SurfaceDistances:
    """Return the distances between the surfaces of two masks that both hold at least one pixel.

    Args:
        prediction: (H, W) or (D, H, W). A crop gives the result of the whole image as long as
            it holds both masks, because everything outside counts as background.
        target: of the same shape.
        spacing: size of a pixel along each axis; distances come out in its unit.
    """
    edge_p, edge_t = find_edges(prediction), find_edges(target)
    return SurfaceDistances(
        to_target=_nearest(edge_p, edge_t, spacing), to_prediction=_nearest(edge_t, edge_p, spacing)
    )


def find_edges(mask: Mask) -> Mask:
    """Return the pixels of `mask` with a background neighbour across an edge (2D) or a face (3D)."""
    padded = np.pad(mask, 1)
    inner = mask.copy()
    for axis in range(mask.ndim):
        for shifted in (slice(0, -2), slice(2, None)):
            window = [slice(1, -1)] * mask.ndim
            window[axis] = shifted
            inner &= padded[tuple(window)]
    edges: Mask = mask ^ inner
    return edges


def bounding_box(mask: Mask) -> tuple[slice, ...] | None:
    """Return the smallest slices that hold every pixel of `mask`, or None where there is none."""
    box: list[slice] = []
    for axis in range(mask.ndim):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        (filled,) = mask.any(axis=others).nonzero()
        if filled.size == 0:
            return None
        box.append(slice(int(filled[0]), int(filled[-1]) + 1))
    return tuple(box)


def _nearest(sources: Mask, goals: Mask, spacing: tuple[float, ...]) -> NDArray[np.float64]:
    """Return the distance of each pixel of `sources` to the nearest one of `goals`, in no particular order.

    A tree over the few surface pixels is exact and measured 5 to 15 times faster than a distance
    transform of every pixel. Pixels that lie on both surfaces are 0 away and need no search.
    """
    from scipy.spatial import KDTree

    apart = sources & ~goals
    distances = np.zeros(np.count_nonzero(sources))
    if apart.any():
        tree = KDTree(_positions(goals, spacing), balanced_tree=False, compact_nodes=False)
        distances[: np.count_nonzero(apart)] = tree.query(_positions(apart, spacing))[0]
    return distances


def _positions(mask: Mask, spacing: tuple[float, ...]) -> NDArray[np.float64]:
    # (H, W) or (D, H, W) -> (N, axes); flat positions are found several times faster than argwhere's.
    axes = np.unravel_index(np.flatnonzero(mask), mask.shape)
    scaled = [axis * size for axis, size in zip(axes, spacing, strict=True)]
    return np.stack(scaled, axis=1).astype(np.float64, copy=False)
