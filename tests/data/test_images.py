"""Reading and writing pictures and masks: what must work, with the exact values."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from dinoseg.data.case import Image, LabelMap
from dinoseg.data.images import content_digest, image_info, read_image, read_label, write_image, write_mask
from dinoseg.errors import OutputError, UsageError
from tests.data.samples import SIZE, blob, picture, save

ORIENTATIONS = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).swapaxes(0, 1),
    8: lambda stored: np.rot90(stored, 1),
}


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "PNG", "TIFF"])
def test_rgb_is_read_exactly_as_channels_first(tmp_path: Path, suffix: str) -> None:
    pixels = picture(1)
    image = read_image(save(tmp_path / f"x.{suffix}", pixels))
    assert image.array.dtype == np.float32
    assert image.array.flags.c_contiguous
    np.testing.assert_array_equal(image.array, pixels.transpose(2, 0, 1) / np.float32(255))


def test_jpeg_is_read_close_to_what_was_saved(tmp_path: Path) -> None:
    ramp = np.linspace(0, 255, SIZE[1]).astype(np.uint8)[None].repeat(SIZE[0], axis=0)
    image = read_image(save(tmp_path / "x.JPG", ramp, quality=95))
    assert image.array.shape == (1, *SIZE)
    assert np.abs(image.array[0] * 255 - ramp).max() < 6


@pytest.mark.parametrize("format_", ["png", "tif"])
def test_sixteen_bit_grey_is_divided_by_65535(tmp_path: Path, format_: str) -> None:
    pixels = np.array([[0, 1, 4095], [32768, 65534, 65535]], np.uint16)
    image = read_image(save(tmp_path / f"x.{format_}", pixels))
    np.testing.assert_array_equal(image.array[0], pixels / np.float32(65535))


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_sixteen_bit_colour_tiff_keeps_its_bits(tmp_path: Path, planar: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, (*SIZE, 3), dtype=np.uint16)
    stored = pixels if planar == "contig" else pixels.transpose(2, 0, 1)
    tifffile.imwrite(tmp_path / "x.tif", stored, photometric="rgb", planarconfig=planar)
    np.testing.assert_array_equal(
        read_image(tmp_path / "x.tif").array, pixels.transpose(2, 0, 1) / np.float32(65535)
    )
    assert image_info(tmp_path / "x.tif").size == SIZE


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_float_tiff_from_0_to_1_is_kept(tmp_path: Path, dtype: type) -> None:
    pixels = np.linspace(0, 1, SIZE[0] * SIZE[1]).reshape(SIZE).astype(dtype)
    tifffile.imwrite(tmp_path / "x.tif", pixels)
    np.testing.assert_array_equal(read_image(tmp_path / "x.tif").array[0], pixels.astype(np.float32))


def test_one_bit_picture_is_black_and_white(tmp_path: Path) -> None:
    bits = blob() > 0
    PillowImage.fromarray(bits).save(tmp_path / "x.png")
    np.testing.assert_array_equal(read_image(tmp_path / "x.png").array[0], bits.astype(np.float32))
    np.testing.assert_array_equal(read_label(tmp_path / "x.png"), bits.astype(np.uint8))


def test_palette_picture_becomes_rgb_and_palette_mask_gives_indices(tmp_path: Path) -> None:
    indices = PillowImage.fromarray(blob(value=2))
    indices.putpalette([10, 20, 30, 0, 0, 0, 255, 128, 64])
    indices = indices.convert("P") if indices.mode != "P" else indices
    indices.save(tmp_path / "x.png")
    image = read_image(tmp_path / "x.png").array
    assert image.shape == (3, *SIZE)
    np.testing.assert_allclose(image[:, 0, 0] * 255, [10, 20, 30], atol=1e-4)
    np.testing.assert_allclose(image[:, 5, 7] * 255, [255, 128, 64], atol=1e-4)
    np.testing.assert_array_equal(read_label(tmp_path / "x.png"), blob(value=2))


def test_transparent_pixels_are_laid_on_black(tmp_path: Path) -> None:
    rgba = np.full((*SIZE, 4), 200, np.uint8)
    rgba[..., 3] = 255
    rgba[0, 0, 3] = 0
    rgba[0, 1, 3] = 51
    image = read_image(save(tmp_path / "x.png", rgba)).array
    np.testing.assert_allclose(image[:, 0, 0], 0)
    np.testing.assert_allclose(image[:, 0, 1], 200 / 255 * 0.2, atol=1e-6)
    np.testing.assert_allclose(image[:, 1, 1], 200 / 255)


def test_grey_with_alpha_stays_one_channel(tmp_path: Path) -> None:
    pixels = np.stack([picture(1, channels=1), np.full(SIZE, 255, np.uint8)], axis=2)
    image = read_image(save(tmp_path / "x.png", pixels)).array
    np.testing.assert_array_equal(image[0], pixels[..., 0] / np.float32(255))


def test_transparent_mask_pixels_are_background(tmp_path: Path) -> None:
    rgba = np.zeros((*SIZE, 4), np.uint8)
    rgba[...] = (255, 255, 255, 0)
    rgba[4:8, 4:8] = (255, 0, 0, 255)
    label = read_label(save(tmp_path / "x.png", rgba))
    assert label.shape == (*SIZE, 3)
    np.testing.assert_array_equal(label[0, 0], [0, 0, 0])
    np.testing.assert_array_equal(label[5, 5], [255, 0, 0])


def test_cmyk_jpeg_becomes_rgb(tmp_path: Path) -> None:
    red = PillowImage.new("RGB", (32, 24), (255, 0, 0)).convert("CMYK")
    red.save(tmp_path / "x.jpg", quality=95)
    image = read_image(tmp_path / "x.jpg").array
    assert image.shape == (3, *SIZE)
    assert image[0].min() > 0.95
    assert image[1:].max() < 0.05


@pytest.mark.parametrize("format_", ["png", "jpg", "tif"])
@pytest.mark.parametrize("turned", range(1, 9))
def test_exif_orientation_is_applied_to_pictures_and_masks(tmp_path: Path, format_: str, turned: int) -> None:
    stored = np.zeros((16, 32), np.uint8)
    stored[:8, :16] = 255
    stored[8:, :8] = 100
    exif = PillowImage.Exif()
    exif[274] = turned
    path = save(tmp_path / f"x.{format_}", stored, exif=exif)
    upright = ORIENTATIONS[turned](stored)
    np.testing.assert_allclose(read_image(path).array[0] * 255, upright, atol=3)
    np.testing.assert_allclose(read_label(path), upright, atol=3)
    assert image_info(path).size == upright.shape
    assert image_info(path).oriented == (turned != 1)


def test_orientation_of_a_tiff_that_pillow_cannot_read(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).random((4, 6)).astype(np.float64)
    tifffile.imwrite(tmp_path / "x.tif", stored, extratags=[(274, "H", 1, 6, True)])
    image = read_image(tmp_path / "x.tif")
    np.testing.assert_array_equal(image.array[0], ORIENTATIONS[6](stored).astype(np.float32))
    assert image_info(tmp_path / "x.tif").size == (6, 4)


def test_corrupted_exif_is_ignored(tmp_path: Path) -> None:
    path = save(tmp_path / "x.jpg", picture(1), exif=b"Exif\x00\x00II*\x00\xff\xff\xff\x7f garbage")
    assert read_image(path).array.shape == (3, *SIZE)
    assert image_info(path).oriented is False


def test_suffix_is_not_trusted(tmp_path: Path) -> None:
    path = save(tmp_path / "x.png", picture(1))
    path.rename(tmp_path / "x.jpg")
    assert read_image(tmp_path / "x.jpg").array.shape == (3, *SIZE)
    assert image_info(tmp_path / "x.jpg").format == "PNG"


@pytest.mark.parametrize("size", [(1, 1), (3, 20000), (20000, 3)])
def test_extreme_sizes_are_read(tmp_path: Path, size: tuple[int, int]) -> None:
    path = save(tmp_path / "x.png", picture(1, size))
    assert read_image(path).size == size
    assert image_info(path).size == size


@pytest.mark.parametrize("bits", [2, 4])
def test_packed_grey_masks_are_not_stretched(tmp_path: Path, bits: int) -> None:
    palette = PillowImage.fromarray(blob(value=3)).convert("L")
    encoder = PillowImage.new("P", palette.size)
    encoder.putdata(list(blob(value=3).ravel()))
    encoder.putpalette([0] * 3 * 4)
    encoder.save(tmp_path / "x.png", bits=bits)
    content = bytearray((tmp_path / "x.png").read_bytes())
    content[25] = 0  # the colour type of IHDR: grey instead of palette
    import struct
    import zlib

    content[29:33] = struct.pack(">I", zlib.crc32(bytes(content[12:29])))
    (tmp_path / "x.png").write_bytes(content)
    with PillowImage.open(tmp_path / "x.png") as image:
        assert image.mode == "L"
    np.testing.assert_array_equal(read_label(tmp_path / "x.png"), blob(value=3))


def test_sixteen_bit_and_float_masks_keep_their_numbers(tmp_path: Path) -> None:
    wide = blob().astype(np.uint16) * 200
    assert read_label(save(tmp_path / "x.png", wide)).max() == 51000
    tifffile.imwrite(tmp_path / "x.tif", wide.astype(np.float64))
    np.testing.assert_array_equal(read_label(tmp_path / "x.tif"), wide)


def test_written_mask_is_read_back(tmp_path: Path) -> None:
    mask = LabelMap(blob(value=3))
    write_mask(tmp_path / "a" / "ä.png", mask)
    np.testing.assert_array_equal(read_label(tmp_path / "a" / "ä.png"), mask.array)
    assert image_info(tmp_path / "a" / "ä.png").mode == "L"


@pytest.mark.parametrize("channels", [1, 3])
def test_written_image_is_read_back(tmp_path: Path, channels: int) -> None:
    pixels = picture(2).transpose(2, 0, 1)[:channels] / np.float32(255)
    write_image(tmp_path / "x.png", Image(pixels))
    np.testing.assert_allclose(read_image(tmp_path / "x.png").array, pixels, atol=1e-6)


def test_writing_refuses_to_overwrite_and_other_formats(tmp_path: Path) -> None:
    path = save(tmp_path / "x.png", picture(1))
    before = path.read_bytes()
    with pytest.raises(OutputError, match=r"x\.png exists already"):
        write_mask(path, LabelMap(blob()))
    assert path.read_bytes() == before
    write_mask(path, LabelMap(blob()), overwrite=True)
    np.testing.assert_array_equal(read_label(path), blob())
    with pytest.raises(UsageError, match=r"must end in \.png"):
        write_mask(tmp_path / "x.jpg", LabelMap(blob()))
    with pytest.raises(UsageError, match="4 channels"):
        write_image(tmp_path / "y.png", Image(np.zeros((4, 2, 2), np.float32)))


def test_digest_is_the_sha256_of_the_bytes(tmp_path: Path) -> None:
    path = save(tmp_path / "x.png", picture(1))
    assert content_digest(path) == hashlib.sha256(path.read_bytes()).hexdigest()
