"""The benchmarks start, and the paths of a GPU work as far as a CPU can tell."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"


def list_names() -> list[str]:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return " ".join(re.findall(r"^(?:SPEED|ACCURACY) := (.+)$", makefile, re.MULTILINE)).split()


def test_the_makefile_knows_every_benchmark() -> None:
    scripts = {
        path.stem for path in BENCHMARKS.glob("*.py") if "__main__" in path.read_text(encoding="utf-8")
    }
    assert scripts == set(list_names())


@pytest.mark.parametrize("name", list_names())
def test_what_a_benchmark_imports_from_us_is_there(name: str) -> None:
    tree = ast.parse((BENCHMARKS / f"{name}.py").read_text(encoding="utf-8"))
    wanted = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    ours = [node for node in wanted if node.module.split(".")[0] == "dinoseg"]
    missing = [
        f"{node.module}.{alias.name}"
        for node in ours
        for alias in node.names
        if not hasattr(import_module(node.module), alias.name)
        and find_spec(f"{node.module}.{alias.name}") is None
    ]
    assert missing == []


def test_the_manual_has_the_sizes_that_were_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import sizes

    table = sizes.make_table(sizes.read_rows())
    assert table in sizes.PAGE.read_text(encoding="utf-8"), "run python benchmarks/sizes.py --docs"
    page = tmp_path / "page.md"
    page.write_text("Before.\n\n| method | views | size | none |\n|---|---|---|---|\n\nAfter.\n")
    sizes.replace_table(page, table)
    assert page.read_text(encoding="utf-8") == f"Before.\n\n{table}\nAfter.\n"


@pytest.mark.slow
@pytest.mark.parametrize("name", list_names())
def test_a_benchmark_starts(name: str) -> None:
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), "--help"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert "usage:" in result.stdout


@pytest.mark.slow
def test_without_a_gpu_its_rows_are_skipped_aloud() -> None:
    if torch.cuda.is_available():
        pytest.skip("needs a machine without a GPU")
    command = [sys.executable, str(BENCHMARKS / "whole.py"), "--device", "cuda", "--compile"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.startswith("skipped: cuda is not there")


@pytest.mark.slow
def test_paths_of_a_gpu_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """All but CUDA graphs, which say why they are skipped."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import gpu_paths

    monkeypatch.setattr(gpu_paths, "VITS", ("dinov3_vits16",))
    monkeypatch.setattr(gpu_paths, "SIZES", (32,))
    monkeypatch.setattr(gpu_paths, "BATCHES", (1, 2))
    monkeypatch.setattr(gpu_paths, "STEPS", (("segdino-v1", 32, 2), ("dino-unet", 32, 2)))
    monkeypatch.setattr(gpu_paths, "LAST", 0)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    gpu = gpu_paths.Gpu("cpu", {"float32": 100.0, "bfloat16": 200.0}, 1, compiled=False)
    rows: list[dict[str, Any]] = [*gpu.list_vits(), *gpu.list_steps()]
    assert len(rows) == 2 * 3 + 2
    for row in rows:
        assert bool(row["per second"]) is ("CUDA graph" not in row["mode"]), row
        assert bool(row["note"]) is ("CUDA graph" in row["mode"]), row
    assert not torch.is_inference_mode_enabled()
