"""Help is quick and light for every command, and the manual page lists what there is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.cli.commands import list_arguments, list_commands, list_options
from tests.cli.conftest import Run

COMMANDS = list_commands()
HEAVY = {"torch", "lightning", "monai", "transformers", "scipy", "numpy", "yaml", "matplotlib", "rich"}
PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
SECONDS = 0.3
TIMES_TYPER = 2


def _seconds(*arguments: str) -> float:
    before = os.times()
    subprocess.run([sys.executable, *arguments], capture_output=True, check=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


@pytest.mark.parametrize("words", COMMANDS)
def test_help_ends_with_0(run: Run, words: str) -> None:
    ended = run(*words.split(), "--help")
    assert ended.code == 0
    assert ended.out.startswith(f"Usage: dinoseg {words}".rstrip())
    assert ended.err == ""


@pytest.mark.parametrize("words", [words for words in COMMANDS if words])
def test_help_shows_an_example_that_parses(run: Run, words: str) -> None:
    text = " ".join(COMMANDS[words].help.split())
    example = re.search(r"Example: dinoseg (.+)$", text)[1]
    assert example.startswith(words)
    assert "No such option" not in run(*example.split(), "--help").err


def _loaded_by_help_of(commands: Iterable[str]) -> set[str]:
    calls = "\n".join(f"main({[*words.split(), '--help']})" for words in commands)
    code = f"import sys\nfrom dinoseg.cli import main\n{calls}\nprint('LOADED', *sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(result.stdout.rpartition("LOADED")[2].split())


def test_help_loads_nothing_heavy() -> None:
    loaded = _loaded_by_help_of([""])
    assert "dinoseg.cli.train" in loaded
    assert (HEAVY | {"pydantic"}) & loaded == set()


def test_help_of_every_command_loads_nothing_heavy() -> None:
    # Typer reads the words of a command with pydantic, but not those of its help.
    loaded = _loaded_by_help_of(COMMANDS)
    assert (HEAVY | {"pydantic", "dinoseg.config", "dinoseg.model"}) & loaded == set()


@pytest.mark.parametrize("words", ["", "train", "data check"])
def test_help_is_quick(words: str) -> None:
    # Processor time and the best of five: other work on the machine counts little. Where typer alone takes
    # most of the limit the machine is slow or crowded, and it is our share that must stay small.
    taken = min(_seconds("-m", "dinoseg", *words.split(), "--help") for _ in range(5))
    if taken >= SECONDS:
        assert taken < TIMES_TYPER * min(_seconds("-c", "import typer") for _ in range(5))


def test_page_lists_every_command() -> None:
    headings = re.findall(r"^## dinoseg ?(.*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(headings) == sorted(COMMANDS)


@pytest.mark.parametrize("words", COMMANDS)
def test_page_lists_every_option_and_argument(words: str) -> None:
    text = PAGE.read_text(encoding="utf-8")
    section = re.search(rf"^## dinoseg ?{words}$(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)[1]
    cells = re.findall(r"^\| `([^`]+)`", section, re.MULTILINE)
    others = re.findall(r"^\| `--[^`]+`, `(--[^`]+)`", section, re.MULTILINE)  # as in --flips, --no-flips
    options = {cell.split()[0] for cell in [*cells, *others] if cell.startswith("--")}
    assert options == list_options(COMMANDS[words]) - SHARED
    assert [cell for cell in cells if not cell.startswith("--")] == list_arguments(COMMANDS[words])


SHARED = {"--json", "--debug"}  # described once, above the commands


def test_every_command_has_the_shared_options() -> None:
    without = [words for words, command in COMMANDS.items() if words and not list_options(command) >= SHARED]
    assert without == []


def test_version(run: Run) -> None:
    ended = run("--version")
    assert (ended.code, ended.err) == (0, "")
    assert re.fullmatch(r"dinoseg \d+\.\d+\.\d+\S*\n", ended.out)


def test_no_command_shows_the_help_and_is_wrong_usage(run: Run) -> None:
    ended = run()
    assert ended.code == 2
    assert "Usage: dinoseg" in ended.err
    assert ended.out == ""
