"""Every verb's object has a schema; schemas are sound, refuse unknown keys, and are in the manual."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from dinoseg import errors
from dinoseg.cli.output import EXIT_CODES
from dinoseg.cli.schemas import ERROR, list_schemas, read_schema
from dinoseg.cli.settings import list_settings
from dinoseg.outputs import to_plain
from tests.cli.commands import list_arguments, list_commands, list_options
from tests.cli.conftest import Ended, Run
from tests.cli.schema_tables import PAGE, START, render
from tests.cli.validation import find_problem

COMMANDS = {name: command for name, command in list_commands().items() if name}
SCHEMAS = list_schemas()
KINDS = [
    pytest.param(kind, id=kind["title"])
    for schema in [*SCHEMAS.values(), read_schema(ERROR)]
    for kind in schema.get("oneOf", [schema])
]


@pytest.fixture
def program(run: Run) -> dict[str, Any]:
    return run("info", "--json").json


def test_every_verb_with_json_has_a_schema_and_nothing_else_has() -> None:
    verbs = {name for name, command in COMMANDS.items() if "--json" in list_options(command)}
    without, left = verbs - SCHEMAS.keys(), SCHEMAS.keys() - verbs
    assert not without, f"write src/dinoseg/cli/schemas/VERB.json for {sorted(without)}"
    assert not left


@pytest.mark.parametrize("verb", [*SCHEMAS, ERROR])
def test_schema_is_sound_and_whole(verb: str) -> None:
    schema = read_schema(verb)
    Draft202012Validator.check_schema(schema)
    references = json.dumps(schema).split('"$ref": "')[1:]
    names = {text.partition('"')[0] for text in references}
    assert names == {f"#/$defs/{name}" for name in schema.get("$defs", {})}


@pytest.mark.parametrize("kind", KINDS)
def test_schema_names_every_key_and_says_what_it_means(kind: dict[str, Any]) -> None:
    assert kind["additionalProperties"] is False
    assert set(kind["required"]) <= kind["properties"].keys()
    assert [
        name for name, value in kind["properties"].items() if not value["description"].endswith(".")
    ] == []


def test_no_definition_is_left_over() -> None:
    path = Path(PAGE).parents[1] / "src" / "dinoseg" / "cli" / "schemas" / "definitions.json"
    defined = json.loads(path.read_text(encoding="utf-8"))["$defs"].keys()
    assert defined == {name for schema in SCHEMAS.values() for name in schema.get("$defs", {})}


def test_unknown_missing_and_mistyped_keys_are_found(run: Run) -> None:
    value = run("weights", "list", "--json").json
    assert "new" in find_problem("weights list", {**value, "new": 1})
    assert "weights" in find_problem("weights list", {})
    assert "$.weights" in find_problem("weights list", {"weights": 3})
    assert find_problem("weights list", {"error": "wrong", "exit_code": 4}) is None
    assert "exit_code" in find_problem("weights list", {"error": "wrong", "exit_code": 0})
    with pytest.raises(AssertionError, match="weights list"):
        _ = Ended(0, '{"weights": 3}\n', "", ("weights", "list", "--json")).json


def test_schemas_are_told(run: Run) -> None:
    told = run("info", "schemas", "--json").json
    assert told == {"schemas": SCHEMAS, "error": read_schema(ERROR)}
    shown = run("info", "schemas").out
    assert [verb for verb in SCHEMAS if verb not in shown] == []


def test_verbs_are_those_of_the_program(program: dict[str, Any]) -> None:
    verbs = {verb["name"]: verb for verb in program["verbs"]}
    assert verbs.keys() == COMMANDS.keys()
    for name, verb in verbs.items():
        flags = {flag for option in verb["options"] for flag in option["flags"] if flag.startswith("--")}
        assert flags == list_options(COMMANDS[name])
        assert [argument["metavar"] for argument in verb["arguments"]] == list_arguments(COMMANDS[name])
        assert "Example: dinoseg" in verb["help"]


def _option(program: dict[str, Any], verb: str, name: str) -> dict[str, Any]:
    (found,) = [item for item in program["verbs"] if item["name"] == verb]
    (option,) = [item for item in [*found["arguments"], *found["options"]] if item["name"] == name]
    return option


def test_an_option_is_told_with_type_range_words_and_default(program: dict[str, Any]) -> None:
    size = _option(program, "train", "size")
    assert (size["type"], size["minimum"], size["default"], size["required"]) == ("integer", 1, None, False)
    preset = _option(program, "train", "preset")
    assert (preset["choices"], preset["default"]) == (["default", "paper"], "default")
    precision = _option(program, "predict", "precision")
    assert (precision["type"], precision["choices"]) == ("string", ["float32", "bfloat16"])
    assert _option(program, "train", "out") | {"help": "", "metavar": ""} == {
        **{"name": "out", "flags": ["--out"], "type": "path", "choices": None, "minimum": None},
        **{"maximum": None, "default": None, "required": True, "repeated": False, "help": "", "metavar": ""},
    }
    assert _option(program, "train", "set")["repeated"]
    data = _option(program, "train", "data")
    assert (data["flags"], data["type"], data["required"], data["repeated"]) == ([], "path", True, True)
    assert _option(program, "demo", "quick")["type"] == "boolean"


def test_settings_have_ranges_and_defaults_that_lie_in_them(program: dict[str, Any]) -> None:
    settings = {item["key"]: item for item in program["settings"]}
    assert settings["train.lr"]["schema"] == {"exclusiveMinimum": 0, "type": "number"}
    assert settings["train.optimizer"]["schema"]["enum"] == ["adamw", "adam", "sgd"]
    assert settings["train.lr"]["method"] is None
    for item in list_settings():
        assert Draft202012Validator(item.schema).is_valid(to_plain(item.default)), item.key


def test_methods_have_their_own_settings_only(program: dict[str, Any]) -> None:
    assert program["problems"] == []
    for method in program["methods"]:
        assert {setting["method"] for setting in method["settings"]} <= {method["name"]}
    assert any(method["settings"] for method in program["methods"])


def test_exit_codes_are_those_of_errors_and_of_the_manual(program: dict[str, Any]) -> None:
    raised = {kind.exit_code for kind in vars(errors).values() if isinstance(kind, type)}
    assert raised <= EXIT_CODES.keys()
    assert set(read_schema(ERROR)["properties"]["exit_code"]["enum"]) == EXIT_CODES.keys() - {0}
    page = (PAGE.parent / "cli.md").read_text(encoding="utf-8")
    assert [code for code in program["exit_codes"] if f"\n| {code} | " not in page] == []


def test_page_shows_the_schemas() -> None:
    found = PAGE.read_text(encoding="utf-8").partition(START)[2]
    assert found.strip() == render().strip(), "write it anew: python -m tests.cli.schema_tables"
