"""Masks whose values are noise around two values: once saved as JPEG, scaled or smoothed, then as PNG.

Their rims and specks would become classes. What tells them from classes: values near 0 or near white that
are not these two themselves, and values between that fill no square of 3×3 pixels anywhere, while white
does or outnumbers them. Thin classes may look like that: then they must be declared.
"""

from __future__ import annotations

from collections.abc import Sequence

from dinoseg.data.labels.histograms import LabelHistogram

_NEAR = 32  # of 255 levels
_VERY_NEAR = 5
_FEW = 0.5  # of the pixels near white
_SAME_COLOUR = 16


def is_nearly_binary(histogram: LabelHistogram) -> bool:
    """Whether grey masks hold 0 and white and, beside them, only what looks like noise of these two."""
    values = sorted(histogram.pixels)
    if histogram.colour:
        return len(values) > 2 and all(_is_near_grey_end(value) for value in values)
    step = 257 if values[-1] > 255 else 1
    if len(values) < 3 or values[-1] > 65535 or any(value % step for value in values):
        return False
    pixels = {value // step: count for value, count in histogram.pixels.items()}
    solid = {value // step for mask in histogram.masks for value in mask.solid}
    white = [value for value in pixels if value >= 256 - _NEAR]
    others = [value for value in pixels if 0 < value < 256 - _NEAR]
    if not white:
        return False
    rims = all(value not in solid for value in others)
    few = sum(pixels[value] for value in others) <= _FEW * sum(pixels[value] for value in white)
    if len(white) > 1 and all(value not in solid or value >= 255 - _VERY_NEAR for value in white[:-1]):
        return all(value not in solid or value <= _VERY_NEAR for value in others)
    return bool(others) and rims and (few or any(value in solid for value in white))


def find_like_colours(colours: Sequence[int]) -> tuple[int, int] | None:
    """Two colours (0xRRGGBB) that differ too little to be drawn as two classes, black among them."""
    known = sorted({0, *colours})
    for index, first in enumerate(known):
        for second in known[index + 1 :]:
            if all(abs((first >> s & 0xFF) - (second >> s & 0xFF)) <= _SAME_COLOUR for s in (16, 8, 0)):
                return first, second
    return None


def _is_near_grey_end(colour: int) -> bool:
    channels = [colour >> shift & 0xFF for shift in (16, 8, 0)]
    return max(channels) < _NEAR or min(channels) >= 256 - _NEAR
