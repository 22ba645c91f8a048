"""What a command says: text or one JSON object on stdout, errors as one line on stderr, and its exit code."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TextIO

import typer

from dinoseg.cli.bars import create_progress
from dinoseg.errors import DinosegError, DiskFullError
from dinoseg.extras import explain_missing
from dinoseg.outputs import to_plain

FAILED = 1
INTERRUPTED = 130
EXIT_CODES = {
    0: "done",
    FAILED: "failed",
    2: "wrong usage",
    3: "data problem",
    4: "weights or licence problem",
    INTERRUPTED: "interrupted",
}
OF_TRAINING = ("learning_curve.png", "advice.json")  # in the report folder of a run


class Output:
    """What one command tells: lines and tables for people, or facts for programs.

    Attributes:
        progress: to be handed to long work.
        facts: what `--json` prints when the command ends.
        exit_code: what the command returns when it ends without an error.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.progress = create_progress()
        self.facts: dict[str, Any] = {}
        self.exit_code = 0
        self._stdout = sys.stdout  # before libraries are kept away from it
        self._told = False

    def begin(self, text: str) -> None:
        """Say on stderr what is being done, before libraries are loaded that take seconds."""
        self.progress.note(text)

    def publish(self) -> None:
        """Print the facts now instead of at the end: for a command that goes on until it is stopped."""
        if self.as_json and not self._told:
            write_json_line(self.facts, self._stdout)
        self._told = True

    def line(self, text: str = "") -> None:
        """Write one line for people; nothing with `--json`."""
        if not self.as_json:
            sys.stdout.write(f"{text}\n")

    def problem(self, text: str) -> None:
        """Write one line on stderr: what went wrong although the command went on."""
        self.progress.close()
        sys.stderr.write(f"error: {text}\n")

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str = "") -> None:
        """Write a table for people; nothing with `--json`. Columns of numbers are aligned right."""
        if self.as_json:
            return
        from rich import box
        from rich.console import Console
        from rich.table import Table

        table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        for index, column in enumerate(columns):
            numeric = bool(rows) and all(isinstance(row[index], int | float) for row in rows)
            justify: Literal["left", "right"] = "right" if numeric else "left"
            table.add_column(column, justify=justify, overflow="fold", no_wrap=index == 0)
        for row in rows:
            table.add_row(*("" if cell is None else str(cell) for cell in row))
        width = None if sys.stdout.isatty() else 140
        Console(file=sys.stdout, markup=False, highlight=False, emoji=False, width=width).print(table)


@contextlib.contextmanager
def session(*, as_json: bool, debug: bool, resume: str = "run the same command again") -> Iterator[Output]:
    """Run the body of a command, and turn how it ends into text, JSON and an exit code.

    Args:
        as_json: print one JSON object on stdout instead of text.
        debug: show the traceback of an error.
        resume: what a person reads after Ctrl-C, or when the disk is full: how to go on.

    Raises:
        typer.Exit: always when the exit code is not 0.
    """
    output = Output(as_json=as_json)
    try:
        with _libraries_kept_quiet(as_json=as_json, debug=debug):
            yield output
            output.progress.close()
    except (typer.Exit, BrokenPipeError):
        raise
    except (KeyboardInterrupt, SystemExit) as stop:
        # Lightning ends the process itself after Ctrl-C.
        if isinstance(stop, SystemExit) and not isinstance(stop.__context__, KeyboardInterrupt):
            raise
        raise _fail(output, f"interrupted; {resume}", INTERRUPTED, debug=False) from None
    except DiskFullError as error:
        raise _fail(output, f"{one_line(str(error))}, then {resume}", error.exit_code, debug=debug) from None
    except DinosegError as error:
        raise _fail(output, one_line(str(error)), error.exit_code, debug=debug) from None
    except Exception as error:
        if isinstance(error, ImportError) and (missing := explain_missing(error)):
            raise _fail(output, missing, FAILED, debug=debug) from None
        message = f"unexpected {type(error).__name__}: {one_line(str(error))}; run again with --debug"
        raise _fail(output, message, FAILED, debug=debug) from None
    output.publish()
    if output.exit_code:
        raise typer.Exit(output.exit_code)


def suggest_folder(folder: Path) -> Path:
    """`folder`, or the first of folder-2, folder-3, … that is free: what a hint names shall work.

    What a training writes there takes no place from a report, which lies beside it.
    """
    numbered = (folder.with_name(f"{folder.name}-{number}") for number in itertools.count(2))
    return next(place for place in itertools.chain([folder], numbered) if _is_free(place))


def _is_free(folder: Path) -> bool:
    if not folder.is_dir():
        return not folder.exists()
    return all(path.name in OF_TRAINING or path.name.startswith(".") for path in folder.iterdir())


def report_error(message: str, exit_code: int, *, as_json: bool) -> None:
    """Write an error as one line on stderr and, with `--json`, as an object on stdout."""
    sys.stderr.write(f"error: {message}\n")
    if as_json:
        write_json_line({"error": message, "exit_code": exit_code})


def write_json_line(value: Any, stream: TextIO | None = None) -> None:
    """Write `value` as one line of strict JSON, on stdout if nothing else is named.

    ASCII only, so that every pipe takes it, and at once, so that a program at its other end need not wait.
    """
    stream = stream or sys.stdout
    stream.write(json.dumps(to_plain(value), allow_nan=False) + "\n")
    stream.flush()


def one_line(text: str) -> str:
    """`text` without line breaks and runs of spaces."""
    return " ".join(text.split())


@contextlib.contextmanager
def _libraries_kept_quiet(*, as_json: bool, debug: bool) -> Iterator[None]:
    """Hide what libraries log and warn of, except with --debug; what a person must know is a note of ours."""
    before = logging.root.manager.disable
    with contextlib.ExitStack() as stack:
        if as_json:
            # A library that prints would spoil the one JSON object.
            stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        if not debug:
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
            stack.callback(logging.disable, before)
            logging.disable(logging.WARNING)
        yield


def _fail(output: Output, message: str, exit_code: int, *, debug: bool) -> typer.Exit:
    output.progress.close()
    if debug:
        traceback.print_exc(file=sys.stderr)
    report_error(message, exit_code, as_json=output.as_json)
    return typer.Exit(exit_code)
