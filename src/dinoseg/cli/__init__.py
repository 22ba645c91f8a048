"""The command line: one command per verb. Every heavy import happens inside a command."""

from dinoseg.cli.app import main

__all__ = ["main"]
