"""What every test gets: one thread, a home and cache folder of its own, and the real data if it is there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"

# Before anything imports torch or matplotlib; child processes inherit them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("MPLCONFIGDIR", str(ROOT / ".cache" / "matplotlib"))


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home for this test only: nothing is read from, or left in, the user's own."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("DINOSEG_HOME", str(folder / "dinoseg"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    return folder


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and weights beside the checkout; it is not part of the project."""
    if not SHARED.is_dir():
        pytest.skip("needs real data and weights in ../shared, which is not there")
    return SHARED
