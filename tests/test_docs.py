"""The pages of the manual are true: examples run, command lines parse, tables are those of the program.

Blocks of one page share their names and a folder with

    data/         12 drawn pictures with masks, groups and splits
    broken/       the same with things broken on purpose
    photos/       3 pictures without masks, one in a sub-folder
    runs/first/   a model, trained on data/ for two epochs

A `text` block right after a `python` block is what it prints. A block that begins with
`# not run: needs ...` is only parsed.
"""

from __future__ import annotations

import contextlib
import io
import math
import re
import shlex
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage

from dinoseg.backbones.catalog import BACKBONES, BackboneSpec
from dinoseg.cli.info import show_value
from dinoseg.cli.settings import list_settings
from dinoseg.config import AugmentationSettings, TrainSettings
from dinoseg.data.phantoms.phantoms import write_phantoms
from dinoseg.errors import ConfigError
from dinoseg.methods import METHODS
from dinoseg.methods.presets import preset
from tests.cli.commands import list_commands, list_options

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
SHELLS = {"sh", "bash", "console"}
NOT_RUN = "# not run: needs "
SMALL = {
    "model.preprocessing.size": 64,
    "train.epochs": 2,
    "train.views": 2,
    "train.min_bank": 0,
    "train.min_epoch_samples": 0,
}
COMMANDS = list_commands()


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, the line it begins on, and what follows it directly."""

    language: str
    text: str
    line: int
    output: str | None


def list_blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = list(re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    after = [*found[1:], None]
    return [
        Block(
            language=block[1],
            text=block[2],
            line=text.count("\n", 0, block.start(2)) + 1,
            output=follower[2] if follower and _is_output(text, block, follower) else None,
        )
        for block, follower in zip(found, after, strict=False)
    ]


def _is_output(text: str, block: re.Match[str], follower: re.Match[str]) -> bool:
    between = text[block.end() : follower.start()]
    return block[1] == "python" and follower[1] == "text" and not between.strip()


# --- examples ---------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from dinoseg import train

    folder = tmp_path_factory.mktemp("pages")
    data = write_phantoms(folder / "data", kind="dermoscopy", count=12, size=(96, 128), seed=0)
    for name in ("dermoscopy_0001", "dermoscopy_0005", "ward/dermoscopy_0006"):
        (folder / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(data / "images" / f"{Path(name).name}.png", folder / "photos" / f"{name}.png")
    _break(shutil.copytree(data, folder / "broken"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        changes = {**SMALL, "cache.folder": str(folder / "features")}
        train("data", method="linear", backbone="untrained-vitt16", out="runs/first", changes=changes)
    shutil.rmtree(folder / "features")
    return folder


def _break(root: Path) -> None:
    """What docs/data.md says of `broken/`."""
    images, masks = root / "images", root / "masks"
    (masks / "dermoscopy_0009.png").unlink()
    half = (images / "dermoscopy_0005.png").read_bytes()
    (images / "dermoscopy_0005.png").write_bytes(half[: len(half) // 2])
    mask = PillowImage.open(masks / "dermoscopy_0006.png")
    mask.resize((64, 48), PillowImage.Resampling.NEAREST).save(masks / "dermoscopy_0006.png")
    PillowImage.open(images / "dermoscopy_0011.png").save(images / "same.bmp")
    darker = np.array(PillowImage.open(images / "dermoscopy_0012.png")) // 10 * 9
    PillowImage.fromarray(darker).save(images / "darker.png")
    for name, original in (("same", "dermoscopy_0011"), ("darker", "dermoscopy_0012")):
        shutil.copy(masks / f"{original}.png", masks / f"{name}.png")
    train = (root / "splits" / "train.txt").read_text(encoding="utf-8").replace("dermoscopy_0009\n", "")
    (root / "splits" / "train.txt").write_text(f"{train}same\ndarker\n", encoding="utf-8")
    with (root / "groups.csv").open("a", encoding="utf-8") as file:
        file.write("same,subject_007\ndarker,subject_008\n")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_examples_run(page: Path, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shutil.copytree(prepared, tmp_path / "here"))
    names: dict[str, Any] = {"__name__": "page"}
    for block in list_blocks(page):
        if block.language != "python" or block.text.startswith(NOT_RUN):
            continue
        # The empty lines give a traceback the line of the page.
        code = compile("\n" * (block.line - 1) + block.text, str(page), "exec")
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, names)
        if block.output is not None:
            assert printed.getvalue() == block.output, f"{page.name}, line {block.line}"


def test_blocks_that_are_not_run_say_why() -> None:
    marked = [block.text for page in PAGES for block in list_blocks(page) if "not run" in block.text]
    reasons = [text.partition("\n")[0].removeprefix(NOT_RUN) for text in marked]
    assert [reason for reason in reasons if len(reason.split()) < 2] == []


# --- command lines ----------------------------------------------------------------------------------


def list_command_lines(page: Path) -> Iterator[tuple[int, list[str]]]:
    """(Line, words after `dinoseg`) of every command line in the shell blocks of a page."""
    for block in list_blocks(page):
        if block.language in SHELLS:
            text = block.text.replace("\\\n", "  ")
            for offset, line in enumerate(text.splitlines()):
                words = shlex.split(line.removeprefix("$ "), comments=True)
                yield from ((block.line + offset, part) for part in _split_commands(words))


def _split_commands(words: Sequence[str]) -> Iterator[list[str]]:
    """The arguments of each `dinoseg` of a line; what is piped or redirected is no argument."""
    part: list[str] = []
    for word in [*words, ";"]:
        if word in ("&&", "||", "|", ";", "&", ">", "2>", ">>", "<"):
            while part and re.fullmatch(r"[A-Z_]+=.*", part[0]):
                part = part[1:]
            if part[:1] == ["dinoseg"]:
                yield part[1:]
            part = []
        else:
            part.append(word)


def find_command(words: Sequence[str]) -> str:
    """The longest name of a command that a line begins with."""
    return next((name for name in (" ".join(words[:2]), " ".join(words[:1])) if name in COMMANDS), "")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_command_lines_parse(page: Path) -> None:
    for line, words in list_command_lines(page):
        name = find_command(words)
        where = f"{page.name}, line {line}: dinoseg {' '.join(words)}"
        assert name or words[:1] in ([], ["--version"], ["--help"]), where
        try:
            # Makes the context with every argument checked, and calls nothing.
            COMMANDS[name].make_context(name, words[len(name.split()) :])
        except Exception as error:
            reason = getattr(error, "message", "") or type(error).__name__
            assert reason == "Exit", f"{where}\n{reason}"  # --help and --version end there


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_named_in_sentences_exist(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for found in re.findall(r"`dinoseg ([^`]+)`", text):
        words = found.split()
        name = find_command(words)
        assert name or words[0].startswith("--") or words[0].isupper(), found
        options = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert options <= {*list_options(COMMANDS[name]), "--help"}, found


# --- tables -----------------------------------------------------------------------------------------


def read_table(page: str, *columns: str) -> list[list[str]]:
    """Cells of the one table of a page that has these columns, without their code marks."""
    text = (DOCS / page).read_text(encoding="utf-8")
    header = re.escape(f"| {' | '.join(columns)} |")
    (body,) = re.findall(rf"^{header}\n\|[-|:]+\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    return [
        [cell.strip().replace("`", "") for cell in line.strip("|").split("|")] for line in body.splitlines()
    ]


def compare(found: list[list[str]], expected: list[list[str]]) -> None:
    wanted = "\n".join(f"| {' | '.join(row)} |" for row in expected)
    assert found == expected, f"the program says:\n{wanted}"


def test_settings_are_those_of_the_program() -> None:
    found = read_table("training.md", "setting", "accepted", "default", "meaning")
    settings = list_settings()
    known = [[item.key, item.accepted, show_value(item.default)] for item in settings]
    compare([row[:3] for row in found], known)
    for row, item in zip(found, settings, strict=True):
        assert row[3].startswith(item.description), item.key
        assert row[3], f"{item.key} has no meaning"


def list_recipes() -> dict[str, TrainSettings]:
    recipes = {"default": preset("default", "linear")}
    for method in METHODS:
        with contextlib.suppress(ConfigError):
            recipes[method] = preset("paper", method)
    return recipes


def list_recipe_rows() -> list[list[str]]:
    recipes = list_recipes().values()
    rows = [
        [f"train.{name}", *(show_value(getattr(recipe, name)) for recipe in recipes)]
        for name in TrainSettings.model_fields
        if name not in ("augmentation", "seed", "logger", "wandb_mode", "mlflow_uri")  # these teach nothing
    ]
    for name in AugmentationSettings.model_fields:
        drawn = [
            show_value(getattr(recipe.augmentation, name)) if recipe.augmentation else "–"
            for recipe in recipes
        ]
        rows.append([f"train.augmentation.{name}", *drawn])
    return rows


def test_presets_are_those_of_the_program() -> None:
    compare(read_table("training.md", "setting", *list_recipes()), list_recipe_rows())


def list_backbone_rows() -> list[list[str]]:
    return [
        [
            spec.name,
            _show_levels(spec.channels),
            _show_levels(spec.strides),
            ", ".join(map(str, spec.layers)),
            f"{spec.parameters:,}",
            spec.license,
        ]
        for spec in BACKBONES.values()
    ]


def _show_levels(values: Sequence[int]) -> str:
    return f"{len(values)} × {values[0]}" if len(set(values)) == 1 else ", ".join(map(str, values))


def test_backbones_are_those_of_the_catalog() -> None:
    columns = ("backbone", "channels", "strides", "layers", "parameters", "licence")
    compare(read_table("backbones.md", *columns), list_backbone_rows())


def test_places_of_weights_are_those_of_the_catalog() -> None:
    expected = [
        [spec.name, spec.timm_repo or "–", f"{spec.hf_repo} {'(gated)' if spec.hf_gated else '(open)'}"]
        for spec in BACKBONES.values()
        if spec.hf_repo
    ]
    compare(read_table("backbones.md", "backbone", "timm's open copy", "the publisher's"), expected)


def measure_entry(spec: BackboneSpec, size: int, dtype: str, folder: Path) -> int:
    """Bytes of a cache entry of one view, by writing one."""
    import torch

    from dinoseg.backbones.cache import EntryStore, FeatureCache
    from dinoseg.backbones.features import Features

    padded = math.ceil(size / spec.stride) * spec.stride
    levels = tuple(
        torch.zeros(1, width, padded // stride, padded // stride)
        for width, stride in zip(spec.channels, spec.strides, strict=True)
    )
    cls = (
        None if spec.family == "dinov3_convnext" else tuple(torch.zeros(1, width) for width in spec.channels)
    )
    features = Features(levels, spec.strides, (size, size), (padded, padded), cls)
    store = EntryStore(folder, limit_gb=1)
    cache = FeatureCache(lambda pixels: features, "digest", store, dtype=dtype)  # type: ignore[arg-type]
    key = cache.key(spec.name, str(size))
    before = set(folder.glob("*/*"))
    cache.features([key], lambda index: torch.zeros(3, 1, 1))
    (entry,) = set(folder.glob("*/*")) - before
    return entry.stat().st_size


def test_sizes_of_cache_entries(tmp_path: Path) -> None:
    columns = ("256 px, bfloat16", "256 px, float32", "512 px, bfloat16")
    for name, *cells in read_table("backbones.md", "features of one view", *columns):
        kinds = [column.split(" px, ") for column in columns]
        sizes = [measure_entry(BACKBONES[name], int(side), dtype, tmp_path) for side, dtype in kinds]
        assert cells == [f"{size / 1e6:.2f} MB" for size in sizes]


def test_every_page_is_linked_from_the_index() -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    names = {page.name for page in DOCS.glob("*.md")} - {"index.md"}
    assert [name for name in sorted(names) if f"]({name})" not in index] == []
