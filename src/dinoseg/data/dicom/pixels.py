"""Pixels of one slice in the units of its modality: decompressed, rescaled, the right way bright."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinoseg.data.dicom.headers import find_group, text
from dinoseg.data.dicom.libraries import INSTALL, explaining, load_pydicom
from dinoseg.errors import FileFormatError

# Values of these are quantities (density, signal, activity): MONOCHROME1 only says how to show them.
QUANTITIES = frozenset({"CT", "MR", "PT", "NM"})

_GREY = ("MONOCHROME1", "MONOCHROME2")
_INTEGERS = (np.int16, np.uint16, np.int32)


@dataclass(frozen=True)
class Encoding:
    """How the stored numbers of one slice become values.

    Attributes:
        slope: what a stored number is multiplied by.
        intercept: what is added then.
        lowest: smallest number that fits the bits of the file.
        highest: largest number that fits.
        inverted: whether the lowest number is the brightest, which is undone.
    """

    slope: float
    intercept: float
    lowest: int
    highest: int
    inverted: bool

    @property
    def is_whole(self) -> bool:
        """Whether values are whole numbers like the stored ones."""
        return self.slope == 1 and self.intercept.is_integer()


def smallest_type(lowest: int, highest: int) -> np.dtype[Any]:
    """int16, uint16 or int32, whichever first holds the range; float32 beyond."""
    for kind in _INTEGERS:
        if np.iinfo(kind).min <= lowest and highest <= np.iinfo(kind).max:
            return np.dtype(kind)
    return np.dtype(np.float32)


def read_encoding(name: object, dataset: Any, frame: int) -> Encoding:
    """How the stored numbers of a frame become values.

    Raises:
        FileFormatError: colour, a lookup table, no pixels, or attributes that contradict each other.
    """
    with explaining(name):
        _refuse_unreadable(name, dataset)
        values = find_group(dataset, frame, "PixelValueTransformationSequence") or dataset
        slope = _number(values.get("RescaleSlope"), 1.0)
        intercept = _number(values.get("RescaleIntercept"), 0.0)
        bits, allocated = int(dataset.BitsStored), int(dataset.BitsAllocated)
        high = int(dataset.get("HighBit", bits - 1))
        signed = int(dataset.PixelRepresentation) == 1
        inverted = _is_inverted(dataset, values)
    if not np.isfinite([slope, intercept]).all() or slope == 0:
        raise FileFormatError(f"{name} has the rescale slope {slope:g} and intercept {intercept:g}")
    if allocated not in (8, 16, 32) or not 1 <= bits <= allocated:
        raise FileFormatError(f"{name} stores {bits} of {allocated} bits; accepted are 8, 16 and 32")
    if high != bits - 1:
        raise FileFormatError(
            f"{name} stores its {bits} bits up to bit {high} (HighBit); accepted is {bits - 1}: export it new"
        )
    lowest = -(1 << (bits - 1)) if signed else 0
    return Encoding(slope, intercept, lowest, lowest + (1 << bits) - 1, inverted)


def decode_frame(name: object, dataset: Any, frame: int, encoding: Encoding) -> NDArray[Any]:
    """Values (H, W) of one frame.

    In the stored type where stored numbers are the values; in the smallest type that holds them all where
    only whole numbers are added; else float32.

    Raises:
        FileFormatError: damaged or truncated pixels, or a compression that nothing here can undo.
    """
    with explaining(name):
        _refuse_unknown_compression(name, dataset)
        stored = load_pydicom("pydicom.pixels").pixel_array(dataset, index=frame)
    if stored.shape != (int(dataset.Rows), int(dataset.Columns)):
        raise FileFormatError(f"{name} has {stored.shape} pixels; its header says otherwise")
    return _rescale(stored, encoding)


def _rescale(stored: NDArray[Any], encoding: Encoding) -> NDArray[Any]:
    if not encoding.is_whole:
        values = stored.astype(np.float64)
        if encoding.inverted:
            values = encoding.lowest + encoding.highest - values
        return (values * encoding.slope + encoding.intercept).astype(np.float32)
    if not encoding.inverted and encoding.intercept == 0:
        return stored
    whole = stored.astype(np.int64)
    if encoding.inverted:
        whole = encoding.lowest + encoding.highest - whole
    whole += int(encoding.intercept)
    return whole.astype(smallest_type(int(whole.min()), int(whole.max())))


def _refuse_unreadable(name: object, dataset: Any) -> None:
    photometric = text(dataset, "PhotometricInterpretation")
    if photometric not in _GREY or int(dataset.get("SamplesPerPixel") or 1) != 1:
        raise FileFormatError(
            f"{name} is in colour ({photometric or 'no Photometric Interpretation'}); accepted are "
            f"{' and '.join(_GREY)}: export pictures in colour as PNG"
        )
    if "PixelData" not in dataset:
        raise FileFormatError(f"{name} has no pixel data; copy it again from its source")
    if dataset.get("ModalityLUTSequence"):
        raise FileFormatError(
            f"{name} maps its values by a table (Modality LUT), which is not supported; export it rescaled"
        )
    missing = [
        word for word in ("BitsStored", "BitsAllocated", "PixelRepresentation") if dataset.get(word) is None
    ]
    if missing:
        raise FileFormatError(f"{name} does not say its {', '.join(missing)}; export it again")


def _refuse_unknown_compression(name: object, dataset: Any) -> None:
    pixels = load_pydicom("pydicom.pixels")
    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        decoder = pixels.get_decoder(syntax)
    except NotImplementedError as error:
        raise FileFormatError(
            f"{name} is encoded as {syntax.name}, which nothing here reads; export it without compression"
        ) from error
    if not decoder.is_available:
        raise FileFormatError(
            f"{name} is compressed as {syntax.name}, and no decoder for it is installed; run {INSTALL} or, "
            f"where that is done, install one of: {'; '.join(decoder.missing_dependencies)}"
        )


def _is_inverted(dataset: Any, values: Any) -> bool:
    if text(dataset, "PhotometricInterpretation") != "MONOCHROME1":
        return False
    unit = text(values, "RescaleType").upper()
    return text(dataset, "Modality") not in QUANTITIES and unit in ("", "US")


def _number(value: Any, default: float) -> float:
    return default if value is None or value == "" else float(value)
