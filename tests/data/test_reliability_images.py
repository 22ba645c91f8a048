"""The table "Images and labels" of docs/reliability.md: every row is made and gives what it says."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image as PillowImage

from dinoseg.data.checks.dataset import check_dataset
from tests.data.odd_files import GREY_ALPHA, RGB, save_turned, write_deep_png, write_palette
from tests.data.samples import SIZE, blob, make_dataset, picture, save, write_lines

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
NUMBERS = range(1, 7)
DRAWN = [(0, 0, 0), (0, 255, 0), (255, 0, 0)]
Make = Callable[[Path], object]


def _stripe() -> NDArray[np.uint8]:
    stripe = np.zeros(SIZE, dtype=np.uint8)
    stripe[:6] = 170
    return stripe


def _link_images(root: Path) -> None:
    elsewhere = root.parent / "elsewhere"
    (root / "images").rename(elsewhere)
    (root / "images").symlink_to(elsewhere)


def _rename(root: Path) -> None:
    for number, name in enumerate(
        ("a b", "x.y.z", "\u05e9\u05dc\u05d5\u05dd", "\u00fc (1)", "-dash", "1e5"), start=1
    ):
        for folder in ("images", "masks"):
            (root / folder / f"c{number}.png").rename(root / folder / f"{name}.png")


def _rows() -> dict[str, tuple[str, str]]:
    """What was given -> what is said to happen, and the words to look for."""
    section = PAGE.read_text(encoding="utf-8").partition("## Images and labels")[2].partition("\n## ")[0]
    rows = {}
    for given, outcome in re.findall(r"^\| (?!given)([^|]+?) \| ([^|]+?) \|$", section, re.MULTILINE):
        rows[given] = (outcome, re.findall(r"`([^`]+)`", outcome)[0])
    return rows


def _with_masks(write: Callable[[Path, int], object], suffix: str = ".png") -> Make:
    """Six cases whose masks `write` makes anew."""

    def make(root: Path) -> None:
        make_dataset(root)
        for number in NUMBERS:
            (root / f"masks/c{number}.png").unlink()
            write(root / f"masks/c{number}{suffix}", number)

    return make


def _with_mask(write: Callable[[Path], object], name: str = "c2.png") -> Make:
    """Six cases of which one mask is another."""

    def make(root: Path) -> None:
        make_dataset(root)
        (root / "masks/c2.png").unlink()
        write(root / "masks" / name)

    return make


def _with_images(write: Callable[[Path, int], object], suffix: str = ".png") -> Make:
    def make(root: Path) -> None:
        make_dataset(root)
        for number in NUMBERS:
            (root / f"images/c{number}.png").unlink()
            write(root / f"images/c{number}{suffix}", number)

    return make


def _with_lines(name: str, *lines: str) -> Make:
    return lambda root: write_lines(make_dataset(root) / name, lines)


def _both(*steps: Make) -> Make:
    def make(root: Path) -> None:
        for step in steps:
            step(root)

    return make


def _ids() -> NDArray[np.uint8]:
    ids = blob(value=1)
    ids[14:20, 20:30] = 2
    return ids


def _deep(channels: int, ids: NDArray[np.uint8]) -> NDArray[np.uint16]:
    pixels = np.repeat(ids.astype(np.uint16)[..., None], channels, axis=2)
    if channels == 2:
        pixels[..., 1] = 65535
    return pixels


def _two_orders(path: Path, number: int) -> None:
    order = [0, 2, 1] if number == 3 else [0, 1, 2]
    write_palette(path, np.array(order, np.uint8)[_ids()], [DRAWN[place] for place in order])


def _black_with_alpha(path: Path) -> None:
    save(path, np.stack([np.zeros(SIZE, np.uint8)] * 3 + [blob()], axis=2))


def _smooth(path: Path, number: int) -> None:
    large = PillowImage.fromarray(blob((48, 64), corner=(9, 13)))
    large.resize((32, 24), PillowImage.Resampling.BILINEAR).save(path)


def _reds(path: Path, number: int) -> None:
    mask = np.zeros((*SIZE, 3), np.uint8)
    mask[..., 0] = blob()
    mask[6, 8, 0] = 250
    save(path, mask)


def _infrared(path: Path) -> None:
    pixels = np.full((*SIZE, 4), 7, np.uint8)
    tifffile.imwrite(path, pixels, photometric="rgb", extrasamples=["unspecified"])


def _film(path: Path) -> None:
    frames = [PillowImage.fromarray(picture(seed)) for seed in range(2)]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def _normal_validation(root: Path) -> None:
    lists = {"train": ["c1", "c3"], "val": ["c2"], "test": ["c4"]}
    for name, ids in lists.items():
        write_lines(root / "splits" / f"{name}.txt", ids)


def _minus_one(path: Path) -> None:
    tifffile.imwrite(path, np.where(blob() > 0, -1, 0).astype(np.int8))


def _purple(path: Path, number: int) -> None:
    write_palette(path, blob(value=1), [(68, 1, 84), (0, 255, 0)])


def _fax(path: Path, number: int) -> None:
    PillowImage.fromarray(blob() == 0).save(path, compression="group4", tiffinfo={262: 0})


def _probabilities(path: Path) -> None:
    tifffile.imwrite(path, (blob() / np.float32(300)).astype(np.float32))


MADE: dict[str, Make] = {
    "masks are RGB PNG of 16 bits with the ids 0 and 1": _with_masks(
        lambda path, n: write_deep_png(path, _deep(3, blob(value=1)), RGB)
    ),
    "masks are grey PNG of 16 bits with an alpha channel, ids 0, 1, 2": _with_masks(
        lambda path, n: write_deep_png(path, _deep(2, _ids()), GREY_ALPHA)
    ),
    "masks are TIFF of 16 bits whose 0 is white": _with_masks(
        lambda path, n: tifffile.imwrite(path, blob(value=1).astype(np.uint16), photometric="miniswhite"),
        ".tif",
    ),
    "masks are fax TIFF of 1 bit whose 0 is white": _with_masks(_fax, ".tif"),
    "one palette mask of six has its colours in another order": _with_masks(_two_orders),
    "palette masks whose index 0 is purple, black nowhere": _with_masks(_purple),
    "palette masks beside grey masks whose values do not agree": _with_masks(
        lambda path, n: write_palette(path, _ids(), DRAWN) if n > 1 else save(path, _ids() * 40)
    ),
    "palette masks in two orders, numbers declared": _both(
        _with_masks(_two_orders),
        lambda root: write_lines(root / "dataset.yaml", ["values: {0: 0, 1: 1, 2: 2}"]),
    ),
    "a mask in CMYK": _with_mask(lambda path: PillowImage.new("CMYK", SIZE[::-1]).save(path), "c2.tif"),
    "a mask that is black, its shape in the alpha channel": _with_mask(_black_with_alpha),
    "masks are JPEG inside TIFF": _with_masks(
        lambda path, n: PillowImage.fromarray(np.stack([blob()] * 3, axis=2)).save(path, compression="jpeg"),
        ".tif",
    ),
    "masks are probabilities, float TIFF": _with_mask(_probabilities, "c2.tif"),
    "masks hold -1 where nobody decided, TIFF of 8 bits": _with_mask(_minus_one, "c2.tif"),
    "binary masks were made smaller with smooth edges": _with_masks(_smooth),
    "red masks with a few pixels of nearly the same red": _with_masks(_reds),
    "masks were drawn as white background, black finding": _with_masks(
        lambda path, n: save(
            path, 255 - blob(corner=(2, n)) // 255 * 255 * (np.indices(SIZE)[0] < 5).astype(np.uint8)
        )
    ),
    "one mask is ignored as a whole": _both(
        _with_mask(lambda path: save(path, np.full(SIZE, 7, np.uint8))),
        lambda root: write_lines(root / "dataset.yaml", ["values: {0: 0, 255: 1}", "ignore: 7"]),
    ),
    "0 is to be ignored, and is the background as well": _with_lines(
        "dataset.yaml", "classes: {0: background, 1: polyp}", "ignore: 0"
    ),
    "an image has red, green, blue and near infrared": _both(
        make_dataset,
        lambda root: (root / "images/c2.png").unlink(),
        lambda root: _infrared(root / "images/c2.tif"),
    ),
    "an image is a PNG of two frames": _both(make_dataset, lambda root: _film(root / "images/c2.png")),
    "images of 12 bits in files of 16": _with_images(
        lambda path, n: save(path, picture(n, channels=1).astype(np.uint16) * 16)
    ),
    "photographs lying on their side, masks drawn on stored pixels": _with_images(
        lambda path, n: save_turned(path, picture(n), 6), ".jpg"
    ),
    "photographs turned upside down, masks without orientation": _with_images(
        lambda path, n: save_turned(path, picture(n), 3), ".jpg"
    ),
    "the same, with `masks: stored` in dataset.yaml": _both(
        _with_images(lambda path, n: save_turned(path, picture(n), 3), ".jpg"),
        lambda root: (root / "dataset.yaml").write_text("masks: stored\n"),
    ),
    "masks are called x_lesion.png": _both(
        make_dataset,
        *(
            lambda root, n=n: (root / f"masks/c{n}.png").rename(root / f"masks/c{n}_lesion.png")
            for n in NUMBERS
        ),
    ),
    "an image has x_mask.png and x_mask_2.png": _both(
        make_dataset,
        lambda root: (root / "masks/c2.png").rename(root / "masks/c2_mask.png"),
        lambda root: save(root / "masks/c2_mask_2.png", blob()),
    ),
    "masks are GIF": _with_mask(lambda path: PillowImage.fromarray(blob()).save(path), "c2.gif"),
    "a second reader's masks lie in reader2/": _both(
        make_dataset, *(lambda root, n=n: save(root / f"reader2/c{n}.png", blob()) for n in NUMBERS)
    ),
    "a folder is a link to one that is gone": _both(
        make_dataset, lambda root: (root / "more").symlink_to(root / "nowhere")
    ),
    "the patients are in group.csv": _with_lines("group.csv", "case,group", "c1,p1"),
    "groups.csv names c1 and c1.png, of two patients": _with_lines(
        "groups.csv", "case,group", *(f"c{n},p{n}" for n in NUMBERS), "c1.png,p9"
    ),
    "dataset.yaml and dataset.yml": _both(
        _with_lines("dataset.yaml", "threshold: 128"), _with_lines("dataset.yml", "threshold: 128")
    ),
    "a CSV with the column patient_id": _both(
        lambda root: make_dataset(root / "files"),
        lambda root: write_lines(
            root / "cases.csv",
            ["image,mask,patient_id", *(f"files/images/c{n}.png,files/masks/c{n}.png,p" for n in NUMBERS)],
        ),
    ),
    "a CSV beside images/ and masks/": _with_lines("cases.csv", "image,mask", "images/c1.png,masks/c1.png"),
    "a validation split of normal cases": _both(
        _with_mask(lambda path: save(path, blob(value=0))), _normal_validation
    ),
    "one image six times under other names": _with_images(lambda path, n: save(path, picture(1))),
    "masks are BigTIFF in tiles": _with_masks(
        lambda path, number: tifffile.imwrite(path, blob() // 255, bigtiff=True, tile=(16, 16)), ".tif"
    ),
    "masks are RGB TIFF of 16 bits, black and white": _with_masks(
        lambda path, number: tifffile.imwrite(
            path, np.stack([blob().astype(np.uint16) * 257] * 3, axis=-1), photometric="rgb"
        ),
        ".tif",
    ),
    "masks are JPEG and hold three classes": _with_masks(
        lambda path, number: PillowImage.fromarray(np.maximum(blob() // 3, _stripe())).save(path), ".jpg"
    ),
    "the mask of c2.png is called C2.png": _with_mask(lambda path: save(path, blob()), "C2.png"),
    "an image is a GIF that is called .png": _both(
        make_dataset, lambda root: PillowImage.fromarray(picture(1)).save(root / "images/c2.png", "GIF")
    ),
    "images are floats from 0 to 254, TIFF": _with_images(
        lambda path, number: tifffile.imwrite(path, np.full(SIZE, 254, np.float32)), ".tif"
    ),
    "groups.csv with semicolons and a byte order mark": _both(
        make_dataset,
        lambda root: (root / "groups.csv").write_text(
            "\ufeffcase;group\n" + "".join(f"c{number};p{number // 3}\n" for number in NUMBERS),
            encoding="utf-8",
        ),
    ),
    "groups.csv in Latin-1": _both(
        make_dataset,
        lambda root: (root / "groups.csv").write_bytes("case,group\nc1,\u00e4\n".encode("latin-1")),
    ),
    "dataset.yml says clases": _with_lines("dataset.yml", "clases: {0: background, 1: lesion}"),
    "images/ is a link to a folder elsewhere": _both(make_dataset, _link_images),
    "names with spaces, dots and Hebrew letters": _both(make_dataset, _rename),
    "vessels one pixel wide": _with_masks(
        lambda path, n: save(path, np.where(np.indices(SIZE)[0] % 8 == n % 8, 255, 0).astype(np.uint8))
    ),
}


def test_the_table_lists_what_is_made() -> None:
    assert list(_rows()) == list(MADE)
    assert len(MADE) >= 30


@pytest.mark.parametrize("given", MADE)
def test_row(given: str, tmp_path: Path) -> None:
    MADE[given](tmp_path / "data")
    outcome, words = _rows()[given]
    report = check_dataset(tmp_path / "data", size=32)
    lines = report.lines()
    found = [line for line in lines if words in line]
    assert found, "\n".join(lines)
    assert all("\n" not in line for line in lines)
    assert report.layout
    refused = outcome.startswith("refused")
    assert (report.exit_code == 3) == refused, "\n".join(lines)
    if refused:
        assert any(line.startswith("error: ") for line in found)
    elif "a warning" in outcome:
        assert any(finding.severity == "warning" for finding in report.findings)
