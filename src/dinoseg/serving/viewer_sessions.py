"""Images that viewers send once and ask about several times; they vanish after a while."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

from dinoseg.serving.refusals import Refusal
from dinoseg.serving.scratch import Scratch, remove_folder
from dinoseg.serving.uploads import INPUT, store_files

MOST_SESSIONS = 16
LONGEST = 3600  # seconds since it was used last


@dataclass(frozen=True)
class Session:
    """An image that was sent.

    Attributes:
        id: its name, which nobody can guess.
        name: of the first file.
        folder: of the session; the files lie in `folder / INPUT`.
        created: seconds since 1970.
        used: the same, of the last request about it.
        expiry: seconds after that when it vanishes.
    """

    id: str
    name: str
    folder: Path
    created: int
    used: int
    expiry: int

    @property
    def place(self) -> Path:
        """Where the files are."""
        return self.folder / INPUT

    def describe(self) -> dict[str, Any]:
        """As MONAI Label describes one, without the server's paths."""
        return {
            "name": self.id,
            "image": self.name,
            "meta": {},
            "create_ts": self.created,
            "last_access_ts": self.used,
            "expiry": self.expiry,
        }


class Sessions:
    """The sessions of a server; beyond `MOST_SESSIONS` the one that was used longest ago is forgotten.

    Args:
        scratch: where files lie.
    """

    def __init__(self, scratch: Scratch) -> None:
        self._scratch = scratch
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._lock = Lock()

    def add(self, files: Sequence[tuple[str, BinaryIO]], expiry: int) -> Session:
        """Store files.

        Raises:
            Refusal: the disk is full.
        """
        folder = self._scratch.make()
        try:
            names = store_files(files, folder / INPUT)
        except BaseException:
            remove_folder(folder)
            raise
        now = int(time.time())
        session = Session(
            secrets.token_hex(12), names[0], folder, now, now, min(expiry, LONGEST) if expiry > 0 else LONGEST
        )
        with self._lock:
            self._sessions[session.id] = session
        self._forget_old()
        return session

    def find(self, name: str) -> Session:
        """The session of an id, which counts as used.

        Raises:
            Refusal: 404.
        """
        self._forget_old()
        with self._lock:
            session = self._sessions.pop(name, None)
            if session is None:
                raise Refusal(404, "there is no such session, or no more; send the image again")
            self._sessions[name] = replace(session, used=int(time.time()))
            return self._sessions[name]

    def remove(self, name: str) -> Session:
        """Forget a session and its files.

        Raises:
            Refusal: 404.
        """
        session = self.find(name)
        self._drop([session])
        return session

    def _forget_old(self) -> None:
        now = time.time()
        with self._lock:
            known = [*self._sessions.values()]
        old = [each for each in known if now - each.used > each.expiry]
        self._drop([*old, *known[: max(0, len(known) - MOST_SESSIONS)]])

    def _drop(self, sessions: Sequence[Session]) -> None:
        for session in sessions:
            with self._lock:
                self._sessions.pop(session.id, None)
            remove_folder(session.folder)
