"""Applications with small models, what is sent to them, and servers in processes of their own."""

from __future__ import annotations

import io
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI
from PIL import Image as PillowImage
from starlette.testclient import TestClient

from dinoseg.model.network import Network
from dinoseg.serving.app import create_app
from dinoseg.serving.models import Models, Served
from dinoseg.serving.options import ServeOptions

ADDRESS = "http://127.0.0.1:8000"


@contextmanager
def serving(models: Mapping[str, Network], **options: Any) -> Iterator[TestClient]:
    """A client of an application with these models; it ends with the block."""
    app = create_app(
        Models([Served(name, model) for name, model in models.items()]), options=ServeOptions(**options)
    )
    with TestClient(app, base_url=ADDRESS, raise_server_exceptions=False) as client:
        yield client


def scratch_of(client: TestClient) -> Path:
    """The private folder of an application."""
    return client.app.state.service.scratch.root


def list_left(client: TestClient) -> list[str]:
    """Everything in the private folder."""
    return sorted(str(path.relative_to(scratch_of(client))) for path in scratch_of(client).rglob("*"))


def draw_png(height: int = 24, width: int = 32, *, seed: int = 0, kind: str = "PNG") -> bytes:
    """A picture as a file: dark, with a bright box."""
    pixels = np.random.default_rng(seed).integers(0, 90, (height, width, 3)).astype(np.uint8)
    pixels[height // 4 : height // 2, width // 4 : width // 2] += 150
    file = io.BytesIO()
    PillowImage.fromarray(pixels).save(file, kind)
    return file.getvalue()


def pack(members: Mapping[str, bytes], *, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, compress_type=compression)
    return file.getvalue()


def pack_folder(folder: Path) -> bytes:
    """The files of a folder as a zip."""
    return pack({path.name: path.read_bytes() for path in sorted(folder.iterdir())})


def post(client: TestClient, *files: tuple[str, bytes], query: str = "wait=30", **fields: str) -> Any:
    """Send files to be predicted; the answer."""
    sent = [("files", (name, content, "application/octet-stream")) for name, content in files]
    return client.post(f"/api/v1/predict?{query}", files=sent, data=fields)


def wait_until(condition: Any, *, seconds: float = 20.0) -> None:
    """Return once a condition holds; an error where it never does."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not so after {seconds} s")
        time.sleep(0.01)


@contextmanager
def running(*words: str, env: Mapping[str, str] | None = None) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server in a process of its own, and its address; killed where it still runs at the end."""
    command = [sys.executable, "-m", *words]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    ) as process:
        try:
            line = process.stdout.readline()
            if "http://" not in line:
                raise RuntimeError(line + process.stderr.read())
            yield process, "http://" + line.partition("http://")[2].split("/")[0]
        finally:
            process.kill()
            process.stdout.close()
            process.stderr.close()


@contextmanager
def listening(app: FastAPI) -> Iterator[str]:
    """An application behind a real server on a free port of this machine; its address."""
    config = uvicorn.Config(app, port=0, log_config=None, lifespan="on", ws="none")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [taken]})
        thread.start()
        try:
            wait_until(lambda: server.started)
            yield f"http://127.0.0.1:{taken.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(10)
