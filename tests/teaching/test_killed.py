"""kill -9 at any moment: no stroke is lost that was acknowledged."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from dinoseg.teaching.records import Records
from tests.teaching.scenes import BACKBONE, write_discs

ROOT = Path(__file__).parents[2]


def list_clients(path: Path) -> list[str]:
    with sqlite3.connect(path) as file:
        assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return [client for (client,) in file.execute("SELECT client FROM strokes ORDER BY id")]


def test_three_moments_of_keeping(tmp_path: Path) -> None:
    """The records alone, which takes no time: what is being written is whole, or not there."""
    path, said, chance = tmp_path / "project.sqlite", [], random.Random(0)
    for _ in range(3):
        command = [sys.executable, "-m", "tests.teaching.keeper", str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
            said.append(process.stdout.readline().strip())
            time.sleep(chance.uniform(0, 0.1))
            process.kill()
            said += [line.strip() for line in process.stdout if line.endswith("\n")]
        kept = list_clients(path)
        assert kept[: len(said)] == said
        assert len(kept) <= len(said) + 1  # kept, and killed before it could say so
        said = kept
    assert len(Records(path).list_strokes()) == len(said) > 3


@pytest.mark.slow
def test_fifty_moments_of_teaching(tmp_path: Path) -> None:
    """The whole server, over HTTP, while it computes features, learns and answers."""
    write_discs(tmp_path / "discs", 8)
    chance, said, sent = random.Random(1), [], 0
    environment = {**os.environ, "DINOSEG_HOME": str(tmp_path / "home")}
    for _ in range(50):
        command = [sys.executable, "-m", "dinoseg", "teach", str(tmp_path / "discs"), "--no-open"]
        command += ["--port", "0", "--backbone", BACKBONE, "--size", "96"]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
        ) as process:
            address = re.search(r"http://[\d.:]+", process.stdout.readline())[0]
            images = [image["id"] for image in ask(f"{address}/api/v1/teach/project")["images"]]
            end = time.monotonic() + chance.uniform(0, 1.0)
            while time.monotonic() < end:
                sent = paint(address, chance.choice(images), sent, said)
            process.send_signal(signal.SIGKILL)
        kept = list_clients(tmp_path / "discs" / ".dinoseg" / "project.sqlite")
        assert set(said) <= set(kept)
        assert len(kept) == len(set(kept)) <= sent
    assert len(said) > 50


def paint(address: str, image: str, number: int, said: list[str]) -> int:
    stroke = {"client": f"stroke-{number}", "slice": 0, "class": number % 2, "tool": "brush", "radius": 5}
    stroke["points"] = [[10 + number % 70, 10 + number % 60]]
    ask(f"{address}/api/v1/teach/images/{image}/strokes", stroke)
    said.append(f"stroke-{number}")
    return number + 1


def ask(address: str, content: object = None) -> dict[str, object]:
    data = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"})
    for _ in range(100):
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.URLError:  # it listens before it answers
            time.sleep(0.1)
    raise TimeoutError(address)
