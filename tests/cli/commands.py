"""Every command and its options, read from the program itself."""

from __future__ import annotations

from typing import Any

import typer

from dinoseg.cli.app import app


def list_commands() -> dict[str, Any]:
    """Words after `dinoseg` -> command, for every command that does something; "" is the program itself."""
    program = typer.main.get_command(app)
    found = {"": program}
    for name, command in program.commands.items():
        parts = getattr(command, "commands", None)
        found |= {f"{name} {part}": item for part, item in parts.items()} if parts else {name: command}
    return found


def list_options(command: Any) -> set[str]:
    """`--name` of each option, without --help."""
    words = (name for item in command.params for name in (*item.opts, *item.secondary_opts))
    return {name for name in words if name.startswith("--")} - {"--help"}


def list_arguments(command: Any) -> list[str]:
    """Each argument as it is written in the usage line."""
    return [item.metavar for item in command.params if item.param_type_name == "argument"]
