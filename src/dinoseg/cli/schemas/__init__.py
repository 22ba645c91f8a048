"""What each verb prints with `--json`: a JSON Schema (draft 2020-12) a verb, and one of an error.

A file is called as the words of its verb, with a dash between; `definitions.json` holds what several share.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import resources
from typing import Any

ERROR = "error"
"""The object of every verb that ends with an error."""
_DEFINITIONS = "definitions"
_SHARED = f"{_DEFINITIONS}.json#/$defs/"
_LOCAL = "#/$defs/"

Schema = dict[str, Any]


def list_schemas() -> dict[str, Schema]:
    """Verb, such as `data check` -> schema of what it prints when it ends without an error."""
    files = resources.files(__name__).iterdir()
    names = sorted(file.name.removesuffix(".json") for file in files if file.name.endswith(".json"))
    return {name.replace("-", " "): read_schema(name) for name in names if name not in (ERROR, _DEFINITIONS)}


def read_schema(verb: str) -> Schema:
    """The schema of a verb, or of `ERROR`, with all that it refers to: no other file is needed."""
    definitions = _read(_DEFINITIONS)["$defs"]
    schema = _localise(_read(verb.replace(" ", "-")))
    used: Schema = {}
    wanted = list(_list_references(schema))
    while wanted:
        name = wanted.pop()
        if name not in used:
            used[name] = definitions[name]
            wanted += _list_references(definitions[name])
    return {**schema, "$defs": dict(sorted(used.items()))} if used else schema


def _read(name: str) -> Schema:
    text = resources.files(__name__).joinpath(f"{name}.json").read_text(encoding="utf-8")
    schema: Schema = json.loads(text)
    return schema


def _localise(node: Any) -> Any:
    """References to the file of definitions become references within the schema."""
    if isinstance(node, dict):
        return {key: _localise(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_localise(item) for item in node]
    return node.replace(_SHARED, _LOCAL) if isinstance(node, str) else node


def _list_references(node: Any) -> Iterator[str]:
    """The names of the definitions that a schema refers to."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield value.removeprefix(_LOCAL)
            yield from _list_references(value)
    elif isinstance(node, list):
        for item in node:
            yield from _list_references(item)
