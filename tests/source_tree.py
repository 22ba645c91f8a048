"""The package's source as data: modules, what each imports, and cycles among them. For test_architecture."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "dinoseg"


@dataclass(frozen=True)
class Module:
    """One file: `name` is dotted (`dinoseg.data` for its `__init__.py`)."""

    name: str
    path: str
    text: str
    is_package: bool

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def layer(self) -> str:
        """The part below the package: `data` for `dinoseg.data.case`, empty for the package itself."""
        return self.name.partition(".")[2].partition(".")[0]

    def place(self, node: ast.AST) -> str:
        return f"{self.path}:{getattr(node, 'lineno', 1)}"


@dataclass(frozen=True)
class Import:
    """One imported thing; `target` is a module of the package where it is one, else the dotted name."""

    target: str
    place: str


def parse_files(files: Mapping[str, str]) -> dict[str, Module]:
    """Turn {path relative to src: text} into {dotted name: Module}."""
    modules = {}
    for path, text in files.items():
        parts = path.removesuffix(".py").split("/")
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        modules[name] = Module(name, path, text, is_package)
    return modules


def read_tree(src: Path) -> dict[str, Module]:
    """Read every module below `src`/dinoseg."""
    paths = sorted((src / PACKAGE).rglob("*.py"))
    return parse_files({str(path.relative_to(src)): path.read_text(encoding="utf-8") for path in paths})


def list_imports(module: Module, modules: Mapping[str, Module]) -> list[Import]:
    """All imports: absolute, relative, inside functions, for types only, and by name in a string."""
    found = []
    for node in ast.walk(module.tree):
        found += [Import(target, module.place(node)) for target in _targets(node, module, modules)]
    return found


def _targets(node: ast.AST, module: Module, modules: Mapping[str, Module]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = _absolute(node, module)
        for alias in node.names:
            member = f"{base}.{alias.name}"
            yield member if member in modules or base == PACKAGE else base
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        name, colon, _ = node.value.partition(":")
        if colon and name in modules:
            yield name
    elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
        yield from (arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant))


def _absolute(node: ast.ImportFrom, module: Module) -> str:
    if node.level == 0:
        return node.module or ""
    package = module.name.split(".")
    up = node.level - 1 if module.is_package else node.level
    return ".".join(package[: len(package) - up] + ([node.module] if node.module else []))


def list_arrows(modules: Mapping[str, Module]) -> dict[str, set[tuple[str, str]]]:
    """Which room imports from which, for each layer; a room is what lies directly in a layer's folder."""
    arrows: dict[str, set[tuple[str, str]]] = {}
    for module in modules.values():
        for item in list_imports(module, modules):
            layer, room = _find_room(module.name)
            other_layer, other = _find_room(item.target)
            if layer == other_layer and room and other and room != other and item.target in modules:
                arrows.setdefault(layer, set()).add((room, other))
    return arrows


def _find_room(name: str) -> tuple[str, str]:
    _, layer, room = ([*name.split("."), "", ""])[:3]
    return layer, room


def find_cycle(modules: Mapping[str, Module]) -> list[str]:
    """Names of the modules on one import cycle, first one repeated at the end; empty if there is none."""
    return find_circle(
        {
            name: [item.target for item in list_imports(module, modules) if item.target in modules]
            for name, module in modules.items()
            if name != PACKAGE
        }
    )


def find_circle(graph: Mapping[str, Sequence[str]]) -> list[str]:
    """The nodes on one circle of a graph, first one repeated at the end; empty if there is none."""
    done: set[str] = set()

    def visit(name: str, trail: list[str]) -> list[str]:
        if name in trail:
            return [*trail[trail.index(name) :], name]
        if name in done or name not in graph:
            return []
        for target in graph[name]:
            if target != name and (cycle := visit(target, [*trail, name])):
                return cycle
        done.add(name)
        return []

    return next((cycle for name in graph if (cycle := visit(name, []))), [])
