"""One rule for every depth and form of a file: masks as stored, images as shown, divided by their depth."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from dinoseg.data.images import image_info, read_image, read_label, read_palette
from dinoseg.errors import FileFormatError
from tests.data.odd_files import (
    GREY_ALPHA,
    RGB,
    RGBA,
    save_turned,
    write_deep_png,
    write_packed_tiff,
    write_palette,
)
from tests.data.samples import SIZE, blob, picture, save

RAMP = np.arange(SIZE[0] * SIZE[1], dtype=np.uint16).reshape(SIZE)


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("kind", "channels"), [(GREY_ALPHA, 2), (RGB, 3), (RGBA, 4)])
def test_colours_of_16_bits_keep_all_of_them(
    tmp_path: Path, kind: int, channels: int, interlaced: bool
) -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, (*SIZE, channels), dtype=np.uint16)
    if channels != 3:
        pixels[..., -1] = 65535
    path = write_deep_png(tmp_path / "x.png", pixels, kind, interlaced=interlaced)
    shown = pixels[..., :1] if channels == 2 else pixels[..., :3]
    np.testing.assert_array_equal(read_label(path), shown.squeeze())
    np.testing.assert_allclose(read_image(path).array, shown.transpose(2, 0, 1) / 65535, atol=1e-7)
    assert image_info(path).bits == 16


def test_small_ids_in_16_bit_colours_are_not_lost(tmp_path: Path) -> None:
    ids = np.repeat(blob(value=1).astype(np.uint16)[..., None], 3, axis=2)
    path = write_deep_png(tmp_path / "x.png", ids, RGB)
    np.testing.assert_array_equal(read_label(path), ids)


def test_transparent_pixels_of_16_bit_masks_are_0(tmp_path: Path) -> None:
    pixels = np.full((*SIZE, 2), 7, np.uint16)
    pixels[0, 0, 1] = 0
    label = read_label(write_deep_png(tmp_path / "a.png", pixels, GREY_ALPHA))
    assert label[0, 0] == 0
    assert (label.ravel()[1:] == 7).all()
    deep = np.full((*SIZE, 3), 300, np.uint16)
    deep[0, 0] = (1, 2, 3)
    label = read_label(write_deep_png(tmp_path / "b.png", deep, RGB, transparent=(1, 2, 3)))
    assert label[0, 0].tolist() == [0, 0, 0]
    assert (label[1:] == 300).all()


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("white_is_zero", [False, True])
def test_packed_tiff(tmp_path: Path, bits: int, white_is_zero: bool) -> None:
    top = 2**bits - 1
    stored = (RAMP % (top + 1)).astype(np.uint8)
    path = write_packed_tiff(tmp_path / "x.tif", stored, bits, white_is_zero=white_is_zero)
    np.testing.assert_array_equal(read_label(path), stored)
    shown = top - stored if white_is_zero else stored
    np.testing.assert_allclose(read_image(path).array[0], shown / top, atol=1e-7)
    assert image_info(path).bits == bits


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "float16", "float32", "float64"])
def test_white_is_zero_at_every_depth(tmp_path: Path, dtype: str) -> None:
    stored = (RAMP % 251).astype(dtype)
    tifffile.imwrite(tmp_path / "m.tif", stored, photometric="miniswhite")
    np.testing.assert_array_equal(read_label(tmp_path / "m.tif"), stored)
    top = {"uint8": 255, "uint16": 65535, "uint32": 65535}.get(dtype, 1)
    values = stored / 256 if top == 1 else stored
    tifffile.imwrite(tmp_path / "i.tif", values.astype(dtype), photometric="miniswhite")
    shown = (top - values.astype(np.float64)) / top
    np.testing.assert_allclose(read_image(tmp_path / "i.tif").array[0], shown, atol=1e-6)


def test_fax_compression_stores_white_as_zero(tmp_path: Path) -> None:
    shown = blob() > 0
    PillowImage.fromarray(shown).save(tmp_path / "x.tif", compression="group4", tiffinfo={262: 0})
    np.testing.assert_array_equal(read_image(tmp_path / "x.tif").array[0], shown)
    np.testing.assert_array_equal(read_label(tmp_path / "x.tif"), ~shown)


def test_signed_bytes_keep_their_sign(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "x.tif", np.full(SIZE, -3, np.int8))
    assert read_label(tmp_path / "x.tif").min() == -3
    with pytest.raises(FileFormatError, match=r"holds the values -3 to -3"):
        read_image(tmp_path / "x.tif")


def test_a_channel_that_is_no_alpha_is_refused(tmp_path: Path) -> None:
    for dtype in (np.uint8, np.uint16):
        pixels = np.full((*SIZE, 4), 9, dtype)
        tifffile.imwrite(tmp_path / "x.tif", pixels, photometric="rgb", extrasamples=["unspecified"])
        for read in (read_image, read_label):
            with pytest.raises(FileFormatError, match=r"x\.tif has 4 channels; accepted are grey, RGB"):
                read(tmp_path / "x.tif")


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr"])
def test_masks_in_other_colour_spaces_are_refused_and_images_converted(tmp_path: Path, mode: str) -> None:
    red = PillowImage.new("RGB", (SIZE[1], SIZE[0]), (255, 0, 0))
    red.convert(mode).save(tmp_path / "x.tif")
    with pytest.raises(FileFormatError, match=rf"in the colour mode {mode}; save the mask as grey or RGB"):
        read_label(tmp_path / "x.tif")
    assert read_image(tmp_path / "x.tif").array[:, 0, 0] == pytest.approx([1, 0, 0], abs=0.02)


def test_a_shape_in_the_alpha_channel_only_is_refused(tmp_path: Path) -> None:
    black = np.zeros((*SIZE, 4), np.uint8)
    black[..., 3] = blob()
    white = black.copy()
    white[..., :3] = 255
    with pytest.raises(FileFormatError, match="its shape may stand in the alpha channel"):
        read_label(save(tmp_path / "black.png", black))
    np.testing.assert_array_equal(read_label(save(tmp_path / "white.png", white))[..., 0], blob())
    for alpha in (0, 255):
        empty = np.zeros((*SIZE, 4), np.uint8)
        empty[..., 3] = alpha
        assert not read_label(save(tmp_path / f"{alpha}.png", empty)).any()


def test_an_image_that_is_transparent_everywhere_is_refused(tmp_path: Path) -> None:
    hidden = np.dstack([picture(), np.zeros(SIZE, np.uint8)])
    with pytest.raises(FileFormatError, match=r"x\.png is transparent everywhere; save it without its alpha"):
        read_image(save(tmp_path / "x.png", hidden))
    assert not read_image(save(tmp_path / "black.png", hidden * np.uint8(0))).array.any()


def test_a_mask_that_is_hidden_by_its_alpha_channel_is_refused(tmp_path: Path) -> None:
    hidden = np.repeat(blob()[..., None], 4, axis=2)
    hidden[..., 3] = 0
    with pytest.raises(FileFormatError, match="alpha channel"):
        read_label(save(tmp_path / "x.png", hidden))


def test_fractions_are_explained(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "p.tif", np.linspace(0, 1, 768, dtype=np.float32).reshape(SIZE))
    with pytest.raises(
        FileFormatError, match=r"no whole numbers \(0 to 1\).*probabilities\? Save what is from 0.5"
    ):
        read_label(tmp_path / "p.tif")


@pytest.mark.parametrize("dtype", [np.float32, np.float64, bool])
def test_zeros_and_ones_of_any_type_are_a_mask(tmp_path: Path, dtype: type) -> None:
    tifffile.imwrite(tmp_path / "m.tif", (blob() > 0).astype(dtype))
    np.testing.assert_array_equal(read_label(tmp_path / "m.tif"), blob() > 0)


def test_palettes(tmp_path: Path) -> None:
    colours = [(0, 0, 0), (255, 0, 0), (0, 255, 0), (9, 9, 9)]
    indices = (RAMP % 3).astype(np.uint8)
    path = write_palette(tmp_path / "x.png", indices, colours)
    np.testing.assert_array_equal(read_label(path), indices)
    np.testing.assert_array_equal(read_label(path, palette="colours")[..., :3], np.array(colours)[indices])
    assert read_palette(path) == {0: 0, 1: 0xFF0000, 2: 0x00FF00}
    assert read_palette(save(tmp_path / "grey.png", blob())) is None


def test_transparent_colours_of_a_palette_are_0(tmp_path: Path) -> None:
    colours = [(0, 0, 0), (255, 0, 0), (0, 255, 0), (9, 9, 9)]
    indices = (RAMP % 3).astype(np.uint8)
    for transparent in (2, bytes([255, 255, 0, 255])):
        path = write_palette(tmp_path / "x.png", indices, colours, transparency=transparent)
        np.testing.assert_array_equal(read_label(path), np.where(indices == 2, 0, indices))
        assert read_palette(path) == {0: 0, 1: 0xFF0000, 2: 0}


def test_an_index_beyond_the_palette_is_an_id_but_no_colour(tmp_path: Path) -> None:
    indices = (RAMP % 40).astype(np.uint8)
    path = write_palette(tmp_path / "x.png", indices, [(n, 0, 0) for n in range(20)])
    np.testing.assert_array_equal(read_label(path), indices)
    assert read_palette(path)[39] is None  # type: ignore[index]
    with pytest.raises(FileFormatError, match=r"uses the palette index 39, but its palette has 20 colours"):
        read_image(path)


def test_a_transparent_grey_value_is_0(tmp_path: Path) -> None:
    path = save(tmp_path / "x.png", blob(value=200), transparency=200)
    assert not read_label(path).any()
    assert not read_image(path).array.any()


def test_jpeg_inside_tiff_is_lossy(tmp_path: Path) -> None:
    PillowImage.fromarray(picture()).save(tmp_path / "j.tif", compression="jpeg")
    PillowImage.fromarray(picture()).save(tmp_path / "l.tif", compression="tiff_lzw")
    assert [image_info(tmp_path / name).lossy for name in ("j.tif", "l.tif")] == [True, False]


def test_the_orientation_of_a_png_is_found_without_decoding(tmp_path: Path) -> None:
    path = save_turned(tmp_path / "x.png", picture(), 6)
    assert image_info(path).orientation == 6
    assert image_info(path).size == SIZE[::-1]
    plain = save(tmp_path / "plain.png", picture())
    content = plain.read_bytes()
    plain.write_bytes(content[: len(content) // 2])  # decoding would fail
    assert image_info(plain).size == SIZE


def test_a_png_that_promises_more_pixels_than_it_can_hold_is_refused(tmp_path: Path) -> None:
    path = write_palette(tmp_path / "x.png", blob(value=1), [(0, 0, 0), (255, 0, 0)])
    content = bytearray(path.read_bytes())
    content[20:24] = (2_000_000).to_bytes(4, "big")  # the height
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    path.write_bytes(content)
    for read in (read_image, read_label):
        with pytest.raises(FileFormatError, match=r"is truncated \(too short for its size\)"):
            read(path)


def test_a_damaged_tiff_prints_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, np.zeros((*SIZE, 3), np.uint16), photometric="rgb")
    content = path.read_bytes()
    path.write_bytes(content[:60] + bytes(range(200)) + content[260:])
    with pytest.raises(FileFormatError):
        read_image(path)
    assert capsys.readouterr() == ("", "")
