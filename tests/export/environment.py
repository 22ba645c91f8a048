"""A fresh environment without torch, made of this checkout and what the index offers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ABSENT = ("torch", "lightning", "monai", "transformers", "safetensors", "onnx", "huggingface_hub")


def make_environment(folder: Path, *extras: str) -> Path:
    """The python of a new environment with dinoseg and those extras; skips where there is no index."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    wanted = f"{ROOT}[{','.join(extras)}]" if extras else str(ROOT)
    command = [str(python), "-m", "pip", "install", "-q", "-c", str(ROOT / "constraints.txt"), wanted]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        pytest.skip(f"needs a package index: {ended.stderr.strip().splitlines()[-1]}")
    return python


def list_modules(python: Path, names: tuple[str, ...]) -> set[str]:
    """Those of the libraries that can be imported there."""
    code = "import sys, importlib.util as u; print(*[n for n in sys.argv[1:] if u.find_spec(n)])"
    ended = subprocess.run([str(python), "-c", code, *names], capture_output=True, text=True, check=True)
    return set(ended.stdout.split())
