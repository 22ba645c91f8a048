"""The numbers of a data set behind the findings: classes, intensities, volumes, copies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ClassSummary:
    """One class over the whole data set.

    Attributes:
        name: of the class.
        cases: how many cases show it.
        pixel_share: its share of all pixels or voxels, 0..1.
        lesions: connected regions (8-neighbours), without specks; None for volumes, where they are
            not counted.
        small_lesions: those that cover less than one patch at the training size; 0 for a class of thin
            structures, whose regions are pieces of one whole.
        width: of thin structures (vessels, fibres): the median along their length, in pixels of the
            image; None where most of the class is compact.
        trained_width: the same at the training size.
    """

    name: str
    cases: int
    pixel_share: float
    lesions: int | None = None
    small_lesions: int = 0
    width: float | None = None
    trained_width: float | None = None

    def describe(self, id_: int) -> str:
        """The class as one line."""
        share = format_share(self.pixel_share)
        start = f"class {id_} {self.name}: in {self.cases} cases, {share} of all"
        if self.lesions is None:
            return f"{start} voxels"
        if self.width is not None and self.trained_width is not None:
            width = f"{self.width:.1f} px wide (median), {self.trained_width:.1f} px at the training size"
            return f"{start} pixels, {self.lesions} regions, thin: {width}"
        return f"{start} pixels, {self.lesions} regions ({self.small_lesions} below one patch)"


@dataclass(frozen=True)
class IntensityRange:
    """The values that the images of one depth hold.

    Attributes:
        bits: of a sample as the files store it: 1 to 16, or 32 and 64 for floats and wide integers.
        images: how many have this depth.
        lowest: value, as stored; of a TIFF whose 0 is white, as shown.
        highest: value.
    """

    bits: int
    images: int
    lowest: float
    highest: float

    def describe(self) -> str:
        """The range as part of a line."""
        used = ""
        if 8 < self.bits <= 16 and self.highest < 2 ** (self.bits - 1):
            used = f", of which {max(int(self.highest), 1).bit_length()} are used"
        return f"{self.lowest:g} to {self.highest:g} of {self.bits} bits{used} ({self.images} images)"


@dataclass(frozen=True)
class VolumeSummary:
    """Grids and contents of all volumes.

    Attributes:
        smallest: (D, H, W) as stored, of the volume with the fewest voxels, or None.
        largest: (D, H, W) as stored, of the volume with the most voxels, or None.
        finest: the smallest voxel size in mm along each of D, H, W; None where none is known.
        coarsest: the largest.
        orientations: towards where D, H, W run ("IPL") -> number of volumes.
        kinds: extension and number type -> number of volumes.
        foreground_share: share of all voxels that are of a class besides the background, 0..1.
        lowest: value of all voxels, or None where no volume could be read.
        highest: value of all voxels, or None.
    """

    smallest: tuple[int, ...] | None
    largest: tuple[int, ...] | None
    finest: tuple[float, ...] | None
    coarsest: tuple[float, ...] | None
    orientations: Mapping[str, int]
    kinds: Mapping[str, int]
    foreground_share: float
    lowest: float | None = None
    highest: float | None = None

    def lines(self) -> list[str]:
        """The summary as text lines."""
        if not (self.smallest and self.largest) or self.lowest is None or self.highest is None:
            return []
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.kinds.items())
        low, high = ("×".join(map(str, shape)) for shape in (self.smallest, self.largest))
        towards = ", ".join(f"{count} {name}" for name, count in self.orientations.items())
        return [
            f"volumes: {low} to {high} voxels (D×H×W as stored); {kinds}",
            f"voxel size: {self._describe_spacing()}; D, H, W run towards {towards}",
            f"values: {self.lowest:g} to {self.highest:g}, as stored",
            f"foreground: {format_share(self.foreground_share)} of all voxels",
        ]

    def _describe_spacing(self) -> str:
        if not (self.finest and self.coarsest):
            return "not known"
        low, high = ("×".join(f"{n:.3g}" for n in sizes) for sizes in (self.finest, self.coarsest))
        return f"{low} mm" if low == high else f"{low} to {high} mm"


@dataclass(frozen=True)
class Copy:
    """Two cases in different splits or groups that show the same, or nearly.

    Attributes:
        first: a case.
        second: the other one.
        parts: the split, or else the group, of each.
        paths: their images.
        bits: how many of 255 bits of a hash of the picture differ; None where the images are equal.
    """

    first: str
    second: str
    parts: tuple[str, str]
    paths: tuple[Path, Path]
    bits: int | None

    def describe(self) -> str:
        """The two with their splits or groups."""
        return f"{self.first} ({self.parts[0]}) and {self.second} ({self.parts[1]})"


def format_share(share: float) -> str:
    """A share of 1 as percent with two digits that mean something: 12 %, 0.34 %."""
    return f"{100 * share:.3g} %"
