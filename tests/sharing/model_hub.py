"""A hub of models on this machine: repositories with commits, written and read by the hub's own protocol."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_test"


@dataclass
class Repository:
    private: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)


@dataclass
class ModelHub:
    """What it holds, how it misbehaves, and what was asked.

    Attributes:
        repositories: by `owner/name`.
        stored: large files by sha256; they survive a commit that never came.
        breaks: after how many bytes the connection of a download drops, one number per download.
        damage: names of files that arrive with another byte.
        fail_commits: so many commits end with status 500.
        large: bytes from which on a file is stored apart from the commit.
    """

    repositories: dict[str, Repository] = field(default_factory=dict)
    stored: dict[str, bytes] = field(default_factory=dict)
    breaks: list[int] = field(default_factory=list)
    damage: set[str] = field(default_factory=set)
    fail_commits: int = 0
    large: int = 4096
    uploads: int = 0
    asked: list[str] = field(default_factory=list)
    port: int = 0

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def commit(self, repo: str, branch: str, files: dict[str, bytes]) -> str:
        found = self.repositories.setdefault(repo, Repository())
        text = json.dumps(
            [len(found.commits), {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}]
        )
        oid = hashlib.sha1(text.encode()).hexdigest()
        found.commits[oid] = files
        found.branches[branch] = oid
        return oid

    def find(self, repo: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        found = self.repositories.get(repo)
        oid = found and found.branches.get(revision, revision)
        return (oid, found.commits[oid]) if found and oid in found.commits else None


class Handler(BaseHTTPRequestHandler):
    hub: ModelHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Stay quiet."""

    def do_GET(self) -> None:
        path = self._path()
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            self._describe(found[1], found[2] or "main")
        elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._send(found[1], unquote(found[2]), unquote(found[3]))
        else:
            self._answer(404, {"error": path})

    do_HEAD = do_GET

    def do_PUT(self) -> None:
        data = self._body()
        self.hub.uploads += 1
        self.hub.stored[hashlib.sha256(data).hexdigest()] = data
        self._answer(200, {})

    def do_POST(self) -> None:
        body, path = self._body(), self._path()
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer(401 if "Authorization" not in self.headers else 403, {"error": "token"})
        elif path == "/api/validate-yaml":
            self._answer(200, {"errors": [], "warnings": []})
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/branch/(.+)", path):
            repository = self.hub.repositories[found[1]]
            repository.branches.setdefault(unquote(found[2]), repository.branches.get("main", ""))
            self._answer(200, {})
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/(.+)", path):
            self._answer(200, {"files": [self._choose_mode(file) for file in json.loads(body)["files"]]})
        elif path.endswith(".git/info/lfs/objects/batch"):
            self._answer(
                200, {"transfer": "basic", "objects": [*map(self._place, json.loads(body)["objects"])]}
            )
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/(.+)", path):
            self._commit(found[1], unquote(found[2]), [json.loads(line) for line in body.splitlines()])
        else:
            self._answer(404, {"error": path})

    def _create(self, asked: dict[str, Any]) -> None:
        repo = f"{asked['organization']}/{asked['name']}"
        if repo in self.hub.repositories:
            self._answer(409, {"url": f"{self.hub.endpoint}/{repo}"})
            return
        private = asked.get("visibility") == "private" or bool(asked.get("private"))
        self.hub.repositories[repo] = Repository(private=private)
        self.hub.commit(repo, "main", {})
        self._answer(200, {"url": f"{self.hub.endpoint}/{repo}"})

    def _choose_mode(self, file: dict[str, Any]) -> dict[str, Any]:
        mode = "lfs" if file["size"] >= self.hub.large else "regular"
        return {"path": file["path"], "uploadMode": mode, "shouldIgnore": False}

    def _place(self, asked: dict[str, Any]) -> dict[str, Any]:
        if asked["oid"] in self.hub.stored:
            return asked
        href = f"{self.hub.endpoint}/storage/{asked['oid']}"
        return {**asked, "actions": {"upload": {"href": href, "header": {}}}}

    def _commit(self, repo: str, branch: str, operations: list[dict[str, Any]]) -> None:
        if self.hub.fail_commits:
            self.hub.fail_commits -= 1
            self._answer(500, {"error": "broken"})
            return
        files = dict((self.hub.find(repo, branch) or ("", {}))[1])
        for operation in operations:
            value = operation["value"]
            if operation["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif operation["key"] == "lfsFile":
                files[value["path"]] = self.hub.stored[value["oid"]]
            elif operation["key"] == "deletedFile":
                del files[value["path"]]
        oid = self.hub.commit(repo, branch, files)
        self._answer(200, {"commitUrl": f"{self.hub.endpoint}/{repo}/commit/{oid}", "commitOid": oid})

    def _describe(self, repo: str, revision: str) -> None:
        if not self._may_read(repo) or (found := self.hub.find(repo, unquote(revision))) is None:
            self._answer(404, {"error": "not found"})
            return
        private = self.hub.repositories[repo].private
        self._answer(200, {"id": repo, "modelId": repo, "sha": found[0], "private": private, "siblings": []})

    def _send(self, repo: str, revision: str, name: str) -> None:
        found = self.hub.find(repo, revision) if self._may_read(repo) else None
        if found is None or name not in found[1]:
            self._answer(404, {"error": "not found"})
            return
        data = found[1][name]
        if name in self.hub.damage:
            data = bytes([data[0] ^ 1]) + data[1:]
        span = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        first = int(span[1]) if span else 0
        self.send_response(206 if first else 200)
        self.send_header("X-Repo-Commit", found[0])
        self.send_header("Content-Length", str(len(data) - first))
        self.end_headers()
        breaks = self.hub.breaks and name.endswith(".safetensors")
        end = first + self.hub.breaks.pop(0) if breaks else len(data)
        self.wfile.write(data[first:end])
        self.close_connection = self.close_connection or bool(breaks)

    def _may_read(self, repo: str) -> bool:
        found = self.hub.repositories.get(repo)
        return found is not None and (
            not found.private or self.headers.get("Authorization") == f"Bearer {TOKEN}"
        )

    def _path(self) -> str:
        path = urlsplit(self.path).path
        self.hub.asked.append(f"{self.command} {path}")
        return path

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self, status: int, value: dict[str, Any]) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that give up are part of the tests."""


@contextmanager
def run_model_hub() -> Iterator[ModelHub]:
    """Serve an empty hub until the block ends."""
    hub = ModelHub()
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
