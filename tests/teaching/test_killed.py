"""kill -9 at any moment: no stroke is lost that was acknowledged."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import random
import re
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest

from dinoseg.teaching.records import Records
from tests.teaching.scenes import BACKBONE, write_discs

ROOT = Path(__file__).parents[2]
MOMENTS = 50


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
    chance, said = random.Random(1), []
    environment = {**os.environ, "DINOSEG_HOME": str(tmp_path / "home")}
    for moment in range(MOMENTS):
        command = [sys.executable, "-m", "dinoseg", "teach", str(tmp_path / "discs"), "--no-open"]
        command += ["--port", "0", "--backbone", BACKBONE, "--size", "96"]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
        ) as process:
            address = re.search(r"http://[\d.:]+", process.stdout.readline())[0]
            images = [image["id"] for image in ask(f"{address}/api/v1/teach/project")["images"]]
            threading.Timer(chance.uniform(0, 1.0), process.kill).start()
            sent = paint_until_killed(address, images, f"{moment}", said)
        kept = list_clients(tmp_path / "discs" / ".dinoseg" / "project.sqlite")
        assert kept == [*said, sent][: len(kept)]
        assert len(kept) >= len(said)
        said = kept
    assert len(said) >= MOMENTS


def paint_until_killed(address: str, images: list[str], moment: str, said: list[str]) -> str:
    """Strokes one after the other, over several images; the name of the one that got no answer."""
    for number in itertools.count():
        client = f"stroke-{moment}-{number}"
        stroke = {"client": client, "slice": 0, "class": number % 2, "tool": "brush", "radius": 5}
        stroke["points"] = [[10 + number % 70, 10 + number % 60]]
        try:
            ask(f"{address}/api/v1/teach/images/{images[number % len(images)]}/strokes", stroke)
        except (OSError, http.client.HTTPException):
            return client
        said.append(client)
    raise AssertionError("it was never killed")


def ask(address: str, content: object = None) -> dict[str, object]:
    data = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)
