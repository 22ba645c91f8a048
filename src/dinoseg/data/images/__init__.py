"""Files of single 2D images and masks: reading, writing, and what is wrong with them."""

from __future__ import annotations

from dinoseg.data.images.files import (
    ImageInfo,
    PaletteReading,
    content_digest,
    image_info,
    read_image,
    read_label,
    read_palette,
    write_image,
    write_mask,
)

__all__ = [
    "ImageInfo",
    "PaletteReading",
    "content_digest",
    "image_info",
    "read_image",
    "read_label",
    "read_palette",
    "write_image",
    "write_mask",
]
