"""Whether the input size cuts away what masks show: the numbers of `data check`, for a model's own patch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dinoseg.data.checks.regions import iterate_lesions, measure_mask
from dinoseg.data.checks.resolution import describe_proposal, judge_resolution
from dinoseg.training.advice.probes import spread
from dinoseg.training.features.bank import ViewBank

MOST = 60  # masks of each bank that are read again


@dataclass(frozen=True)
class Detail:
    """What the input size of a model leaves of the connected regions of the masks.

    Attributes:
        size: side in px that images are resized to.
        patch: side in px of a cell of the features.
        masks: that were measured, of images or slices.
        regions: connected regions in them, without thin structures.
        vanished: of these, smaller than a pixel at the input size.
        small: smaller than a cell, the vanished ones included.
        thin: whether there are thin structures, which are judged by their width.
        proposed_size: the smallest that resolves enough, as `data check` finds it; None where nothing shows.
        words: the same for a person, as `data check` says it.
    """

    size: int
    patch: int
    masks: int
    regions: int
    vanished: int
    small: int
    thin: bool
    proposed_size: int | None
    words: str

    @property
    def cuts(self) -> bool:
        """Whether a larger input would resolve more."""
        return self.proposed_size is not None and self.proposed_size > self.size


def measure_detail(banks: Sequence[ViewBank], classes: Sequence[int], *, size: int, patch: int) -> Detail:
    """Measure the masks of some banks at their own size, evenly spread ones where they are many.

    Args:
        banks: to learn from, and to validate on.
        classes: ids, without the background.
        size: side in px that images are resized to.
        patch: side in px of a cell of the features.
    """
    masks = [
        measure_mask(str(position), bank.native_label(position).numpy(), classes)
        for bank in banks
        for position in spread(len(bank), MOST)
    ]
    resolution = judge_resolution(masks, size=size, patch=patch)
    areas = [area for _, area in iterate_lesions(masks, resolution.compact, size=size, patch=patch)]
    return Detail(
        size=size,
        patch=patch,
        masks=len(masks),
        regions=len(areas),
        vanished=sum(area * patch**2 < 1 for area in areas),
        small=sum(area < 1 for area in areas),
        thin=bool(resolution.thin),
        proposed_size=resolution.proposed,
        words=describe_proposal(resolution).removeprefix("size: "),
    )
