"""What a bundle and torch say about the same images: a bundle that says something else is not kept."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from dinoseg.errors import RunError
from dinoseg.export.cases import Examples
from dinoseg.inference.logits import resize_logits, to_mask
from dinoseg.model.bundles import BundlePrecision, Comparison
from dinoseg.model.network import Array, Network
from dinoseg.streams import batched

BATCH = 8
MOST_LOGITS = 1e-3  # difference of logits, in float32
LEAST_DICE = {"float32": 0.999, "float16": 0.999, "int8": 0.99}


def compare(torch_model: Network, bundle: Network, examples: Examples) -> Comparison:
    """Logits and masks of both; masks at the sizes of the images, logits at that of the network."""
    largest, classes = 0.0, len(torch_model.settings.classes)
    both, sums = np.zeros(classes), np.zeros(classes)
    for expected, found, size in _ask(torch_model, bundle, examples):
        difference = float(np.abs(expected - found).max())
        largest = max(largest, difference if np.isfinite(difference) else np.inf)
        masks = [to_mask(resize_logits(logits, size)) for logits in (expected, found)]
        for index in range(classes):
            one, other = (mask == index for mask in masks)
            both[index] += np.count_nonzero(one & other)
            sums[index] += np.count_nonzero(one) + np.count_nonzero(other)
    return Comparison(
        cases=examples.name, images=examples.count, logits=largest, dice=_smallest_dice(both, sums)
    )


def refuse_different(found: Comparison, precision: BundlePrecision) -> None:
    """Raise where a bundle says something else than torch.

    Raises:
        RunError: logits of float32 differ by more than 1e-3, or masks by more than their precision may.
    """
    least = LEAST_DICE[precision]
    too_far = precision == "float32" and found.logits > MOST_LOGITS
    if found.dice < least or too_far:
        wanted = f"wanted is a Dice of {least:g}"
        wanted += f" and no more than {MOST_LOGITS:g}" if precision == "float32" else ""
        fix = "" if precision == "float32" else "; export with --precision float32"
        raise RunError(
            f"the {precision} bundle was not kept: on {found.cases} it differs from torch by "
            f"{found.logits:.2g} in a logit, and the Dice of the masks is {found.dice:.4f}; {wanted}{fix}"
        )


def _ask(
    torch_model: Network, bundle: Network, examples: Examples
) -> Iterator[tuple[Array, Array, tuple[int, int]]]:
    for series in examples.series:
        for batch in batched(series, BATCH):
            pixels = np.stack([item.pixels for item in batch])
            answers = zip(batch, torch_model.logits(pixels), bundle.logits(pixels), strict=True)
            for item, expected, found in answers:
                yield expected, found, item.case.image.size


def _smallest_dice(both: NDArray[np.float64], sums: NDArray[np.float64]) -> float:
    shown = sums > 0  # a class that neither shows anywhere agrees
    return float((2 * both[shown] / sums[shown]).min())
