"""The former name of `dinoseg.data.images`, so that scripts written for it go on working."""

from __future__ import annotations

from dinoseg.data.images import content_digest, image_info, read_image, read_label, write_image, write_mask

__all__ = ["content_digest", "image_info", "read_image", "read_label", "write_image", "write_mask"]
