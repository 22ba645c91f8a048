"""A server as a process: slow and endless clients, signals, and a clean end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from dinoseg.errors import UsageError
from dinoseg.serving.options import ServeOptions
from dinoseg.serving.server import name_address, take_address
from tests.serving.servers import draw_png, running

HASTY = {"body_seconds": 0.6, "head_seconds": 0.6, "body_rate": 10_000, "connections": 40}
PROMPT = 5.0  # seconds in which a patient server would still wait


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("system")


@pytest.fixture(scope="module")
def server(place: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    env = {**os.environ, "TMPDIR": str(place)}
    with running("tests.serving.lone", json.dumps(HASTY), env=env) as found:
        yield found


@pytest.fixture
def address(server: tuple[subprocess.Popen[str], str]) -> str:
    return server[1]


def _connect(address: str) -> socket.socket:
    found = urlsplit(address)
    return socket.create_connection((found.hostname, found.port), timeout=20)


def _read(connection: socket.socket) -> bytes:
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def _post(address: str, **query: str) -> httpx.Response:
    files = {"files": ("a.png", draw_png(), "image/png")}
    return httpx.post(f"{address}/api/v1/predict", params=query, files=files, timeout=30)


def _left(place: Path) -> list[str]:
    return [path.name for path in place.glob("*/*")]


def _head(address: str, length: int) -> bytes:
    return (
        f"POST /api/v1/predict HTTP/1.1\r\nHost: {urlsplit(address).netloc}\r\nContent-Length: {length}\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
    ).encode()


def test_a_body_that_stops_is_given_up(address: str, place: Path) -> None:
    with _connect(address) as connection:
        started = time.monotonic()
        connection.sendall(_head(address, 100_000) + b"--x\r\n")
        answer = _read(connection)
    assert b"408" in answer.partition(b"\r\n")[0]
    assert b"came too slowly" in answer
    assert time.monotonic() - started < PROMPT
    assert _left(place) == []


def test_a_body_that_trickles_is_given_up(address: str, place: Path) -> None:
    with _connect(address) as connection:
        started = time.monotonic()
        connection.sendall(_head(address, 100_000) + b"--x\r\n")
        connection.setblocking(False)
        answer = b""
        while not answer and time.monotonic() - started < PROMPT:
            time.sleep(0.1)
            connection.send(b"y")
            try:
                answer = connection.recv(65536)
            except BlockingIOError:
                continue
    assert b"408" in answer.partition(b"\r\n")[0]
    assert _left(place) == []


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: "])
def test_headers_that_do_not_end_are_given_up(address: str, sent: bytes) -> None:
    with _connect(address) as connection:
        started = time.monotonic()
        connection.sendall(sent)
        assert _read(connection) == b""
    assert time.monotonic() - started < PROMPT


def test_headers_of_a_second_request_that_trickle_are_given_up(address: str) -> None:
    with _connect(address) as connection:
        connection.sendall(f"GET /health HTTP/1.1\r\nHost: {urlsplit(address).netloc}\r\n\r\n".encode())
        assert b"200 OK" in connection.recv(65536)
        started = time.monotonic()
        connection.sendall(b"GET /hea")
        _read(connection)
    assert time.monotonic() - started < PROMPT


@pytest.mark.parametrize(
    "flood",
    [
        b"".join(b"X-%d: %s\r\n" % (number, b"y" * 100) for number in range(2000)),
        b"X-Long: " + b"y" * 100_000 + b"\r\n",
        b"Cookie: " + b"a=b; " * 20_000 + b"\r\n",
    ],
    ids=["many", "long", "cookies"],
)
def test_floods_of_headers_are_refused(address: str, flood: bytes) -> None:
    with _connect(address) as connection:
        try:
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n" + flood + b"\r\n")
        except (BrokenPipeError, ConnectionResetError):
            return
        answer = connection.recv(65536)
    assert answer == b"" or answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 431")), answer
    assert httpx.get(f"{address}/health").status_code == 200


@pytest.mark.parametrize(
    "request_", [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"HELLO\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"]
)
def test_what_is_no_request_is_refused(address: str, request_: bytes) -> None:
    with _connect(address) as connection:
        connection.sendall(request_)
        answer = connection.recv(65536)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4"), answer


def test_a_request_without_a_host_is_refused(address: str) -> None:
    with _connect(address) as connection:
        connection.sendall(b"GET /api/v1/models HTTP/1.0\r\n\r\n")
        assert _read(connection).startswith(b"HTTP/1.1 400")


def test_too_many_connections_are_refused_and_the_server_goes_on(address: str) -> None:
    held = [_connect(address) for _ in range(60)]
    try:
        assert httpx.get(f"{address}/health").status_code == 503
    finally:
        for connection in held:
            connection.close()
    time.sleep(0.3)
    assert httpx.get(f"{address}/health").status_code == 200


def test_a_client_that_goes_away_is_forgotten(address: str, place: Path) -> None:
    with _connect(address) as connection:
        connection.sendall(_head(address, 100_000) + b"--x\r\n" + bytes(50_000))
    job = _post(address, wait="20").json()
    with httpx.stream("GET", f"{address}/api/v1/jobs/{job['id']}/events") as answer:
        assert next(answer.iter_lines()).startswith("data: ")
    assert httpx.delete(f"{address}/api/v1/jobs/{job['id']}").status_code == 200
    assert _left(place) == []


def test_nobody_is_told_which_program_it_is(address: str) -> None:
    assert "server" not in httpx.get(f"{address}/health").headers


def test_a_second_server_listens_beside_the_first(address: str, place: Path) -> None:
    port = urlsplit(address).port
    with pytest.raises(
        UsageError, match=rf"127.0.0.1:{port} cannot be listened on \(Address already in use\)"
    ):
        take_address(ServeOptions(port=port))
    env = {**os.environ, "TMPDIR": str(place)}
    with running("tests.serving.lone", "{}", env=env) as (process, other):
        assert other != address
        masks = [_post(each, output="mask.png").content for each in (address, other)]
        assert masks[0] == masks[1]
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
        assert process.stderr.read() == ""
    assert httpx.get(f"{address}/health").status_code == 200


def test_sigterm_ends_it_cleanly_even_while_clients_wait(tmp_path: Path) -> None:
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    with running("tests.serving.lone", "{}", env=env) as (process, address):
        assert _post(address, wait="20").json()["state"] == "done"
        assert list(tmp_path.glob(".*/*/outputs/mask.png"))
        with _connect(address) as waiting:
            waiting.sendall(_head(address, 100_000))
            time.sleep(0.1)
            process.terminate()
            assert process.wait(15) == 0
        assert process.stderr.read() == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_what_a_killed_server_left_is_removed_by_the_next(tmp_path: Path) -> None:
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    with running("tests.serving.lone", "{}", env=env) as (process, address):
        _post(address, wait="20")
        process.kill()
        process.wait(10)
    (left,) = tmp_path.iterdir()
    assert list(left.rglob("mask.png"))
    with running("tests.serving.lone", "{}", env=env) as (process, _):
        assert not left.exists()
        process.terminate()
        assert process.wait(15) == 0
    assert list(tmp_path.iterdir()) == []


def test_addresses_are_named_as_a_browser_wants_them() -> None:
    with take_address(ServeOptions(port=0)) as listening:
        assert name_address(listening) == f"http://127.0.0.1:{listening.getsockname()[1]}/"
    token = "sixteen letters or more"
    with take_address(ServeOptions(host="0.0.0.0", port=0, token=token)) as listening:
        assert name_address(listening).startswith("http://127.0.0.1:")
    with pytest.raises(UsageError, match="cannot be listened on"):
        take_address(ServeOptions(host="no-such-name.invalid", token=token))
