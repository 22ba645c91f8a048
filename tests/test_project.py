"""What the project says about itself is true: versions, pins, licences, commands and links."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import dinoseg
from dinoseg.extras import EXTRAS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])
PYTHONS = ["3.10", "3.11", "3.12", "3.13"]

# Hosts of package registries, and a developer's paths; in pieces, because this file is searched too.
PRIVATE = re.compile(
    "|".join(
        ["pypi" + r"\.org", "python" + "hosted", "download.py" + "torch", "/wo" + "rk/", r"\.lib" + "rary"]
    )
)
TEXT = {
    "",
    ".py",
    ".md",
    ".txt",
    ".toml",
    ".yaml",
    ".yml",
    ".json",
    ".csv",
    ".cfg",
    ".html",
    ".css",
    ".js",
    ".sh",
}


def _read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def _project() -> dict:
    return tomllib.loads(_read("pyproject.toml"))["project"]


def _pins(python: str) -> dict[str, Requirement]:
    lines = [line for line in _read("constraints.txt").splitlines() if not line.startswith("#")]
    pins = [Requirement(line) for line in lines]
    applying = [pin for pin in pins if not pin.marker or pin.marker.evaluate({"python_version": python})]
    names = [canonicalize_name(pin.name) for pin in applying]
    assert len(names) == len(set(names))
    return dict(zip(names, applying, strict=True))


def _requirements() -> list[Requirement]:
    project = _project()
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    found = [Requirement(line) for line in [*project["dependencies"], *extras]]
    return [each for each in found if each.name != project["name"]]  # an extra that brings another


def _tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("needs a git checkout")
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.suffix in TEXT and path.is_file()]


def _blocks(page: Path, *languages: str) -> list[str]:
    pattern = rf"^```(?:{'|'.join(languages)})\n(.*?)^```"
    return re.findall(pattern, page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_version_is_the_newest_of_the_changelog() -> None:
    assert re.search(r"^## \[(\d.+?)\]", _read("CHANGELOG.md"), re.MULTILINE)[1] == dinoseg.__version__


@pytest.mark.parametrize("python", PYTHONS)
def test_pins_are_within_the_ranges(python: str) -> None:
    pins = _pins(python)
    for requirement in _requirements():
        if requirement.marker is not None and not requirement.marker.evaluate({"python_version": python}):
            continue
        (pin,) = pins[canonicalize_name(requirement.name)].specifier
        assert pin.operator == "=="
        assert requirement.specifier.contains(pin.version), f"{requirement}, but pinned to {pin.version}"


@pytest.mark.parametrize("python", PYTHONS)
def test_pins_are_the_same_on_every_machine(python: str) -> None:
    pins = _pins(python)
    assert "dinoseg" not in pins
    assert [str(pin) for pin in pins.values() if "+" in str(pin.specifier)] == []


def test_licence_and_notice_are_complete() -> None:
    licence, notice = _read("LICENSE"), _read("NOTICE")
    assert "Apache License" in licence
    assert "END OF TERMS AND CONDITIONS" in licence
    for fact in (
        "The dinoseg authors",
        "DINOv3 License",
        "2509.00833",
        "2606.17972",
        "2508.20909",
        "2601.08078",
    ):
        assert fact in notice


def test_paths_of_the_makefile_exist() -> None:
    makefile = re.sub(r"^clean:.*", "", _read("Makefile"), flags=re.MULTILINE | re.DOTALL)
    paths = set(re.findall(r"\b(?:tests|src|benchmarks|docs|scripts|examples)(?:/[\w./-]+)?", makefile))
    paths |= set(re.findall(r"\b\w+\.(?:toml|txt|md)\b", makefile))
    paths -= {"benchmarks/results/"}  # made by `make bench`
    assert {"pyproject.toml", "constraints.txt", "tests/test_architecture.py"} <= paths
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []


def test_ci_runs_what_a_developer_runs() -> None:
    script = _read(".ci/run")
    targets = re.findall(r"^make (\S+)$", script, re.MULTILINE)
    assert targets == ["check", "test", "test-browser"]
    assert "set -euo pipefail" in script
    assert (ROOT / ".ci/run").stat().st_mode & 0o111


def test_every_make_target_is_explained() -> None:
    makefile = _read("Makefile")
    phony = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)[1].split()
    assert phony == re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE)
    assert {"setup", "demo", "test", "test-browser", "test-all", "check", "fix", "bench"} <= set(phony)


def test_nothing_private_is_tracked() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
        for path in _tracked_files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if PRIVATE.search(line)
    ]
    assert found == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_on_pages_parses(page: Path) -> None:
    for block in _blocks(page, "python"):
        ast.parse(block)
    for block in _blocks(page, "bash", "sh", "console"):
        result = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True, check=False)
        assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_resolve(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)
    local = [link.partition("#")[0] for link in links if not re.match(r"[a-z]+:|#", link)]
    assert [link for link in local if not (page.parent / link).exists()] == []


def test_every_extra_is_used_or_for_development() -> None:
    """What is offered is named in the code; `dev` and `docs` are tools, and some are for other libraries."""
    sources = [path for path in (ROOT / "src").rglob("*.py") if path.name != "extras.py"]
    code = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    for extra, lines in _project()["optional-dependencies"].items():
        packages = [Requirement(line).name.replace("-", "_") for line in lines]
        named = [name for name in packages if not name.startswith(("pylibjpeg", "tensorboard"))]
        idle = [name for name in named if not re.search(rf"\b{name}\b", code)]
        assert extra in {"dev", "docs"} or not idle, f"{extra}: {idle}"


def test_doctor_looks_at_every_extra() -> None:
    assert set(EXTRAS) == set(_project()["optional-dependencies"]) - {"dev", "docs"}
