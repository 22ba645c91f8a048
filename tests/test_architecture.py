"""The layers of ARCHITECTURE.md, enforced: imports go down, modules on one line don't know each other."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import pytest

import dinoseg
from dinoseg.config import Inference
from dinoseg.errors import UsageError
from dinoseg.evaluation import choose_postprocessing
from dinoseg.inference import predict_cases, predict_files, segment_volume
from tests.source_tree import (
    PACKAGE,
    Module,
    find_circle,
    find_cycle,
    list_arrows,
    list_imports,
    parse_files,
    read_tree,
)

LAYERS = """
    cli
    serving | integrations
    teaching
    training
    cohorts | evaluation | export | releases
    inference
    model
    methods | data | sharing
    backbones
    config | engines | outputs | processes | progress | streams
    extras
    errors
"""

ROOT = Path(__file__).parents[1]
ROWS = [[name.strip() for name in line.split("|")] for line in LAYERS.strip().splitlines()]
HEIGHT = {name: len(ROWS) - row for row, names in enumerate(ROWS) for name in names}
REFUSED_LIBRARIES = {"torchvision", "timm", "pytorch_wavelets", "ptwt", "albumentations", "surface_distance"}
REFUSED_LIBRARIES |= {"pickle", "dill", "joblib"}
REFUSED_LIBRARIES |= {"transformers"}  # the oracle of the tests
REFUSED_NAMES = {"utils", "util", "helpers", "helper", "misc", "common"}
HEAVY = {"torch", "lightning", "pytorch_lightning", "monai", "transformers", "scipy", "matplotlib"}
METHODS = f"{PACKAGE}.methods"
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
STRICT_ROOMS = {"inference", "evaluation"}  # where no function at all is longer than the next number
MAX_STRICT_LINES = 45
NO_TORCH = {"config", "engines", "extras", "inference", "evaluation"}
TORCH = {"torch", "lightning", "monai", "transformers", "torchmetrics"}
SHARE_OF_SHORT_FUNCTIONS = 0.95
#: Which room may import from which is no plan of ours, but that few do is. Two of training's are those of
#: its advice, which reads the bank of features and is asked for by the fitting; one that of a series of runs
#: to the digest of its cases, which lies with the items that a bank holds; and one from the published
#: tables to the one function that trains.
MOST_ARROWS = {"data": 50, "inference": 17, "training": 11}

Modules = Mapping[str, Module]
Rule = Callable[[Modules], list[str]]


def layers_go_down(modules: Modules) -> list[str]:
    problems = []
    for module in modules.values():
        for item in list_imports(module, modules):
            if module.layer in {"__main__", *HEIGHT} and (
                item.target == PACKAGE or item.target.startswith(f"{PACKAGE}.")
            ):
                problem = _layer_problem(module.layer, item.target)
                problems += [f"{item.place} {problem}"] if problem else []
    return problems


def _layer_problem(layer: str, target: str) -> str:
    below = target.partition(".")[2].partition(".")[0]
    if layer == "__main__":
        return "" if below == "cli" else "__main__ may import cli only"
    if below == "__version__" or below == layer:
        return ""
    if below not in HEIGHT:
        return f"{layer} imports {target}: import from the module that defines the name"
    return "" if HEIGHT[below] < HEIGHT[layer] else f"{layer} may not import {below}"


def modules_are_in_the_table(modules: Modules) -> list[str]:
    known = {"", "__main__", *HEIGHT}
    return [
        f"{module.path} is in no layer of the table"
        for module in modules.values()
        if module.layer not in known
    ]


def imports_have_no_cycle(modules: Modules) -> list[str]:
    cycle = find_cycle(modules)
    return [" -> ".join(cycle)] if cycle else []


def rooms_have_no_cycle(modules: Modules) -> list[str]:
    circles = {layer: _find_circle(arrows) for layer, arrows in list_arrows(modules).items()}
    return [f"{layer}: {' -> '.join(circle)}" for layer, circle in circles.items() if circle]


def _find_circle(arrows: Iterable[tuple[str, str]]) -> list[str]:
    graph: dict[str, list[str]] = {}
    for room, other in sorted(arrows):
        graph.setdefault(room, []).append(other)
    return find_circle(graph)


def rooms_know_few_others(modules: Modules) -> list[str]:
    counts = {layer: len(arrows) for layer, arrows in list_arrows(modules).items()}
    return [
        f"{layer} has {counts[layer]} arrows between its rooms, at most {most} are wanted"
        for layer, most in MOST_ARROWS.items()
        if counts.get(layer, 0) > most
    ]


def methods_are_known_by_their_card_only(modules: Modules) -> list[str]:
    """A method's folder is imported from by itself, and by the list of the cards."""
    problems = []
    for module in modules.values():
        for item in list_imports(module, modules):
            folder, _, name = item.target.rpartition(".")
            is_method = folder != METHODS and f"{folder}.card" in modules
            listed = module.name == METHODS and name == "card"
            if is_method and not listed and not module.name.startswith(f"{folder}."):
                problems.append(f"{item.place} imports {item.target}; look it up in METHODS")
    return problems


def cards_are_light(modules: Modules) -> list[str]:
    return [
        f"{item.place} imports {item.target}"
        for module in modules.values()
        if module.layer == "methods" and module.name.endswith(".card")
        for item in list_imports(module, modules)
        if item.target.partition(".")[0] in HEAVY
    ]


def libraries_are_allowed(modules: Modules) -> list[str]:
    return [
        f"{item.place} imports {item.target}"
        for module in modules.values()
        for item in list_imports(module, modules)
        if item.target.partition(".")[0] in REFUSED_LIBRARIES
    ]


def only_cli_prints(modules: Modules) -> list[str]:
    return _find(modules, lambda module, node: module.layer != "cli" and _is_print(node), "print outside cli")


def environment_is_read_in_two_places(modules: Modules) -> list[str]:
    return _find(
        modules,
        lambda module, node: not _may_read_environment(module) and _reads_environment(node),
        "environment variable outside backbones/weights* and cli",
    )


def nothing_is_asserted(modules: Modules) -> list[str]:
    return _find(
        modules, lambda _, node: isinstance(node, ast.Assert), "assert; raise an error of dinoseg.errors"
    )


def files_are_short(modules: Modules) -> list[str]:
    lengths = {module.path: len(module.text.splitlines()) for module in modules.values()}
    return [f"{path} has {lines} lines" for path, lines in lengths.items() if lines > MAX_FILE_LINES]


def functions_are_short(modules: Modules) -> list[str]:
    lengths = dict(_function_lengths(modules))
    long = {place: lines for place, lines in lengths.items() if lines >= MAX_FUNCTION_LINES}
    if len(long) <= (1 - SHARE_OF_SHORT_FUNCTIONS) * len(lengths):
        return []
    return [f"{place} has {lines} lines" for place, lines in long.items()]


def functions_of_strict_rooms_are_shorter(modules: Modules) -> list[str]:
    strict = {name: module for name, module in modules.items() if module.layer in STRICT_ROOMS}
    lengths = _function_lengths(strict)
    return [f"{place} has {lines} lines" for place, lines in lengths if lines > MAX_STRICT_LINES]


def predicting_needs_no_torch(modules: Modules) -> list[str]:
    """Networks come in by `model`, which loads torch when it loads a run; these rooms never do."""
    return [
        f"{item.place} imports {item.target}, and a network of another runtime needs none"
        for module in modules.values()
        for item in list_imports(module, modules)
        if module.layer in NO_TORCH and item.target.partition(".")[0] in TORCH
    ]


def modules_are_named_by_what_they_do(modules: Modules) -> list[str]:
    return [module.path for module in modules.values() if module.name.rpartition(".")[2] in REFUSED_NAMES]


def _find(modules: Modules, is_wrong: Callable[[Module, ast.AST], bool], problem: str) -> list[str]:
    return [
        f"{module.place(node)} {problem}"
        for module in modules.values()
        for node in ast.walk(module.tree)
        if is_wrong(module, node)
    ]


def _is_print(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"


def _may_read_environment(module: Module) -> bool:
    return module.layer == "cli" or module.name.startswith(f"{PACKAGE}.backbones.weights")


def _reads_environment(node: ast.AST) -> bool:
    names = {"environ", "environb", "getenv"}
    if isinstance(node, ast.ImportFrom):
        return node.module == "os" and any(alias.name in names for alias in node.names)
    return isinstance(node, ast.Attribute) and node.attr in names and ast.unparse(node.value) == "os"


def _function_lengths(modules: Modules) -> Iterator[tuple[str, int]]:
    for module in modules.values():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{module.place(node)} {node.name}", (node.end_lineno or node.lineno) - node.lineno + 1


RULES: list[Rule] = [
    layers_go_down,
    modules_are_in_the_table,
    imports_have_no_cycle,
    rooms_have_no_cycle,
    rooms_know_few_others,
    methods_are_known_by_their_card_only,
    cards_are_light,
    libraries_are_allowed,
    only_cli_prints,
    environment_is_read_in_two_places,
    nothing_is_asserted,
    files_are_short,
    functions_are_short,
    functions_of_strict_rooms_are_shorter,
    predicting_needs_no_torch,
    modules_are_named_by_what_they_do,
]


@pytest.fixture(scope="module")
def modules() -> Modules:
    return read_tree(ROOT / "src")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_source_obeys(rule: Rule, modules: Modules) -> None:
    assert rule(modules) == []


# Each rule must find what it forbids: (rule, files, what the one problem mentions).
_LONG = "def f():\n" + "    x = 1\n" * 60
WRONG = [
    (layers_go_down, {"backbones/a.py": "from dinoseg.model import load"}, "backbones may not import model"),
    (layers_go_down, {"backbones/a.py": "import dinoseg.model"}, "backbones may not import model"),
    (layers_go_down, {"backbones/a.py": "from ..model import load"}, "backbones may not import model"),
    (layers_go_down, {"backbones/__init__.py": "from ..model import load"}, "backbones may not import model"),
    (layers_go_down, {"backbones/a.py": "from dinoseg import model"}, "backbones may not import model"),
    (
        layers_go_down,
        {"backbones/a.py": "def f():\n    import dinoseg.cli"},
        ":2 backbones may not import cli",
    ),
    (
        layers_go_down,
        {"data/a.py": "import typing\nif typing.TYPE_CHECKING:\n    import dinoseg.training"},
        ":3 data may not import training",
    ),
    (layers_go_down, {"data/a.py": "NAME = 'dinoseg.model:load'"}, "data may not import model"),
    (
        layers_go_down,
        {"data/a.py": "x = importlib.import_module('dinoseg.model')"},
        "data may not import model",
    ),
    (layers_go_down, {"data/a.py": "import dinoseg.methods.card"}, "data may not import methods"),
    (layers_go_down, {"methods/a.py": "from dinoseg.data.case import Case"}, "methods may not import data"),
    (layers_go_down, {"outputs.py": "from dinoseg.config import Config"}, "outputs may not import config"),
    (layers_go_down, {"training.py": "from dinoseg import predict"}, "import from the module that defines"),
    (layers_go_down, {"training.py": "import dinoseg"}, "import from the module that defines"),
    (layers_go_down, {"__main__.py": "from dinoseg.model import load"}, "cli only"),
    (modules_are_in_the_table, {"shortcuts.py": ""}, "shortcuts.py is in no layer"),
    (
        imports_have_no_cycle,
        {"data/a.py": "from .b import x", "data/b.py": "def f():\n    from . import a"},
        "dinoseg.data.a -> dinoseg.data.b -> dinoseg.data.a",
    ),
    (
        imports_have_no_cycle,
        {"data/__init__.py": "from dinoseg.data.a import x", "data/a.py": "from dinoseg.data import y"},
        "dinoseg.data -> dinoseg.data.a -> dinoseg.data",
    ),
    (
        rooms_have_no_cycle,
        {
            "data/a/one.py": "from dinoseg.data.b import two",
            "data/b/two.py": "",
            "data/b/three.py": "from dinoseg.data.a import four",
            "data/a/four.py": "",
        },
        "data: a -> b -> a",
    ),
    (
        rooms_know_few_others,
        {f"training/r{n}/a.py": f"import dinoseg.training.r{n + 1}.a" for n in range(13)},
        "training has 12 arrows",
    ),
    (
        methods_are_known_by_their_card_only,
        {"model.py": "from dinoseg.methods.linear.decoder import Linear"},
        "model.py:1 imports dinoseg.methods.linear.decoder",
    ),
    (
        methods_are_known_by_their_card_only,
        {"model.py": "DECODER = 'dinoseg.methods.linear.decoder:Linear'"},
        "model.py:1 imports dinoseg.methods.linear.decoder",
    ),
    (
        methods_are_known_by_their_card_only,
        {"training.py": "from dinoseg.methods.linear.card import CARD"},
        "training.py:1 imports dinoseg.methods.linear.card",
    ),
    (
        methods_are_known_by_their_card_only,
        {"methods/unet/card.py": "", "methods/unet/decoder.py": "import dinoseg.methods.linear.decoder"},
        "unet/decoder.py:1 imports dinoseg.methods.linear.decoder",
    ),
    (cards_are_light, {"methods/linear/card.py": "import torch.nn"}, "linear/card.py:1 imports torch.nn"),
    (cards_are_light, {"methods/linear/card.py": "def f():\n    import monai"}, "card.py:2 imports monai"),
    (libraries_are_allowed, {"model.py": "def f():\n    from timm.layers import x"}, ":2 imports timm"),
    (libraries_are_allowed, {"model.py": "import torchvision.ops as ops"}, "imports torchvision"),
    (only_cli_prints, {"model.py": "def f():\n    print('x')"}, "model.py:2 print"),
    (environment_is_read_in_two_places, {"model.py": "import os\nx = os.environ['A']"}, "model.py:2"),
    (environment_is_read_in_two_places, {"model.py": "import os\nx = os.getenv('A')"}, "model.py:2"),
    (environment_is_read_in_two_places, {"backbones/cache.py": "from os import environ"}, "cache.py:1"),
    (nothing_is_asserted, {"model.py": "assert 1"}, "model.py:1 assert"),
    (files_are_short, {"model.py": "x = 1\n" * 401}, "401 lines"),
    (functions_are_short, {"model.py": _LONG}, "model.py:1 f has 61 lines"),
    (functions_of_strict_rooms_are_shorter, {"inference/a.py": _LONG}, "inference/a.py:1 f has 61 lines"),
    (predicting_needs_no_torch, {"inference/a.py": "def f():\n    import torch.nn"}, ":2 imports torch.nn"),
    (predicting_needs_no_torch, {"evaluation/a.py": "from monai import x"}, ":1 imports monai"),
    (modules_are_named_by_what_they_do, {"data/utils.py": ""}, "utils.py"),
]


@pytest.mark.parametrize(("rule", "files", "problem"), WRONG)
def test_rule_finds(rule: Rule, files: dict[str, str], problem: str) -> None:
    found = rule(_package(files))
    assert len(found) == 1
    assert problem in found[0]


RIGHT = {
    "__init__.py": "__version__ = '1'\nfrom dinoseg.training import train",
    "__main__.py": "from dinoseg.cli import main",
    "cli/__init__.py": "from dinoseg.cli.commands import main",
    "cli/commands.py": "import os\nfrom dinoseg import __version__, training\nprint(os.environ['A'])",
    "training.py": "from dinoseg.model import load\nfrom .outputs import write_text\nimport torch",
    "model.py": "from dinoseg.methods import METHODS\nfrom dinoseg.data import case",
    "data/__init__.py": "'About dinoseg.training in words.'\nfrom dinoseg.data.case import Case",
    "data/page.py": "style = resources.files('dinoseg.data')\nabout = 'see dinoseg.training: it trains'",
    "data/case.py": "def f():\n    from . import layout\n    return layout",
    "data/layout.py": "from dinoseg.errors import DataError",
    "backbones/weights.py": "import os\nHOME = os.getenv('A')",
    "methods/__init__.py": "from dinoseg.methods.linear.card import CARD",
    "methods/card.py": "from dinoseg.config import Settings",
    "methods/linear/card.py": "from dinoseg.methods.card import Card\nx = 'dinoseg.methods.linear.decoder:X'",
    "methods/linear/decoder.py": "import torch\nfrom dinoseg.methods.blocks import strides",
    "methods/blocks/strides.py": "from dinoseg.backbones.features import Features",
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule_lets_pass(rule: Rule) -> None:
    assert rule(_package(RIGHT)) == []


def test_five_percent_of_the_functions_may_be_long() -> None:
    short = "def g():\n    pass\n"
    assert functions_are_short(_package({"model.py": _LONG + short * 19})) == []
    assert functions_are_short(_package({"model.py": _LONG + short * 18})) != []


def _package(files: Mapping[str, str]) -> Modules:
    defaults = {"__init__.py": "", "cli.py": "", "training.py": "", "model.py": "", "config.py": ""}
    defaults |= {"data/case.py": "", "data/__init__.py": ""}
    defaults |= {"methods/card.py": "", "methods/linear/card.py": "", "methods/linear/decoder.py": ""}
    if "cli/__init__.py" in files:
        del defaults["cli.py"]
    return parse_files({f"{PACKAGE}/{path}": text for path, text in {**defaults, **files}.items()})


def test_page_shows_the_same_layers() -> None:
    assert LAYERS.strip("\n") in (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")


def test_map_names_what_exists() -> None:
    rows = re.findall(r"^\| (`.+?) \|", (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8"), re.MULTILINE)
    mapped = {name for row in rows if "(planned)" not in row for name in re.findall(r"`(\w+)/?`", row)}
    planned = {name for row in rows if "(planned)" in row for name in re.findall(r"`(\w+)/?`", row)}
    top = {path.stem for path in (ROOT / "src" / PACKAGE).iterdir() if path.suffix in ("", ".py")}
    assert mapped | planned == set(HEIGHT)
    assert mapped == {name for name in top if not name.startswith("__")}


def test_public_names_are_the_documented_ones() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    documented = re.findall(
        r"`(\w+)`", re.search(r"^Public names: (.+?)\n\n", page, re.MULTILINE | re.DOTALL)[1]
    )
    assert dinoseg.__all__ == documented


def test_every_public_name_comes_from_where_its_type_says() -> None:
    tree = ast.parse((ROOT / "src" / PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    typed = {alias.name: node.module for node in block.body for alias in node.names}
    assert typed == dinoseg._HOMES
    assert sorted(typed) == sorted(dinoseg.__all__)


@pytest.mark.parametrize("name", dinoseg.__all__)
def test_public_name_is_found(name: str) -> None:
    assert name in dir(dinoseg)
    assert getattr(dinoseg, name) is not None


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'segment'"):
        _ = dinoseg.segment


LIGHT = ["dinoseg", "dinoseg.config", "dinoseg.backbones.catalog", "dinoseg.methods", "dinoseg.cli"]
LIGHT += ["dinoseg.model.settings", "dinoseg.model.folder", "dinoseg.model.saved", "dinoseg.methods.presets"]
LIGHT += ["dinoseg.inference", "dinoseg.evaluation.evaluator", "dinoseg.evaluation.scoring.scorer"]
LIGHT += ["dinoseg.model.opening", "dinoseg.model.runtime", "dinoseg.model.bundles", "dinoseg.engines"]
LIGHT += ["dinoseg.evaluation.scoring.observers", "dinoseg.evaluation.comparison.comparing"]


@pytest.mark.parametrize("name", LIGHT)
def test_import_is_light(name: str) -> None:
    code = f"import sys, {name}; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert HEAVY & set(result.stdout.split()) == set()


MOST_REPEATED = 3  # keyword-only parameters that one public function may share with another
PUBLIC = {
    "create_backbone": dinoseg.create_backbone,
    "load": dinoseg.load,
    "predict": dinoseg.predict,
    "evaluate": dinoseg.evaluate,
    "predict_cases": predict_cases,
    "predict_files": predict_files,
    "segment_volume": segment_volume,
    "choose_postprocessing": choose_postprocessing,
}


def _keywords(function: Callable[..., object]) -> set[str]:
    parameters = inspect.signature(function).parameters.values()
    return {item.name for item in parameters if item.kind is inspect.Parameter.KEYWORD_ONLY}


@pytest.mark.parametrize(("one", "other"), [*itertools.combinations(PUBLIC, 2)])
def test_options_are_said_once(one: str, other: str) -> None:
    """What several verbs take is a field of one object: `how=Inference(...)`, or belongs to `load`."""
    assert len(_keywords(PUBLIC[one]) & _keywords(PUBLIC[other])) <= MOST_REPEATED


def test_options_of_applying_are_fields_of_one_object_and_of_no_signature() -> None:
    fields = {field.name for field in dataclasses.fields(Inference)}
    assert all(not fields & _keywords(function) for function in PUBLIC.values())
    elsewhere = _keywords(dinoseg.load) - {"progress"}
    for name, function in PUBLIC.items():
        if name not in ("load", "create_backbone"):
            assert not elsewhere & _keywords(function)


@pytest.mark.parametrize("name", ["device", "backbone", "accept_license", "precision"])
def test_what_belongs_to_load_is_told(name: str) -> None:
    with pytest.raises(UsageError, match=rf"^{name} belongs to load\(\): predict\(load\(run, {name}="):
        dinoseg.predict("no-run", "no-image.png", **{name: "cpu"})
