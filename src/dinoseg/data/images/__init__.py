"""Files of single 2D images and masks: reading, writing, and what is wrong with them."""

from __future__ import annotations

from dinoseg.data.images.files import (
    ImageInfo,
    content_digest,
    image_info,
    read_image,
    read_label,
    write_image,
    write_mask,
)

__all__ = [
    "ImageInfo",
    "content_digest",
    "image_info",
    "read_image",
    "read_label",
    "write_image",
    "write_mask",
]
