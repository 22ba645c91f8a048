"""`Prediction`: what a model says about one image, on the image's own grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from dinoseg.data.case import Image
from dinoseg.data.sources.source import to_image
from dinoseg.errors import UsageError
from dinoseg.inference.pictures.overlays import draw_legend, draw_overlay, palette
from dinoseg.model.confidence import Confidence, Tally
from dinoseg.outputs import atomic_path

# Masks and pictures are written while the model computes, on the same cores.
_PNG_EFFORT = 1  # of 9
_JPEG: Mapping[str, int] = {"quality": 92, "subsampling": 0}  # thin coloured contours stay sharp


@dataclass(frozen=True)
class Prediction:
    """The answer for one image.

    Attributes:
        id: of the case; the file's name without its suffix.
        mask: (H, W), uint8 class ids at the size of the input, 0 = background.
        probabilities: (classes, H, W), float32, background first, summing to 1 per pixel;
            None unless asked for.
        classes: class id -> name.
        source: the image file, or None where the input was no file.
        spacing: size of a pixel in mm as (H, W), where the input says.
        affine: (4, 4) pixel-to-world matrix in mm, where the input has one.
        confidence: expected Dice and more; None where the network computes masks only.
        uncertainty: (H, W), float32, entropy of the calibrated class probabilities, 0 to 1 (all classes
            alike); None unless asked for.
        tally: sums of the probabilities that the confidence is from.
        embedding: (C,), mean of the backbone's last feature map; None with windows.
    """

    id: str
    mask: NDArray[np.uint8]
    probabilities: NDArray[np.float32] | None
    classes: dict[int, str]
    source: Path | None = None
    spacing: tuple[float, ...] | None = None
    affine: NDArray[np.float64] | None = None
    confidence: Confidence | None = None
    uncertainty: NDArray[np.float32] | None = None
    tally: Tally | None = None
    embedding: NDArray[np.float32] | None = None

    @property
    def pixels(self) -> dict[int, int]:
        """Class id -> number of pixels, for every class."""
        counts = np.bincount(self.mask.ravel(), minlength=max(self.classes) + 1)
        return {index: int(counts[index]) for index in self.classes}

    def save(self, path: Path | str, *, overwrite: bool = False) -> None:
        """Write the mask as a palette PNG: pixel values are class ids, shown in the overlay's colours.

        Pillow gives the ids back (`numpy.asarray(PIL.Image.open(path))`), and so does dinoseg where
        the file is used as a label. OpenCV and imageio turn palettes into colours.

        Raises:
            UsageError: `path` does not end in .png.
            OutputError: the file exists (without `overwrite`) or cannot be written.
        """
        picture = _to_palette(self)
        _write_png(Path(path), picture, overwrite=overwrite)

    def save_probabilities(self, path: Path | str, *, overwrite: bool = False) -> None:
        """Write `probabilities` (float16, (classes, H, W)) and `classes` (their names) as compressed .npz.

        Raises:
            UsageError: there are no probabilities, or `path` does not end in .npz.
            OutputError: the file exists (without `overwrite`) or cannot be written.
        """
        path = Path(path)
        if self.probabilities is None:
            raise UsageError(f"{self.id} has no probabilities; predict with probabilities=True")
        _require_suffix(path, ".npz")
        names = np.array([self.classes[index] for index in sorted(self.classes)])
        with atomic_path(path, overwrite=overwrite) as temporary:
            np.savez_compressed(temporary, probabilities=self.probabilities.astype(np.float16), classes=names)

    def save_uncertainty(self, path: Path | str, *, overwrite: bool = False) -> None:
        """Write `uncertainty` as a grey 16-bit PNG: 65535 stands for 1.

        Raises:
            UsageError: there is none, or `path` does not end in .png.
            OutputError: the file exists (without `overwrite`) or cannot be written.
        """
        if self.uncertainty is None:
            raise UsageError(f"{self.id} has no uncertainty; predict with uncertainty=True")
        levels = np.rint(self.uncertainty * 65535).astype(np.uint16)
        _write_png(Path(path), PillowImage.fromarray(levels), overwrite=overwrite)

    def overlay(self, image: Image | NDArray[np.generic], *, legend: bool = False) -> NDArray[np.uint8]:
        """The image with the mask drawn on it: a transparent fill and a contour per class.

        Args:
            image: what was segmented, as an Image or as an array that `predict` accepts.
            legend: name the classes that occur; left out where the image has no room for it.

        Returns:
            (H, W, 3), uint8.

        Raises:
            UsageError: the image has another size than the mask.
        """
        image = image if isinstance(image, Image) else to_image(image)
        if image.size != self.mask.shape:
            raise UsageError(
                f"{self.id}: the mask is {self.mask.shape[0]}x{self.mask.shape[1]} and the image "
                f"{image.size[0]}x{image.size[1]} (height x width); give the image that was segmented"
            )
        picture = draw_overlay(image, self.mask)
        return draw_legend(picture, self.mask, self.classes) if legend else picture

    def save_overlay(
        self,
        path: Path | str,
        image: Image | NDArray[np.generic],
        *,
        legend: bool = False,
        overwrite: bool = False,
    ) -> None:
        """Write `overlay(image)` as JPEG or PNG; a JPEG takes a twentieth of the time.

        Raises:
            UsageError: as for `overlay`, or `path` ends neither in .jpg nor in .png.
            OutputError: the file exists (without `overwrite`) or cannot be written.
        """
        write_picture(Path(path), self.overlay(image, legend=legend), overwrite=overwrite)


def write_picture(path: Path, pixels: NDArray[np.uint8], *, overwrite: bool = False) -> None:
    """Write (H, W, 3) bytes to look at, in the format that the name asks for.

    Raises:
        UsageError: `path` ends neither in .jpg nor in .png.
        OutputError: the file exists (without `overwrite`) or cannot be written.
    """
    picture = PillowImage.fromarray(pixels)
    if path.suffix.lower() not in (".jpg", ".jpeg"):
        _write_png(path, picture, overwrite=overwrite)
        return
    with atomic_path(path, overwrite=overwrite) as temporary:
        picture.save(temporary, format="JPEG", **_JPEG)


def _to_palette(prediction: Prediction) -> PillowImage.Image:
    picture = PillowImage.fromarray(prediction.mask)
    picture.putpalette(palette(max(prediction.classes) + 1).tobytes())  # turns grey into palette indices
    return picture


def _write_png(path: Path, picture: PillowImage.Image, *, overwrite: bool) -> None:
    _require_suffix(path, ".png")
    with atomic_path(path, overwrite=overwrite) as temporary:
        picture.save(temporary, format="PNG", compress_level=_PNG_EFFORT)


def _require_suffix(path: Path, suffix: str) -> None:
    if path.suffix.lower() != suffix:
        raise UsageError(f"{path} must end in {suffix}, the format it is written in")
