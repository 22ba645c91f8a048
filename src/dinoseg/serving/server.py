"""Running an application: the address is taken first, and it ends cleanly by Ctrl-C and SIGTERM."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from dinoseg.errors import UsageError
from dinoseg.serving.options import ServeOptions
from dinoseg.serving.security import HEAD_BYTES
from dinoseg.serving.service import Service

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_FAREWELL = 1  # seconds for answers that are under way when the server ends


def take_address(options: ServeOptions) -> socket.socket:
    """A socket that listens on the address of the options.

    Raises:
        UsageError: the address is taken, or not of this machine.
    """
    host, port = options.host.strip("[]"), options.port
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=512)
    except (OSError, OverflowError) as error:
        number = error.errno or 0 if isinstance(error, OSError) else 0
        reason = os.strerror(number) if number > 0 else str(error)
        raise UsageError(
            f"{host}:{port} cannot be listened on ({reason}); choose another --port, or 0 for a free one"
        ) from error


def name_address(listening: socket.socket) -> str:
    """What to open in a browser on this machine."""
    host, port = listening.getsockname()[:2]
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}/"


def run_server(
    app: FastAPI,
    listening: socket.socket,
    options: ServeOptions,
    *,
    on_ready: Callable[[], None] | None = None,
) -> None:
    """Serve until a signal says to end; the application's lifespan is over when this returns.

    Args:
        app: what answers.
        listening: of `take_address`.
        options: the limits.
        on_ready: called once requests are answered.
    """
    config = uvicorn.Config(
        app,
        loop="asyncio",
        http=_make_protocol(options),
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="critical",  # what goes wrong in an answer is logged by the application, once
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=10,
        timeout_graceful_shutdown=_FAREWELL,
        limit_concurrency=options.connections,
        h11_max_incomplete_event_size=HEAD_BYTES,
    )
    _Server(config, app.state.service, on_ready).run(sockets=[listening])


class _Server(uvicorn.Server):
    """Says when it is ready, and ends without raising the signal once more, which would skip what follows."""

    def __init__(self, config: uvicorn.Config, service: Service, on_ready: Callable[[], None] | None) -> None:
        super().__init__(config)
        self._service = service
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and self._on_ready is not None:
            self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._service.jobs.stop()  # first, so that nobody waits for what will not come
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {each: signal.signal(each, self.handle_exit) for each in _SIGNALS}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.force_exit = self.should_exit  # the second time
        self.should_exit = True


def _make_protocol(options: ServeOptions) -> type[asyncio.Protocol]:
    class Protocol(H11Protocol):
        """HTTP that gives up on a client that does not finish its headers."""

        deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._forget()

        def _watch(self) -> None:
            """The time runs while a request is awaited, from its first byte, or that of the connection."""
            if self.cycle is not None and not self.cycle.response_complete:
                self._forget()
            elif self.deadline is None:
                self.deadline = self.loop.call_later(options.head_seconds, self.transport.close)

        def _forget(self) -> None:
            if self.deadline is not None:
                self.deadline.cancel()
                self.deadline = None

    return Protocol
