"""A browser, servers with small models, and screens that complain."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.material import train_models, write_files
from tests.browser.screen import Screen
from tests.serving.servers import running

sync_api = pytest.importorskip("playwright.sync_api")

WITHOUT_GPU = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader"]  # WebGL on the processor
WIDE = {"width": 1280, "height": 800}

Open = Callable[..., Screen]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What lies here is for `make test-browser`."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session", autouse=True)
def home_of_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Of what lives longer than a test."""
    folder = tmp_path_factory.mktemp("home-of-all")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HOME", "DINOSEG_HOME", "XDG_CACHE_HOME"):
            patch.setenv(name, str(folder))
        yield


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Debian's Chromium; a sandbox needs another user than root."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("needs Chromium; apt-get install chromium")
    arguments = WITHOUT_GPU + (["--no-sandbox"] if os.geteuid() == 0 else [])
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Run folders of a model for pictures and one for scans."""
    return train_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What is dropped on the page, by what it is."""
    return write_files(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="session")
def server(models: tuple[Path, Path]) -> Iterator[str]:
    """The address of `dinoseg serve` with both models."""
    with running("dinoseg", "serve", *map(str, models), "--port", "0") as (_, address):
        yield address


@pytest.fixture
def open_screen(browser: Any) -> Iterator[Open]:
    """Open a page in a fresh profile; whatever it complained of fails the test."""
    screens: list[Screen] = []

    def open(address: str, *, beside: Screen | None = None, **context: Any) -> Screen:
        options = {"viewport": WIDE, "accept_downloads": True, **context}
        home = browser.new_context(**options) if beside is None else beside.page.context
        home.set_default_timeout(30_000)  # the machine may be busy
        screens.append(Screen(home.new_page(), address))
        return screens[-1]

    yield open
    for screen in screens:
        screen.page.context.close()
    complaints = [complaint for screen in screens for complaint in screen.complaints]
    assert complaints == []
