"""Whether the palette files among some masks mean their indices or their colours.

Indices, where every palette gives an index the same colour and index 0 is dark: then they are class ids.
Colours, where that is not so, or where other masks of the set are in colour: a program that chooses the
palette of each file anew may put any colour at any index. Where neither can be told, it is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence

from dinoseg.data.images import PaletteReading
from dinoseg.data.labels.histograms import MaskValues
from dinoseg.errors import LabelError

_DARK = 32
_BINARY = frozenset({0, 1, 255, 65535})
_ASK = (
    "declare `palette: indices` or `palette: colours` in dataset.yaml, or the colours themselves, "
    '`values: {"#000000": 0, "#ff0000": 1}`'
)


def choose_palette_reading(masks: Sequence[MaskValues], *, numbers: bool = False) -> PaletteReading:
    """How the palette files among the masks of one data set are read.

    Args:
        masks: the values of every mask.
        numbers: dataset.yaml says what numbers mean, so that palette files must give theirs.

    Raises:
        LabelError: it cannot be told, or the palettes contradict the numbers; names the files.
    """
    indexed = [mask for mask in masks if mask.palette is not None]
    if not indexed:
        return "indices"
    differing = _find_difference(indexed)
    if numbers:
        if differing:
            raise LabelError(f"{differing}, so that no number under `values` means one class; {_ASK}")
        return "indices"
    plain = [mask for mask in masks if mask.palette is None]
    if differing or any(mask.colour and not mask.lossy for mask in plain):
        return "colours"
    bright = next((mask for mask in indexed if not _starts_dark(mask)), None)
    if bright is not None:
        _refuse_without_black(bright, masks)
        return "colours"
    return _fit_plain(indexed, plain) if plain else "indices"


def _find_difference(masks: Sequence[MaskValues]) -> str:
    """Two files whose palettes give one index two colours, in words; "" where there are none."""
    first: dict[int, tuple[int, MaskValues]] = {}
    for mask in masks:
        for index, colour in (mask.palette or {}).items():
            if colour is None:
                continue
            known, other = first.setdefault(index, (colour, mask))
            if known != colour:
                return (
                    f"the palettes of {other.path} and {mask.path} differ (index {index} is "
                    f"#{known:06x} and #{colour:06x})"
                )
    return ""


def _starts_dark(mask: MaskValues) -> bool:
    colour = (mask.palette or {}).get(0)
    return colour is None or max(colour >> 16, colour >> 8 & 0xFF, colour & 0xFF) <= _DARK


def _refuse_without_black(bright: MaskValues, masks: Sequence[MaskValues]) -> None:
    if not any(0 in mask.in_colours().pixels for mask in masks):
        colour = (bright.palette or {}).get(0) or 0
        raise LabelError(
            f"index 0 of the palette of {bright.path} is #{colour:06x} and no mask holds black: "
            f"which colour is the background? {_ASK}"
        )


def _fit_plain(indexed: Sequence[MaskValues], plain: Sequence[MaskValues]) -> PaletteReading:
    """The reading under which palette files agree with grey files of the same set."""
    grey = {value for mask in plain for value in mask.counts(colour=False)}
    indices = {value for mask in indexed for value in mask.pixels}
    if indices | grey <= _BINARY or _agree(indices, grey):
        return "indices"
    shown = [mask.in_colours() for mask in indexed]
    if not any(mask.colour for mask in shown) and _agree({v for mask in shown for v in mask.pixels}, grey):
        return "colours"
    raise LabelError(
        f"{indexed[0].path} has a palette and {plain[0].path} has none, and their values do not agree "
        f"({_list(indices)} and {_list(grey)}); {_ASK}"
    )


def _agree(some: set[int], others: set[int]) -> bool:
    return some | {0} <= others | {0} or others | {0} <= some | {0}


def _list(values: set[int]) -> str:
    shown = [str(value) for value in sorted(values)]
    return ", ".join([*shown[:6], "…"] if len(shown) > 6 else shown)
