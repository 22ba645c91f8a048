"""The tables of docs/json.md, made of the schemas. `python -m tests.cli.schema_tables` writes them anew."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dinoseg.cli.schemas import ERROR, list_schemas, read_schema

PAGE = Path(__file__).parents[2] / "docs" / "json.md"
START = "<!-- From here on made of the schemas: python -m tests.cli.schema_tables -->\n"
HEADER = ["| key | type | meaning |", "|---|---|---|"]


def render() -> str:
    """Everything below `START`: the error, a section per verb, and the parts that they share."""
    schemas = list_schemas()
    parts: dict[str, Any] = {}
    lines = ["## error", "", *_render_object(read_schema(ERROR)), ""]
    for verb, schema in schemas.items():
        lines += [f"## dinoseg {verb}", "", *_render_object(schema), ""]
        parts |= schema.get("$defs", {})
    lines += ["## Parts", "", "Objects within the objects above.", ""]
    for name in sorted(parts):
        lines += [f"### {name}", "", *_render_object(parts[name]), ""]
    return "\n".join(lines)


def _render_object(schema: dict[str, Any]) -> Iterator[str]:
    yield schema["description"]
    for kind in schema.get("oneOf", []):
        yield from ("", f"**`{kind['title']}`**: {kind['description']}", "", *_render_table(kind))
    if "properties" in schema:
        yield from ("", *_render_table(schema))


def _render_table(schema: dict[str, Any]) -> Iterator[str]:
    yield from HEADER
    for name, value in schema["properties"].items():
        optional = "" if name in schema["required"] else ", optional"
        yield f"| `{name}` | {_word(value)}{optional} | {value['description']} |"


def _word(value: dict[str, Any]) -> str:
    """The type in words."""
    if "$ref" in value:
        name = value["$ref"].rpartition("/")[2]
        return f"[{name}](#{name})"
    if "anyOf" in value:
        return " or ".join(_word(item) for item in value["anyOf"])
    if "enum" in value:
        words = ", ".join(
            f"`{word}`" if word != "" else "empty" for word in value["enum"] if word is not None
        )
        return f"{words} or null" if "null" in value.get("type", ()) else words
    kinds = value.get("type", "anything")
    kind, *others = [kinds] if isinstance(kinds, str) else kinds
    if kind == "array":
        kind = f"list of {_word(value['items'])}"
    elif isinstance(value.get("additionalProperties"), dict):
        kind = f"object of {_word(value['additionalProperties'])}"
    return " or ".join([kind, *others])


def main() -> None:
    """Write the tables of the page anew."""
    before = PAGE.read_text(encoding="utf-8").partition(START)[0]
    PAGE.write_text(f"{before}{START}\n{render()}", encoding="utf-8")


if __name__ == "__main__":
    main()
