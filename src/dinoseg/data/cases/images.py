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
    label = None
    if files.label is not None:
        label = turn_like_image(LabelMap(mapping.read(files.label)), image.size, files)
        refuse_other_size(image.size, label, image_path=files.image, label_path=files.label)
    return Case(id=files.id, image=image, label=label, group=files.group, source=files.image)


def turn_like_image(label: LabelMap, size: tuple[int, int], files: CaseFiles) -> LabelMap:
    """A label on the upright grid of its image.

    Masks are taken as drawn on the upright image. One that fits only the pixels as they are stored, because
    the EXIF orientation of its image exchanges height and width, is turned as the image is.

    Args:
        label: as its own file says.
        size: (height, width) of the upright image.
        files: image and mask.
    """
    if label.size == size or label.size != size[::-1] or files.label is None:
        return label
    turned = image_info(files.image).orientation
    if turned < 5 or image_info(files.label).oriented:
        return label
    return LabelMap(upright(label.array, turned))


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
