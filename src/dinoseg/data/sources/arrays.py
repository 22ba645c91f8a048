"""Arrays and Pillow images as a data set: the same checks, splits and digests as of files.

They are written, without loss, to a temporary folder that lasts as long as the call; what is said of its
files in errors is said of `arrays/`.
"""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image as PillowImage

from dinoseg.data.layouts.dataset import Dataset, open_dataset
from dinoseg.data.sources.source import to_image
from dinoseg.data.volumes import Geometry
from dinoseg.data.volumes.nifti import write_grid
from dinoseg.errors import DinosegError, LabelError, UsageError
from dinoseg.progress import Progress

ARRAYS = "arrays"
IN_MEMORY = Path("(arrays)")  # how a run names its data, whose digests it records
LAYOUT = "arrays"
DECLARATION = "dataset.yaml"
_MASKS = "a mask is an array of integers or flags, or a Pillow image"
_SHOWN = '/ \\ : * ? " < > |'
_FORBIDDEN = frozenset(_SHOWN.replace(" ", "") + "\0\n\r")


@dataclass(frozen=True, kw_only=True)
class Arrays:
    """Images and masks in memory, one pair for each case.

    Attributes:
        images: arrays (H, W) or (H, W, 3) of uint8, uint16, or floats from 0 to 1; Pillow images; with
            `spacing` volumes (D, H, W) of any numbers, from top to bottom, front to back, right to left.
        masks: of the same sizes, class values as integers, or flags; Pillow images.
        ids: names of the cases, all different; by default each is named by its pixels, so that a case that
            a model was trained on is known again.
        groups: patient or video of each case, which no split divides.
        classes: id -> name, 0 is the background, as `classes` in dataset.yaml.
        spacing: (D, H, W) in mm, of every volume, or one such triple for each.
    """

    images: Sequence[Any]
    masks: Sequence[Any]
    ids: Sequence[str] | None = None
    groups: Sequence[str] | None = None
    classes: Mapping[int, str] | None = None
    spacing: Sequence[Any] | None = None


@dataclass(frozen=True)
class _Place:
    """Where a case is written, and which of those that were given it is."""

    root: Path
    stem: str
    index: int


def take_arrays(data: Any, options: dict[str, Any]) -> Arrays | None:
    """The arrays that a call was given by name, taken out of its options; None where it names a folder.

    Raises:
        UsageError: folder and arrays, or neither; or images without masks.
    """
    names = [field.name for field in fields(Arrays)]
    given = {name: options.pop(name) for name in names if name in options}
    if data is not None and given:
        raise UsageError(f"data and {next(iter(given))}= were given; name a folder, or images= and masks=")
    if data is not None:
        return None
    if "images" not in given or "masks" not in given:
        raise UsageError("no data: name a folder, or give images= and masks=")
    return Arrays(**given)


@contextmanager
def open_arrays(arrays: Arrays, progress: Progress | None = None) -> Iterator[Dataset]:
    """A data set of arrays, which lasts until the block ends.

    Raises:
        UsageError: not one mask, id and group for each image; or an image that is none.
        LabelError: a mask that is none, or has another size than its image.
        DataError: what the values of the masks allow no classes, as of files.
    """
    _check_counts(arrays)
    with TemporaryDirectory() as place:
        root = Path(place) / ARRAYS
        try:
            table = _write(arrays, root)
            dataset = open_dataset(table, progress=progress)
            yield replace(dataset, layout=LAYOUT)
        except DinosegError as error:
            raise type(error)(str(error).replace(f"{place}/", "")) from error


def _check_counts(arrays: Arrays) -> None:
    count = len(arrays.images)
    if count == 0:
        raise UsageError("images is empty; give one image at least")
    for name in ("masks", "ids", "groups"):
        given = getattr(arrays, name)
        if given is not None and len(given) != count:
            raise UsageError(f"{count} images and {len(given)} {name} were given; give one for each image")
    for name in arrays.ids or ():
        if not name or name.startswith(".") or set(name) & _FORBIDDEN:
            raise UsageError(f"the id {name!r} is no name for a case; it may not hold any of {_SHOWN}")
    twice = [name for name, times in Counter(arrays.ids or ()).items() if times > 1]
    if twice:
        raise UsageError(f"the id {twice[0]!r} stands twice; ids are all different")


def _write(arrays: Arrays, root: Path) -> Path:
    """The pairs as files, a CSV that names them, and the classes; the CSV's path."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    rows, names = [], Counter[str]()
    for index, (image, mask) in enumerate(zip(arrays.images, arrays.masks, strict=True)):
        spacing = _find_spacing(arrays, index)
        name = arrays.ids[index] if arrays.ids else _name(image)
        names[name] += 1
        stem = name if names[name] == 1 else f"{name}-{names[name]}"
        place = _Place(root, stem, index)
        files = (
            _write_images(image, mask, place)
            if spacing is None
            else _write_volumes(image, mask, place, spacing)
        )
        rows.append([*files, str(arrays.groups[index]) if arrays.groups else ""])
    with (root / "cases.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("image", "mask", "group"), *rows])
    if arrays.classes:
        text = yaml.safe_dump({"classes": dict(arrays.classes)}, allow_unicode=True)
        (root / DECLARATION).write_text(text, encoding="utf-8")
    return root / "cases.csv"


def _name(image: Any) -> str:
    pixels = np.asarray(image)
    digest = hashlib.sha256(f"{pixels.shape} {pixels.dtype}".encode())
    digest.update(np.ascontiguousarray(pixels).data if pixels.dtype.kind != "O" else b"")
    return f"image-{digest.hexdigest()[:12]}"


def _find_spacing(arrays: Arrays, index: int) -> tuple[float, float, float] | None:
    if arrays.spacing is None:
        return None
    one = arrays.spacing if np.ndim(arrays.spacing) == 1 else arrays.spacing[index]
    if len(one) != 3 or not all(np.isfinite(length) and length > 0 for length in one):
        raise UsageError(f"spacing is (D, H, W) in mm, above 0, for all volumes or each; given {one!r}")
    depth, height, width = map(float, one)
    return depth, height, width


def _write_images(image: Any, mask: Any, place: _Place) -> tuple[str, str]:
    root, stem, index = place.root, place.stem, place.index
    if isinstance(image, np.ndarray) and image.ndim == 3 and image.shape[2] not in (3, 4):
        raise UsageError(
            f"images[{index}] has the shape {image.shape}; a volume needs spacing=(D, H, W) in mm, "
            "an image is (H, W) or (H, W, 3)"
        )
    named = f"images[{index}]"
    pixels = _read_image(image, named)
    labels = mask if isinstance(mask, PillowImage.Image) else _check_mask(mask, f"masks[{index}]")
    size = labels.size[::-1] if isinstance(labels, PillowImage.Image) else labels.shape[:2]
    height, width = pixels.size[::-1] if isinstance(pixels, PillowImage.Image) else pixels.shape[:2]
    if tuple(size) != (height, width):
        raise LabelError(
            f"masks[{index}] has {size[0]}×{size[1]} pixels (height × width), its image {height}×{width}; "
            "give a mask of the size of the image"
        )
    files = (
        _save(pixels, root / "images" / stem, named),
        _save(labels, root / "masks" / stem, f"masks[{index}]"),
    )
    return files[0].relative_to(root).as_posix(), files[1].relative_to(root).as_posix()


def _read_image(image: Any, named: str) -> NDArray[Any] | PillowImage.Image:
    if isinstance(image, PillowImage.Image):
        return image
    if not isinstance(image, np.ndarray):
        raise UsageError(f"{named} is a {type(image).__name__}; give NumPy arrays or Pillow images")
    try:
        to_image(image)
    except UsageError as error:
        raise UsageError(f"{named}: {error}") from error
    return image.astype(np.float32) if image.dtype.kind == "f" else image


def _check_mask(mask: Any, named: str) -> NDArray[Any]:
    """A mask as unsigned integers."""
    if not isinstance(mask, np.ndarray):
        raise LabelError(f"{named} is a {type(mask).__name__}; {_MASKS}")
    if mask.dtype.kind == "f":
        raise LabelError(
            f"{named} holds floats ({mask.dtype}): are these probabilities? {_MASKS}; for example mask > 0.5"
        )
    if mask.dtype.kind not in "iub" or mask.ndim not in (2, 3) or mask.size == 0:
        raise LabelError(f"{named} has the shape {mask.shape} and the type {mask.dtype}; {_MASKS}")
    low, high = int(mask.min()), int(mask.max())
    if low < 0 or high > 65535:
        raise LabelError(f"{named} holds {low if low < 0 else high}; mask values go from 0 to 65535")
    return mask.astype(np.uint8 if high < 256 else np.uint16)


def _save(pixels: NDArray[Any] | PillowImage.Image, path: Path, named: str) -> Path:
    """Write without loss: a Pillow image and 8 bits as PNG, other numbers as TIFF."""
    file = path.with_name(f"{path.name}.png")
    if isinstance(pixels, PillowImage.Image):
        try:
            pixels.save(file, compress_level=1, exif=pixels.getexif())
        except (OSError, ValueError) as error:
            raise UsageError(
                f"{named} has the mode {pixels.mode}, which is not accepted; give 1, L, P, RGB or I;16"
            ) from error
    elif pixels.dtype == np.uint8:
        PillowImage.fromarray(np.ascontiguousarray(pixels)).save(file, compress_level=1)
    else:
        import tifffile

        file = path.with_name(f"{path.name}.tif")
        tifffile.imwrite(file, pixels, photometric="rgb" if pixels.ndim == 3 else "minisblack")
    return file


def _write_volumes(
    image: Any, mask: Any, place: _Place, spacing: tuple[float, float, float]
) -> tuple[str, str]:
    root, stem, index = place.root, place.stem, place.index
    if (
        not isinstance(image, np.ndarray)
        or image.ndim != 3
        or image.dtype.kind not in "iuf"
        or not image.size
    ):
        raise UsageError(f"images[{index}] is no volume (D, H, W) of numbers; leave out spacing for images")
    labels = _check_mask(mask, f"masks[{index}]")
    if labels.shape != image.shape:
        raise LabelError(
            f"masks[{index}] has the shape {labels.shape}, its volume {image.shape}; give the same for both"
        )
    depth, height, width = spacing
    affine = np.array([[0, 0, -width, 0], [0, -height, 0, 0], [-depth, 0, 0, 0], [0, 0, 0, 1]], dtype=float)
    numbers = image.astype(np.float32) if image.dtype.kind == "f" or image.dtype.itemsize > 4 else image
    geometry = Geometry(numbers.shape, affine)
    for folder, array in (("images", numbers), ("masks", labels)):
        write_grid(root / folder / f"{stem}.nii", array, geometry)
    return f"images/{stem}.nii", f"masks/{stem}.nii"


def refuse_missing(out: object) -> Path:
    """The run folder that was named.

    Raises:
        UsageError: none was.
    """
    if out is None:
        raise UsageError("out is missing; name the run folder to make")
    if not isinstance(out, str | Path):
        raise UsageError(f"out is the path of a folder, given {type(out).__name__}")
    return Path(out)
