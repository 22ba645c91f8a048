"""Every kind of bad input and the message it gives: one line that names the file and the way out."""

from __future__ import annotations

import errno
import io
import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from dinoseg.data import open_dataset, read_case
from dinoseg.data.images import read_image, read_label
from dinoseg.data.splits.shots import require_foreground
from dinoseg.data.splits.splits import check_splits, load_splits, make_splits, resolve_splits
from dinoseg.errors import DataError, FileFormatError, LabelError, LayoutError, SplitError
from tests.data.samples import SIZE, blob, make_dataset, picture, save, write_lines


@dataclass(frozen=True)
class BadInput:
    """`act` builds a bad input in an empty folder and uses it; the error must hold all `words`."""

    name: str
    act: Callable[[Path], object]
    error: type[DataError]
    words: tuple[str, ...]


def _encoded(format_: str) -> bytes:
    buffer = io.BytesIO()
    PillowImage.fromarray(picture(size=(64, 64))).save(buffer, format=format_)
    return buffer.getvalue()


def _read_bytes(name: str, content: bytes) -> Callable[[Path], object]:
    def act(folder: Path) -> object:
        (folder / name).write_bytes(content)
        return read_image(folder / name)

    return act


def _read_float_tiff(value: float) -> Callable[[Path], object]:
    def act(folder: Path) -> object:
        pixels = np.full(SIZE, 0.5, dtype=np.float32)
        pixels[3, 4] = value
        tifffile.imwrite(folder / "f.tif", pixels)
        return read_image(folder / "f.tif")

    return act


def _read_pages(folder: Path) -> object:
    tifffile.imwrite(folder / "stack.tif", np.zeros((3, *SIZE), np.uint8), photometric="minisblack")
    return read_image(folder / "stack.tif")


def _read_colour_pages(folder: Path) -> object:
    tifffile.imwrite(folder / "stack.tif", np.zeros((2, *SIZE, 3), np.uint16), photometric="rgb")
    return read_image(folder / "stack.tif")


def _read_five_channels(folder: Path) -> object:
    pixels = np.zeros((*SIZE, 5), np.uint16)
    tifffile.imwrite(folder / "five.tif", pixels, photometric="minisblack", planarconfig="contig")
    return read_image(folder / "five.tif")


def _read_complex(folder: Path) -> object:
    tifffile.imwrite(folder / "c.tif", np.zeros(SIZE, np.complex64))
    return read_image(folder / "c.tif")


def _read_negative(folder: Path) -> object:
    tifffile.imwrite(folder / "ct.tif", np.full(SIZE, -1000, np.int16))
    return read_image(folder / "ct.tif")


def _read_bomb(folder: Path) -> object:
    """A PNG of 40 kB whose header promises 400 million pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 20000, 20000, 8, 0, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    (folder / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + data)
    return read_image(folder / "bomb.png")


def _read_gif(folder: Path) -> object:
    frames = [PillowImage.fromarray(picture(seed)) for seed in range(2)]
    frames[0].save(folder / "film.gif", save_all=True, append_images=frames[1:])
    return read_image(folder / "film.gif")


def _read_animated_png(folder: Path) -> object:
    frames = [PillowImage.fromarray(picture(seed)) for seed in range(2)]
    frames[0].save(folder / "film.png", save_all=True, append_images=frames[1:])
    return read_image(folder / "film.png")


def _read_lab(folder: Path) -> object:
    PillowImage.new("LAB", (8, 8)).save(folder / "lab.tif")
    return read_image(folder / "lab.tif")


def _read_directory(folder: Path) -> object:
    (folder / "x.png").mkdir()
    return read_image(folder / "x.png")


def _read_link_loop(folder: Path) -> object:
    (folder / "a.png").symlink_to(folder / "b.png")
    (folder / "b.png").symlink_to(folder / "a.png")
    return read_image(folder / "a.png")


def _read_dangling_link(folder: Path) -> object:
    (folder / "a.png").symlink_to(folder / "gone.png")
    return read_image(folder / "a.png")


def _read_pipe(folder: Path) -> object:
    os.mkfifo(folder / "pipe.png")
    return read_image(folder / "pipe.png")


def _read_fractions_as_mask(folder: Path) -> object:
    tifffile.imwrite(folder / "m.tif", np.full(SIZE, 0.5, np.float32))
    return read_label(folder / "m.tif")


def _in_dataset(change: Callable[[Path], object]) -> Callable[[Path], object]:
    """Change a good data set of six cases, then open it."""

    def act(folder: Path) -> object:
        change(make_dataset(folder))
        return open_dataset(folder)

    return act


def _mask_of_other_size(folder: Path) -> object:
    make_dataset(folder)
    save(folder / "masks" / "c2.png", blob((30, 32)))
    dataset = open_dataset(folder)
    return read_case(dataset.find(["c2"])[0], dataset.labels)


def _turned_mask_of_other_size(folder: Path) -> object:
    make_dataset(folder)
    save(folder / "masks" / "c2.png", blob((30, 32)))
    exif = PillowImage.Exif()
    exif[274] = 6
    save(folder / "images" / "c2.png", picture(2), exif=exif)
    dataset = open_dataset(folder)
    return read_case(dataset.find(["c2"])[0], dataset.labels)


def _value_after_scan(folder: Path) -> object:
    dataset = open_dataset(make_dataset(folder))
    save(folder / "masks" / "c2.png", blob(value=7))
    return read_case(dataset.find(["c2"])[0], dataset.labels)


def _unscanned(folder: Path) -> object:
    dataset = open_dataset(make_dataset(folder), scan_labels=False)
    return read_case(dataset.cases[0], dataset.labels)


def _empty_training_set(folder: Path) -> object:
    dataset = open_dataset(make_dataset(folder, value=0))
    return require_foreground(dataset.cases, dataset.labels)


def _one_image(folder: Path) -> object:
    return make_splits(open_dataset(make_dataset(folder, 1)))


def _csv(*lines: str) -> Callable[[Path], object]:
    def act(folder: Path) -> object:
        make_dataset(folder)
        return open_dataset(write_lines(folder / "cases.csv", lines))

    return act


def _splits_json(text: str) -> Callable[[Path], object]:
    def act(folder: Path) -> object:
        write_lines(make_dataset(folder) / "splits.json", [text])
        dataset = open_dataset(folder)
        splits = resolve_splits(dataset)
        return check_splits(dataset, splits)

    return act


def _crossing_group(folder: Path) -> object:
    rows = ["case,group", *(f"c{n},p{(n + 1) // 2}" for n in range(1, 7))]
    write_lines(make_dataset(folder) / "groups.csv", rows)
    lists = {"train": ["c1", "c3", "c4"], "val": ["c5", "c6"], "test": ["c2"]}
    for name, ids in lists.items():
        write_lines(folder / "splits" / f"{name}.txt", ids)
    dataset = open_dataset(folder)
    return check_splits(dataset, resolve_splits(dataset))


def _crossing_duplicate(copy: Callable[[Path], object]) -> Callable[[Path], object]:
    """c1 (train) once more as c6 (test)."""

    def act(folder: Path) -> object:
        make_dataset(folder)
        (folder / "images" / "c6.png").unlink()
        copy(folder / "images")
        for name, ids in {"train": ["c1", "c2", "c3"], "val": ["c4", "c5"], "test": ["c6"]}.items():
            write_lines(folder / "splits" / f"{name}.txt", ids)
        dataset = open_dataset(folder)
        return check_splits(dataset, resolve_splits(dataset))

    return act


def _many_values(folder: Path) -> object:
    mask = (np.arange(SIZE[0] * SIZE[1]).reshape(SIZE) % 35 * 6 + 1).astype(np.uint8)
    return save(folder / "masks" / "c3.png", mask)


def _many_colours(folder: Path) -> object:
    return save(folder / "masks" / "c3.png", picture(3))


def _grey_jpeg_masks(folder: Path) -> object:
    for path in sorted((folder / "masks").iterdir()):
        path.unlink()
        save(path.with_suffix(".jpg"), np.full(SIZE, 127, np.uint8))
    return folder


def _class_and_ignore(folder: Path) -> object:
    mask = blob(value=1)
    mask[0, 0] = 255
    save(folder / "masks" / "c1.png", mask)
    return write_lines(folder / "dataset.yaml", ["values: {0: 0, 1: 1}"])


def _move(folder: Path, source: str, target: str) -> None:
    (folder / target).parent.mkdir(parents=True, exist_ok=True)
    (folder / source).rename(folder / target)


FILES = [
    BadInput(
        "truncated png", _read_bytes("t.png", _encoded("PNG")[:900]), FileFormatError, ("t.png", "truncated")
    ),
    BadInput(
        "truncated jpeg",
        _read_bytes("t.jpg", _encoded("JPEG")[:900]),
        FileFormatError,
        ("t.jpg", "truncated"),
    ),
    BadInput("truncated tiff", _read_bytes("t.tif", _encoded("TIFF")[:900]), FileFormatError, ("t.tif",)),
    BadInput(
        "truncated bmp", _read_bytes("t.bmp", _encoded("BMP")[:900]), FileFormatError, ("t.bmp", "truncated")
    ),
    BadInput(
        "damaged png", _read_bytes("d.png", _encoded("PNG")[:60] + bytes(200)), FileFormatError, ("d.png",)
    ),
    BadInput("zero bytes", _read_bytes("z.png", b""), FileFormatError, ("z.png", "is empty (0 bytes)")),
    BadInput(
        "text named .jpg",
        _read_bytes("t.jpg", b"not a picture\n"),
        FileFormatError,
        ("t.jpg is text, not a",),
    ),
    BadInput(
        "html named .png", _read_bytes("h.png", b"<!doctype html>"), FileFormatError, ("h.png is text (HTML",)
    ),
    BadInput(
        "zip named .png", _read_bytes("z.png", b"PK\x03\x04" + bytes(99)), FileFormatError, ("a ZIP archive",)
    ),
    BadInput(
        "noise named .png", _read_bytes("n.png", bytes(range(256))), FileFormatError, ("unknown or damaged",)
    ),
    BadInput("animated gif", _read_gif, FileFormatError, ("film.gif is a GIF image, not a PNG",)),
    BadInput("animated png", _read_animated_png, FileFormatError, ("film.png holds 2 pages or frames",)),
    BadInput("multi-page tiff", _read_pages, FileFormatError, ("stack.tif holds 3 pages", "its own file")),
    BadInput(
        "multi-page 16-bit colour tiff", _read_colour_pages, FileFormatError, ("stack.tif holds 2 pages",)
    ),
    BadInput("five channels", _read_five_channels, FileFormatError, ("five.tif has 5 channels",)),
    BadInput("complex numbers", _read_complex, FileFormatError, ("c.tif", "complex64")),
    BadInput("negative values", _read_negative, FileFormatError, ("ct.tif holds the values -1000 to -1000",)),
    BadInput(
        "NaN",
        _read_float_tiff(float("nan")),
        FileFormatError,
        ("f.tif holds NaN or infinite values (1 of 768)",),
    ),
    BadInput(
        "infinity",
        _read_float_tiff(float("inf")),
        FileFormatError,
        ("f.tif holds NaN or infinite values (1 of",),
    ),
    BadInput(
        "floats up to 4095", _read_float_tiff(4095.0), FileFormatError, ("floats from 0.5 to 4095", "0 to 1")
    ),
    BadInput(
        "decompression bomb", _read_bomb, FileFormatError, ("bomb.png has more than 89,478,485 pixels",)
    ),
    BadInput(
        "unsupported colour space", _read_lab, FileFormatError, ("lab.tif is in the colour mode LAB", "RGB")
    ),
    BadInput("missing file", lambda f: read_image(f / "no.png"), FileFormatError, ("no.png does not exist",)),
    BadInput("folder named .png", _read_directory, FileFormatError, ("x.png is a folder",)),
    BadInput(
        "symbolic link loop", _read_link_loop, FileFormatError, ("a.png is a symbolic link that leads back",)
    ),
    BadInput(
        "dangling link", _read_dangling_link, FileFormatError, ("a.png is a link to a file that does not",)
    ),
    BadInput("named pipe", _read_pipe, FileFormatError, ("pipe.png is not a regular file",)),
    BadInput("fractions as mask", _read_fractions_as_mask, FileFormatError, ("m.tif", "whole numbers")),
]

LABELS = [
    BadInput(
        "mask of another size",
        _mask_of_other_size,
        LabelError,
        ("c2.png has 30×32", "24×32", "export the mask"),
    ),
    BadInput(
        "mask that fits neither upright nor stored",
        _turned_mask_of_other_size,
        LabelError,
        ("32×24 after its EXIF orient",),
    ),
    BadInput(
        "mask of 37 values", _in_dataset(_many_values), LabelError, ("37 values (0, 1, 7,", "dataset.yaml")
    ),
    BadInput("photograph as mask", _in_dataset(_many_colours), LabelError, ("c3.png", "#", "threshold: 128")),
    BadInput(
        "grey JPEG masks", _in_dataset(_grey_jpeg_masks), LabelError, ("6 masks are JPEG", "100%", "as PNG")
    ),
    BadInput(
        "undeclared value", _in_dataset(_class_and_ignore), LabelError, ("c1.png", "255", "see dataset.yaml")
    ),
    BadInput(
        "value that no scan saw", _value_after_scan, LabelError, ("c2.png holds the value 7 without a class",)
    ),
    BadInput("masks not scanned", _unscanned, LabelError, ("c1.png", "scan_labels")),
    BadInput(
        "all masks empty", _empty_training_set, LabelError, ("all 6 training masks are empty", "data check")
    ),
    BadInput(
        "unreadable mask",
        _in_dataset(lambda f: (f / "masks/c4.png").write_bytes(b"")),
        FileFormatError,
        ("c4.png is empty",),
    ),
    BadInput(
        "dataset.yaml with an unknown key",
        _in_dataset(lambda f: write_lines(f / "dataset.yaml", ["clases: {0: a, 1: b}"])),
        LabelError,
        ("unknown key 'clases'", "classes, values, threshold"),
    ),
    BadInput(
        "dataset.yaml that is no YAML",
        _in_dataset(lambda f: write_lines(f / "dataset.yaml", ["classes: {0: a"])),
        LabelError,
        ("dataset.yaml cannot be read as YAML",),
    ),
    BadInput(
        "dataset.yaml with a hole in the ids",
        _in_dataset(lambda f: write_lines(f / "dataset.yaml", ["classes: {0: a, 2: b}"])),
        LabelError,
        ("without a hole",),
    ),
    BadInput(
        "dataset.yaml with too few classes",
        _in_dataset(
            lambda f: write_lines(f / "dataset.yaml", ["classes: {0: a, 1: b}", "values: {0: 0, 255: 2}"])
        ),
        LabelError,
        ("maps a value to class 2, but names 2 classes",),
    ),
]

LAYOUTS = [
    BadInput("missing folder", lambda f: open_dataset(f / "no"), LayoutError, ("no does not exist",)),
    BadInput("empty folder", open_dataset, LayoutError, ("holds no image with a mask", "CSV")),
    BadInput(
        "another file", lambda f: open_dataset(write_lines(f / "a.txt", ["x"])), LayoutError, ("is a file",)
    ),
    BadInput(
        "missing mask",
        _in_dataset(lambda f: (f / "masks/c3.png").unlink()),
        LayoutError,
        ("images/c3.png: no mask of this name",),
    ),
    BadInput(
        "extra mask",
        _in_dataset(lambda f: save(f / "masks/c9.png", blob())),
        LayoutError,
        ("masks/c9.png: no image of this name",),
    ),
    BadInput(
        "images of one name with different suffixes",
        _in_dataset(lambda f: save(f / "images/c3.jpg", picture())),
        LayoutError,
        ("several images have one name", "c3.jpg", "c3.png"),
    ),
    BadInput(
        "masks of one name with different suffixes",
        _in_dataset(lambda f: save(f / "masks/c3_mask.png", blob())),
        LayoutError,
        ("several masks for", "c3.png, c3_mask.png", "merge: union"),
    ),
    BadInput(
        "many unpaired files",
        _in_dataset(lambda f: [(f / f"masks/c{n}.png").unlink() for n in range(1, 6)]),
        LayoutError,
        ("c1.png", "c3.png", "and 2 more", "dinoseg data check"),
    ),
    BadInput(
        "folder named .png among images",
        _in_dataset(lambda f: (f / "images/c7.png").mkdir()),
        LayoutError,
        ("c7.png is a folder, not an image",),
    ),
    BadInput(
        "images in subfolders",
        _in_dataset(lambda f: _move(f, "images/c1.png", "images/patient1/c1.png")),
        LayoutError,
        ("patient1 is a subfolder, which is not searched", "CSV"),
    ),
    BadInput(
        "folder that links to its parent",
        _in_dataset(lambda f: (f / "images/loop").symlink_to(f / "images")),
        LayoutError,
        ("loop is a subfolder",),
    ),
    BadInput(
        "link loop among images",
        _in_dataset(lambda f: (f / "images/c7.png").symlink_to(f / "images/c7.png")),
        LayoutError,
        ("c7.png is a symbolic link that leads back",),
    ),
    BadInput(
        "dangling link among masks",
        _in_dataset(lambda f: (f / "masks/c7.png").symlink_to(f / "gone.png")),
        LayoutError,
        ("c7.png is a link to a file that does not exist",),
    ),
    BadInput(
        "unsupported extension",
        _in_dataset(lambda f: _move(f, "images/c1.png", "images/c1.webp")),
        LayoutError,
        ("c1.webp has the extension .webp", ".png"),
    ),
    BadInput(
        "masks without images",
        _in_dataset(lambda f: _move(f, "images", "pictures")),
        LayoutError,
        ("holds masks/ but no images/",),
    ),
    BadInput(
        "two image folders",
        _in_dataset(lambda f: (f / "img").mkdir()),
        LayoutError,
        ("holds images and img",),
    ),
    BadInput(
        "splits and images side by side",
        _in_dataset(lambda f: (f / "train").mkdir()),
        LayoutError,
        ("both split folders and image or mask folders",),
    ),
    BadInput(
        "CSV without the mask column", _csv("image,label", "a,b"), LayoutError, ("no column 'mask'", "label")
    ),
    BadInput("CSV without rows", _csv("image,mask"), LayoutError, ("a header and no row",)),
    BadInput(
        "CSV with a missing file",
        _csv("image,mask", "images/c1.png,masks/c1.png", "images/c2.png,masks/no.png"),
        LayoutError,
        ("cases.csv row 3", "no.png does not exist"),
    ),
    BadInput(
        "CSV with an empty cell", _csv("image,mask", "images/c1.png,"), LayoutError, ("row 2: no mask",)
    ),
    BadInput(
        "CSV with an image twice",
        _csv("image,mask", *["images/c1.png,masks/c1.png"] * 2),
        LayoutError,
        ("c1.png 2 times",),
    ),
    BadInput(
        "CSV that is no text",
        lambda f: open_dataset(_write_bytes(f / "cases.csv", b"\xff\xfe\x00image")),
        LayoutError,
        ("not UTF-8",),
    ),
    BadInput(
        "groups.csv without a case",
        _in_dataset(lambda f: write_lines(f / "groups.csv", ["case,group", "c1,p1"])),
        LayoutError,
        ("groups.csv gives no group for c2",),
    ),
    BadInput(
        "groups.csv with two groups for a case",
        _in_dataset(lambda f: write_lines(f / "groups.csv", ["case,group", "c1,p1", "c1,p2"])),
        LayoutError,
        ("row 3: a second group for c1",),
    ),
]

SPLITS = [
    BadInput(
        "one image only", _one_image, SplitError, ("groups: 1, cases: 1", "train, val, test need one each")
    ),
    BadInput(
        "unknown split in a CSV",
        _csv("image,mask,split", "images/c1.png,masks/c1.png,holdout"),
        SplitError,
        ("unknown split 'holdout'", "train, val and test"),
    ),
    BadInput(
        "unknown id in a list",
        _in_dataset(lambda f: write_lines(f / "splits/train.txt", ["c1", "c99"])),
        SplitError,
        ("train.txt names c99, which is no case",),
    ),
    BadInput(
        "id twice in a list",
        _in_dataset(lambda f: write_lines(f / "splits/train.txt", ["c1", "c1"])),
        SplitError,
        ("train.txt lists c1 twice",),
    ),
    BadInput(
        "id in two lists",
        _in_dataset(lambda f: [write_lines(f / f"splits/{n}.txt", ["c1", "c2"]) for n in ("train", "test")]),
        SplitError,
        ("c1 is in train and in test",),
    ),
    BadInput(
        "lists of other names",
        _in_dataset(lambda f: write_lines(f / "splits/fold0.txt", ["c1"])),
        SplitError,
        ("fold0.txt", "train.txt, val.txt and test.txt"),
    ),
    BadInput(
        "missing splits.json", lambda f: load_splits(f / "no.json"), SplitError, ("no.json does not exist",)
    ),
    BadInput("splits.json that is no JSON", _splits_json("{"), SplitError, ("cannot be read as JSON",)),
    BadInput("splits.json that is a list", _splits_json("[]"), SplitError, ("holds no JSON object",)),
    BadInput("splits.json without train", _splits_json('{"val": []}'), SplitError, ("no list 'train'",)),
    BadInput("splits.json with numbers", _splits_json('{"train": [1]}'), SplitError, ("list of case names",)),
    BadInput(
        "splits.json with another key", _splits_json('{"train": [], "dev": []}'), SplitError, ("'dev'",)
    ),
    BadInput(
        "splits.json with an id twice", _splits_json('{"train": ["c1", "c1"]}'), SplitError, ("c1", "twice")
    ),
    BadInput(
        "splits.json with an unknown id", _splits_json('{"train": ["c9"]}'), SplitError, ("c9 (train)",)
    ),
    BadInput(
        "splits.json with a bad seed", _splits_json('{"train": [], "seed": "x"}'), SplitError, ("seed must",)
    ),
    BadInput(
        "empty training split", _splits_json('{"train": [], "val": ["c1"]}'), SplitError, ("holds no case",)
    ),
    BadInput(
        "case in two splits",
        _splits_json('{"train": ["c1", "c2"], "test": ["c2"]}'),
        SplitError,
        ("the splits leak: case c2 is in train and in test",),
    ),
    BadInput("crossing group", _crossing_group, SplitError, ("group p1 has c1 in train and c2 in test",)),
    BadInput(
        "crossing copy of a file",
        _crossing_duplicate(lambda f: (f / "c6.png").write_bytes((f / "c1.png").read_bytes())),
        SplitError,
        ("c1 (train) is the image of c6 (test)",),
    ),
    BadInput(
        "crossing copy in another format",
        _crossing_duplicate(lambda f: save(f / "c6.bmp", picture(1))),
        SplitError,
        ("c1 (train) is the image of c6 (test)", "give both one group"),
    ),
]


def _write_bytes(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("bad", FILES + LABELS + LAYOUTS + SPLITS, ids=lambda bad: bad.name.replace(" ", "-"))
def test_bad_input_is_one_line_that_names_it(bad: BadInput, tmp_path: Path) -> None:
    with pytest.raises(bad.error) as caught:
        bad.act(tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    assert [word for word in bad.words if word not in message] == [], message
    assert caught.value.exit_code == 3


def test_the_kinds_are_many_and_different() -> None:
    names = [bad.name for bad in FILES + LABELS + LAYOUTS + SPLITS]
    assert len(set(names)) == len(names) >= 30


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO])
def test_unreadable_folder_is_named(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_dataset(tmp_path)
    original = Path.iterdir

    def refuse(path: Path):
        if path.name == "masks":
            raise OSError(code, os.strerror(code), str(path))
        return original(path)

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(LayoutError, match=r"masks cannot be opened: "):
        open_dataset(tmp_path)


def test_unreadable_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "x.png", picture())
    original = Path.open

    def refuse(self: Path, *args, **kwargs):
        if self == path:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return original(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(FileFormatError, match=r"x\.png cannot be opened: permission denied"):
        read_image(path)


def test_a_pair_that_fails_does_not_hide_the_others(tmp_path: Path) -> None:
    make_dataset(tmp_path)
    (tmp_path / "images/c2.png").write_bytes(b"")
    dataset = open_dataset(tmp_path)
    with pytest.raises(FileFormatError, match=r"c2\.png is empty"):
        read_case(dataset.find(["c2"])[0], dataset.labels)
    assert read_case(replace(dataset.cases[0]), dataset.labels).image.size == SIZE
