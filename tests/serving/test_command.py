"""`dinoseg serve`: what it prints, what it refuses before it loads anything, and how it ends."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import webbrowser
from pathlib import Path

import httpx
import pytest

from dinoseg.cli import serve as command
from dinoseg.cli.schemas import read_schema
from dinoseg.serving.models import name_model
from dinoseg.serving.options import MIB, TOKEN_LENGTH, ServeOptions
from tests.cli.conftest import Run, run  # noqa: F401
from tests.cli.validation import find_problem
from tests.export.runs import make_run
from tests.serving.servers import draw_png

SECRET = "sixteen-letters-or-more"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    make_run(folder / "first", "linear")
    return folder


def test_defaults_are_those_of_the_options() -> None:
    options = ServeOptions()
    assert (options.host, options.port, options.queue) == (command.HOST, command.PORT, command.QUEUE)
    assert options.upload_bytes == command.UPLOAD_MIB * MIB
    assert (options.pixels, options.voxels) == (command.PIXELS, command.VOXELS)
    assert (options.job_seconds, options.kept_seconds) == (command.JOB_SECONDS, command.KEPT_MINUTES * 60)
    (token,) = command.Token.__metadata__
    assert f"{TOKEN_LENGTH} letters" in token.help


def test_every_limit_is_above_nothing() -> None:
    numbers = [getattr(ServeOptions(), field.name) for field in dataclasses.fields(ServeOptions)]
    assert all(number > 0 for number in numbers if isinstance(number, int | float))


def _find_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


def _use(address: str, answers: list[httpx.Response]) -> None:
    """What a client does while the test is in the command; then the server is told to end."""
    right = {"Authorization": f"Bearer {SECRET}"}
    try:
        with httpx.Client(base_url=address, timeout=30, transport=httpx.HTTPTransport(retries=10)) as client:
            answers.append(client.get("/api/v1/info"))
            answers.append(client.get("/api/v1/info", headers=right))
            files = {"files": ("a.png", draw_png(), "image/png")}
            answers.append(client.post("/api/v1/predict?wait=30", files=files, headers=right))
    finally:
        os.kill(os.getpid(), signal.SIGTERM)


def test_it_says_where_it_is_and_ends_by_sigterm(
    run: Run,  # noqa: F811
    models: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("DINOSEG_TOKEN", SECRET)
    opened: list[str] = []
    answers: list[httpx.Response] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    port = _find_port()
    address = f"http://127.0.0.1:{port}/"
    client = threading.Thread(target=_use, args=(address, answers))
    client.start()
    ended = run("serve", str(models / "first"), "--port", str(port), "--json", "--open")
    client.join(20)
    assert ended.code == 0, ended.err
    assert ended.json == {"models": ["first"], "address": address, "process": os.getpid()}
    assert SECRET not in ended.err
    assert [answer.status_code for answer in answers] == [401, 200, 200]
    assert answers[1].json()["models"] == ["first"]
    assert answers[2].json()["state"] == "done"
    assert opened == [f"{address}?token={SECRET}"]
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_refused_loads_no_library() -> None:
    code = (
        "import sys\nfrom dinoseg.cli import main\ncode = main(sys.argv[1:])\n"
        "print(*{name.partition('.')[0] for name in sys.modules})\nsys.exit(code)"
    )
    words = [sys.executable, "-c", code, "serve", "run", "--host", "0.0.0.0"]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ended.returncode == 2, ended.stderr
    loaded = set(ended.stdout.split())
    assert "dinoseg" in loaded
    assert {"torch", "numpy", "fastapi", "uvicorn"} & loaded == set()


def test_the_object_that_it_prints_is_as_described() -> None:
    value = {"models": ["first"], "address": "http://127.0.0.1:8000/", "process": 3}
    assert find_problem("serve", value) is None
    assert read_schema("serve")["title"] == "dinoseg serve"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--host", "0.0.0.0"], "0.0.0.0 can be reached from other machines and needs a token"),
        (["--token", "short"], "a token has at least 16 letters"),
        (["--port", "70000"], "--port"),
        (["--queue", "0"], "--queue"),
        (["--host", "no-such-host.invalid", "--token", SECRET], "cannot be listened on"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_loaded(run: Run, words: list[str], says: str) -> None:  # noqa: F811
    ended = run("serve", "no-such-run", *words)
    assert ended.code == 2
    assert says in ended.err


def test_a_folder_that_is_no_model_is_refused(run: Run, tmp_path: Path) -> None:  # noqa: F811
    ended = run("serve", str(tmp_path), "--port", "0")
    assert ended.code == 1
    assert ended.err.count("error:") == 1


def test_two_models_of_one_name_are_refused(run: Run, models: Path) -> None:  # noqa: F811
    ended = run("serve", str(models / "first"), str(models / "first" / "model"), "--port", "0")
    assert (ended.code, "two models are called first" in ended.err) == (2, True)


def test_models_are_called_like_their_folders() -> None:
    assert name_model(Path("runs/kvasir")) == "kvasir"
    assert name_model(Path("runs/kvasir/model")) == "kvasir"
    assert name_model(Path("runs/my model (2)")) == "my-model-2"
    assert name_model(Path("/")) == "model"


def test_a_missing_extra_is_one_line(models: Path) -> None:
    code = "import sys\nsys.modules['fastapi'] = None\n"
    code += "from dinoseg.cli import main\nsys.exit(main(sys.argv[1:]))"
    words = [sys.executable, "-c", code, "serve", str(models / "first"), "--json"]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert json.loads(ended.stdout)["error"] == (
        "serving needs fastapi, which is not installed; run pip install 'dinoseg[serve]'"
    )
