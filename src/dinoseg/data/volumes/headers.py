"""Text headers of `field: value` or `Key = Value` lines, as NRRD and MetaImage have them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dinoseg.errors import FileFormatError

MAX_HEADER_BYTES = 1 << 20
_NUMBER = re.compile(r"[-+]?\d*\.?(\d*)(?:[eE]([-+]?\d{1,3}))?")
_FEWEST_DECIMALS = 3


@dataclass(frozen=True)
class TextHeader:
    """Fields of a header.

    Attributes:
        path: the file, for messages.
        fields: lower-case name -> value, without surrounding spaces.
        size: bytes of the file up to the first one behind the header.
    """

    path: Path
    fields: Mapping[str, str] = field(default_factory=dict)
    size: int = 0

    def get(self, *names: str) -> str | None:
        """Value of the first of `names` that is there, or None."""
        return next((self.fields[name] for name in names if name in self.fields), None)

    def require(self, name: str) -> str:
        """Value of `name`.

        Raises:
            FileFormatError: it is missing.
        """
        value = self.get(name)
        if value is None:
            raise FileFormatError(f"{self.path} has no field {name!r} in its header; export it again")
        return value

    def numbers(self, name: str, value: str, *, count: int | None = None) -> list[float]:
        """The numbers of `value`, which is what `name` says.

        Raises:
            FileFormatError: a word that is no number, or another count.
        """
        words = value.split()
        try:
            numbers = [float(word) for word in words]
        except ValueError as error:
            raise FileFormatError(f"{self.path} has {name!r}: {value!r}; accepted are numbers") from error
        if count is not None and len(numbers) != count:
            raise FileFormatError(f"{self.path} has {len(numbers)} numbers in {name!r}; accepted are {count}")
        return numbers

    def sizes(self, name: str, *, count: int) -> list[int]:
        """The positive whole numbers of the field `name`.

        Raises:
            FileFormatError: missing, another count, or a number that is no size.
        """
        value = self.require(name)
        numbers = self.numbers(name, value, count=count)
        if any(not number.is_integer() for number in numbers):
            raise FileFormatError(f"{self.path} has {name!r}: {value!r}; accepted are whole numbers")
        if min(numbers) < 1:
            raise FileFormatError(f"{self.path} has an axis without voxels ({name}: {value})")
        return [int(number) for number in numbers]

    def integer(self, *names: str, default: int) -> int:
        """A whole number from the first of `names` that is there.

        Raises:
            FileFormatError: it is no whole number.
        """
        value = self.get(*names)
        if value is None:
            return default
        try:
            return int(value)
        except ValueError as error:
            message = f"{self.path} has {names[0]!r}: {value!r}; accepted is a whole number"
            raise FileFormatError(message) from error


def space_affine(
    directions: NDArray[np.float64], origin: Sequence[float], signs: Sequence[float]
) -> NDArray[np.float64]:
    """Affine (4, 4) of (i, j, k) in RAS.

    Args:
        directions: (3, 3), one row for each axis: its step in the header's space.
        origin: position of the first voxel in that space.
        signs: of x, y, z in that space, so that they grow to right, anterior, superior.
    """
    affine = np.eye(4)
    affine[:3, :3] = directions.T
    affine[:3, 3] = origin
    affine[:3] *= np.asarray(signs, dtype=np.float64)[:, None]
    return affine


def rounding_error(text: str) -> float:
    """Half of the last digit that the numbers of `text` are rounded to: that of the longest one.

    Numbers with fewer than three decimals, such as 0.7 or 1, are meant as they stand: 0.
    """
    found = [_NUMBER.fullmatch(word) for word in re.findall(r"[-+0-9.eE]+", text)]
    decimals = max((len(each[1]) - int(each[2] or 0) for each in found if each), default=0)
    return 0.5 * 10.0**-decimals if decimals >= _FEWEST_DECIMALS else 0.0
