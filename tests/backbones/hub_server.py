"""A hub on this machine: speaks the part of the protocol that fetching needs, and misbehaves on request."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass(frozen=True)
class Request:
    """What a client asked: `range` is the first byte of a Range header, `token` its bearer token."""

    method: str
    path: str
    host: str
    range: int | None
    token: str | None


@dataclass
class Hub:
    """What the server holds and how it behaves.

    Attributes:
        files: contents of model.safetensors by repository.
        statuses: repositories that answer with this status instead.
        tokens: repositories that want this token (else 401).
        breaks: after how many bytes the connection drops, one number per answer to a GET.
        fake_sha256: stated instead of the real one.
        hide: headers left out.
        redirect: send the contents from another host name, as the real hub does.
        ignore_range: answer 200 with everything to a Range request.
        delay: seconds before any answer.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    breaks: list[int] = field(default_factory=list)
    get_statuses: list[int] = field(default_factory=list)
    fake_sha256: str | None = None
    hide: tuple[str, ...] = ()
    redirect: bool = False
    ignore_range: bool = False
    delay: float = 0.0
    requests: list[Request] = field(default_factory=list)
    port: int = 0

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def asked(self, method: str) -> list[Request]:
        return [request for request in self.requests if request.method == method]


class Handler(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, format: str, *args: Any) -> None:
        """Stay quiet."""

    def do_HEAD(self) -> None:
        self._note()
        repo = self._repo()
        if (status := self._status(repo)) != 200:
            self._answer(status, {})
            return
        content = self.hub.files[repo]
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{self._sha256(content)}"'}
        if self.hub.redirect:
            # The etag of a redirect is not that of the file: the linked one is.
            headers |= {"ETag": '"of-the-redirect"', "X-Linked-Etag": f'"{self._sha256(content)}"'}
            headers |= {"X-Linked-Size": str(len(content)), "Location": self._storage(repo)}
            self._answer(302, headers)
        else:
            self._answer(200, headers | {"Content-Length": str(len(content))})

    def do_GET(self) -> None:
        self._note()
        repo = self._repo()
        if not self.path.startswith("/storage/"):
            if (status := self._status(repo)) != 200:
                self._answer(status, {})
                return
            if self.hub.redirect:
                self._answer(302, {"Location": self._storage(repo)})
                return
        if self.hub.get_statuses and (status := self.hub.get_statuses.pop(0)) != 200:
            self._answer(status, {})
            return
        self._send(self.hub.files[repo])

    def _send(self, content: bytes) -> None:
        first = 0 if self.hub.ignore_range else self.hub.requests[-1].range or 0
        headers = {"Content-Length": str(len(content) - first)}
        if first:
            headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        end = first + self.hub.breaks.pop(0) if self.hub.breaks else len(content)
        self._answer(206 if first else 200, headers)
        self.wfile.write(content[first:end])
        self.close_connection = True

    def _answer(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": "0"} | headers).items():
            if name not in self.hub.hide:
                self.send_header(name, value)
        self.end_headers()

    def _status(self, repo: str) -> int:
        wanted = self.hub.tokens.get(repo)
        if wanted is not None and self.hub.requests[-1].token != wanted:
            return 401 if self.hub.requests[-1].token is None else 403
        default = 200 if repo in self.hub.files else 404
        return self.hub.statuses.get(repo, default)

    def _repo(self) -> str:
        match = re.fullmatch(
            r"(?:/storage)?/(.+?)(?:/resolve/(?:main|[0-9a-f]{40}))?/model\.safetensors", self.path
        )
        return match.group(1) if match else ""

    def _storage(self, repo: str) -> str:
        return f"http://localhost:{self.hub.port}/storage/{repo}/model.safetensors"

    def _sha256(self, content: bytes) -> str:
        return self.hub.fake_sha256 or hashlib.sha256(content).hexdigest()

    def _note(self) -> None:
        time.sleep(self.hub.delay)
        span = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        first = int(span.group(1)) if span else None
        host = (self.headers.get("Host") or "").partition(":")[0]
        self.hub.requests.append(Request(self.command, self.path, host, first, token))


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that give up are part of the tests."""


@contextmanager
def run_hub(hub: Hub) -> Iterator[Hub]:
    """Serve `hub` until the block ends."""
    server = _Server(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"hub": hub}))
    hub.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
