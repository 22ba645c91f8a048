"""What a program wants to know of dinoseg before it calls it: `dinoseg info --json`."""

from __future__ import annotations

import platform
from typing import Any

from dinoseg.cli.output import EXIT_CODES

TOPICS = {
    "methods": "what can be trained",
    "backbones": "the backbones known by name",
    "settings": "what --set accepts",
    "schemas": "what each verb prints with --json",
}


def describe_program(program: Any) -> dict[str, Any]:
    """Versions, exit codes, verbs, methods, backbones and settings; loads no library to find its version.

    Args:
        program: the group of commands, as for `list_verbs`.
    """
    from dinoseg import __version__
    from dinoseg.backbones.catalog import BACKBONES
    from dinoseg.backbones.weights_settings import read_settings
    from dinoseg.cli.findings import PACKAGES, find_version
    from dinoseg.cli.settings import list_settings
    from dinoseg.cli.verbs import list_verbs
    from dinoseg.extras import EXTRAS

    libraries = [*PACKAGES, *(name for names in EXTRAS.values() for name in names)]
    return {
        "version": __version__,
        "python": platform.python_version(),
        "libraries": {name: find_version(name) for name in libraries},
        "home": read_settings().home,
        "exit_codes": EXIT_CODES,
        "topics": TOPICS,
        "verbs": list_verbs(program),
        **describe_methods(),
        "backbones": list(BACKBONES.values()),
        "settings": list_settings(),
    }


def describe_methods() -> dict[str, Any]:
    """The methods with the settings of their decoders, and why one could not be loaded."""
    from dinoseg.cli.settings import list_decoder_settings
    from dinoseg.methods import METHODS

    return {
        "methods": [
            {
                "name": name,
                "title": method.title,
                "source": method.source,
                "settings": list_decoder_settings(method),
            }
            for name, method in METHODS.items()
        ],
        "problems": list(METHODS.find_problems().values()),
    }
