"""The `dinoseg` program: its commands, and how a wrong command line ends."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from dinoseg.cli import (
    compare,
    convert,
    curve,
    data,
    demo,
    doctor,
    ensemble,
    evaluate,
    exporting,
    importing,
    info,
    predict,
    reproduce,
    score,
    serve,
    sharing,
    teach,
    train,
    weights,
)
from dinoseg.cli.output import EXIT_CODES, one_line, report_error
from dinoseg.cli.processes import WORDS

# A flag of typer's own that was not given is None, which typer turns into a bool by importing pydantic, which
# takes longer than all the rest of a help. A False is left alone.
_NO_HELP = {"help": False}
_NO_COMPLETION = {"install_completion": False, "show_completion": False}

# Plain help: rich's costs another 70 ms at every --help.
app = typer.Typer(
    name="dinoseg",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"default_map": {**_NO_HELP, **_NO_COMPLETION, "data": _NO_HELP, "weights": _NO_HELP}},
    help="Medical image segmentation on frozen DINO backbones. Not a medical device.",
    epilog=f"Exit codes: {', '.join(f'{code} {meaning}' for code, meaning in EXIT_CODES.items())}.",
)
app.command("demo")(demo.demo)
app.command("train")(train.train)
app.command("curve")(curve.curve)
app.command("ensemble")(ensemble.ensemble)
app.command("evaluate")(evaluate.evaluate)
app.command("score")(score.score)
app.command("compare")(compare.compare)
app.command("reproduce")(reproduce.reproduce)
app.command("predict")(predict.predict)
app.command("serve")(serve.serve)
app.command("teach")(teach.teach)
app.add_typer(data.app, name="data")
app.command("convert")(convert.convert)
app.add_typer(weights.app, name="weights")
app.command("push")(sharing.push)
app.command("pull")(sharing.pull)
app.command("info")(info.info)
app.command("doctor")(doctor.doctor)
app.command("export")(exporting.export)
app.command("import")(importing.import_)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line.

    Args:
        arguments: words after `dinoseg`; those of the process if not given.

    Returns:
        The exit code: 0 done, 1 failed, 2 wrong usage, 3 data, 4 weights or licence, 130 interrupted.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    # Before torch starts its threads: by default they spin while they wait, and as soon as another
    # program wants a core a training step takes ten times as long (measured on two cores).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _never_fail_on_a_letter()
    WORDS.set(words)
    try:
        result = app(words, prog_name="dinoseg", standalone_mode=False)
    except _usage_error() as error:
        return _explain_usage(error, as_json="--json" in words)
    return result if isinstance(result, int) else 0


def _show_version(asked: bool) -> None:
    if asked:
        from dinoseg import __version__

        sys.stdout.write(f"dinoseg {__version__}\n")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    """Nothing happens before a command."""


def _never_fail_on_a_letter() -> None:
    """A terminal that cannot show a letter shows a question mark; the command goes on."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(ValueError, OSError):
                stream.reconfigure(errors="replace")


def _usage_error() -> type[Exception]:
    # Newer releases of typer carry their own click, older ones import it: the class is reached through typer.
    return typer.BadParameter.__mro__[1]


def _explain_usage(error: Exception, *, as_json: bool) -> int:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "dinoseg"
    message = one_line(error.format_message()) if hasattr(error, "format_message") else str(error)
    message = message.replace("Value error, ", "")  # of typer's checks
    if context is not None and type(error).__name__ == "NoArgsIsHelpError":
        sys.stderr.write(f"{context.get_help()}\n")
        return 2
    report_error(f"{message.rstrip('.')}; see `{command} --help`", 2, as_json=as_json)
    return 2
