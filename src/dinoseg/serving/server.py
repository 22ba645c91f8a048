"""Running an application: the address is taken first, and it ends cleanly by Ctrl-C and SIGTERM."""

from __future__ import annotations

import asyncio
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

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_HEAD_BYTES = 32 << 10  # of a request's first line and headers
_FAREWELL = 3  # seconds for answers that are under way when the server ends


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
        raise UsageError(
            f"{host}:{port} cannot be listened on ({getattr(error, 'strerror', None) or error}); choose "
            "another --port, or --port 0 for a free one"
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
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=10,
        timeout_graceful_shutdown=_FAREWELL,
        limit_concurrency=options.connections,
        h11_max_incomplete_event_size=_HEAD_BYTES,
    )
    _Server(config, on_ready).run(sockets=[listening])


class _Server(uvicorn.Server):
    """Says when it is ready, and ends without raising the signal once more, which would skip what follows."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None] | None) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and self._on_ready is not None:
            self._on_ready()

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

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self.loop.call_later(options.head_seconds, self._give_up)

        def _give_up(self) -> None:
            if self.cycle is None and self.transport is not None and not self.transport.is_closing():
                self.transport.close()

    return Protocol
