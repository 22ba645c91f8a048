"""The page's files: all are in the package, refer to nothing outside it, and put no data into markup."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import zipfile
from importlib.resources import files
from pathlib import Path

import pytest

PAGE = Path(str(files("dinoseg.serving") / "page"))
ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((PAGE / "app").rglob("*.js"))
PAGES = sorted(PAGE.glob("*.html"))
STYLES = sorted((PAGE / "style").glob("*.css"))
# NiiVue 0.69.0 as published; where node is, web/tests/vendor.test.js compares the file with the registry's
NIIVUE = "47b896b77ec4a5be3ef1949c33ad393b6f45629921f326c279000bcf51bdb4af"


def names(paths: list[Path]) -> list[str]:
    return [path.relative_to(PAGE).as_posix() for path in paths]


def test_both_pages_are_there() -> None:
    assert names(PAGES) == ["index.html", "teach.html"]
    assert len(SCRIPTS) > 20


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_what_a_page_refers_to_is_there(page: Path) -> None:
    """Relative to the root of the server, so that it works behind a path prefix."""
    wanted = re.findall(r'(?:src|href)="static/([^"]+)"', page.read_text("utf-8"))
    assert len(wanted) > 2
    assert [name for name in wanted if not (PAGE / name).is_file()] == []


@pytest.mark.parametrize("script", SCRIPTS, ids=names(SCRIPTS))
def test_what_a_module_imports_is_there(script: Path) -> None:
    text = script.read_text("utf-8")
    wanted = re.findall(r'^import (?:[^"]*? from )?"([^"]+)";', text, re.MULTILINE | re.DOTALL)
    wanted += re.findall(r'new URL\("([^"]+)", import\.meta\.url\)', text)
    assert [name for name in wanted if not (script.parent / name).is_file()] == []


def test_pages_have_no_script_or_handler_of_their_own() -> None:
    """The policy of the server forbids them, and nothing would tell but the browser's console."""
    for page in PAGES:
        text = page.read_text("utf-8")
        assert re.findall(r"<script(?![^>]*\bsrc=)", text) == []
        assert re.findall(r"\son[a-z]+=", text) == []
        assert re.findall(r"\sstyle=", text) == []


def test_nothing_is_fetched_from_elsewhere() -> None:
    for path in [*PAGES, *SCRIPTS, *STYLES]:
        text = path.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
        assert re.findall(r"https?://|//cdn|@import", text) == [], path


def test_data_never_becomes_markup() -> None:
    for script in SCRIPTS:
        text = script.read_text("utf-8")
        assert (
            re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text)
            == []
        )


def test_modules_are_small() -> None:
    long = [path.name for path in SCRIPTS if len(path.read_text("utf-8").splitlines()) > 400]
    assert long == []


def test_ids_that_a_module_asks_for_are_on_its_page() -> None:
    """`el("name")` throws in the browser where the page has no such element."""
    on_page = {page.stem: set(re.findall(r'\sid="([^"]+)"', page.read_text("utf-8"))) for page in PAGES}
    for script in SCRIPTS:
        asked = set(re.findall(r'\b(?:el|byId)\("([^"]+)"', script.read_text("utf-8")))
        folder = script.relative_to(PAGE / "app").parts[0].removesuffix(".js")
        pages = {"segment": ["index"], "teach": ["teach"]}.get(folder, ["index", "teach"])
        assert [(page, name) for page in pages for name in asked - on_page[page]] == [], script.name


def test_the_viewer_of_volumes_is_the_published_one() -> None:
    assert hashlib.sha256((PAGE / "vendor/niivue.js").read_bytes()).hexdigest() == NIIVUE
    assert "BSD 2-Clause" in (PAGE / "vendor/LICENSE-niivue.txt").read_text("utf-8")
    assert "NiiVue 0.69.0" in (ROOT / "NOTICE").read_text("utf-8")


@pytest.mark.slow
def test_the_wheel_contains_the_page(tmp_path: Path) -> None:
    """Built as `pip install` does; hatchling has to be at hand, so that nothing is downloaded."""
    pytest.importorskip("hatchling", reason="builds the wheel")
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "-q",
        "-w",
        tmp_path,
        ROOT,
    ]
    subprocess.run(list(map(str, build)), check=True)
    (wheel,) = tmp_path.glob("*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    ours = {
        f"dinoseg/serving/page/{path.relative_to(PAGE).as_posix()}"
        for path in PAGE.rglob("*")
        if path.is_file()
    }
    assert ours <= inside
    assert not [name for name in inside if "node_modules" in name or name.startswith("web/")]
