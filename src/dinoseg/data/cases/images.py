"""Reading the files of one 2D case into memory; those of a volume are read by `volume_cases`."""

from __future__ import annotations

from pathlib import Path

from dinoseg.data.case import Case, LabelMap
from dinoseg.data.cases.files import CaseFiles
from dinoseg.data.images import image_info, read_image
from dinoseg.data.images.decoding import upright
from dinoseg.data.labels.mapping import LabelMapping
from dinoseg.errors import FileFormatError, LabelError


def read_case(files: CaseFiles, mapping: LabelMapping) -> Case:
    """Read image and mask of one case; photographs have no spacing.

    Raises:
        FileFormatError: image or mask cannot be read, or they are a volume.
        LabelError: the mask has another size than the image, or a value without a class.
    """
    if files.is_volume:
        raise FileFormatError(f"{files.image} is a volume; it is read by read_volume_case")
    image = read_image(files.image)
    label = None if files.label is None else read_mask(files, mapping)
    return Case(id=files.id, image=image, label=label, group=files.group, source=files.image)


def read_size(files: CaseFiles) -> tuple[int, int]:
    """Height and width of the image of one case, upright, from its header alone.

    Raises:
        FileFormatError: it cannot be read.
    """
    return image_info(files.image).size


def read_mask(files: CaseFiles, mapping: LabelMapping) -> LabelMap:
    """Read the mask of one case on the upright grid of its image.

    Masks are taken as drawn on the upright image, unless the mapping says on the stored pixels. One that fits
    only these, because the orientation of its image exchanges height and width, is turned as the image is.

    Raises:
        FileFormatError: image or mask cannot be read.
        LabelError: there is no mask, or it has another size than the image, or a value without a class.
    """
    if files.label is None:
        raise LabelError(f"{files.image} has no mask")
    label, info = LabelMap(mapping.read(files.label)), image_info(files.image)
    swapped = label.size != info.size and label.size == info.size[::-1] and info.orientation >= 5
    if (swapped or (mapping.stored and info.oriented)) and not image_info(files.label).oriented:
        label = LabelMap(upright(label.array, info.orientation))
    refuse_other_size(info.size, label, image_path=files.image, label_path=files.label)
    return label


def refuse_other_size(size: tuple[int, int], label: LabelMap, *, image_path: Path, label_path: Path) -> None:
    """Raise unless a mask has the size (height, width) of its image.

    Raises:
        LabelError: it has another one.
    """
    if label.size == size:
        return
    oriented = " after its EXIF orientation" if image_info(image_path).oriented else ""
    raise LabelError(
        f"{label_path} has {label.size[0]}×{label.size[1]} pixels (height × width), "
        f"its image {image_path} {size[0]}×{size[1]}{oriented}; export the mask at the size of the image"
    )
