"""Where a model lies: `hf://owner/name@revision`, `file:///folder`, or a folder."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from dinoseg.errors import UsageError

ACCEPTED = "accepted are hf://OWNER/NAME, hf://OWNER/NAME@REVISION, file:///FOLDER and a folder"
# A path folds two slashes into one, and a command line hands over paths.
_HUB = re.compile(r"hf:/{1,2}(?P<rest>.*)", re.DOTALL)
_FILE = re.compile(r"file:/{1,3}(?P<rest>.*)", re.DOTALL)
_NAME = re.compile(
    r"(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@(?P<revision>[A-Za-z0-9][\w./-]*))?", re.ASCII
)


@dataclass(frozen=True)
class HubAddress:
    """A model on the hub.

    Attributes:
        repo: `owner/name`.
        revision: a branch, a tag or a commit; `main` if none was named.
    """

    repo: str
    revision: str = "main"

    def __str__(self) -> str:
        return f"hf://{self.repo}@{self.revision}"


def parse_address(text: str | Path) -> HubAddress | Path:
    """An address as it was written; what names no scheme is a folder.

    Raises:
        UsageError: it begins like an address and is none.
    """
    if found := _HUB.fullmatch(str(text)):
        return parse_name(found["rest"])
    if found := _FILE.fullmatch(str(text)):
        if not found["rest"]:
            raise UsageError(f"{text} names no folder; {ACCEPTED}")
        return Path("/" + unquote(found["rest"]))
    return Path(text)


def parse_name(text: str) -> HubAddress:
    """`owner/name` or `owner/name@revision`.

    Raises:
        UsageError: it is neither.
    """
    found = _NAME.fullmatch(text)
    if found is None or ".." in text:
        raise UsageError(f"{text!r} is no OWNER/NAME or OWNER/NAME@REVISION of a hub; {ACCEPTED}")
    return HubAddress(found["repo"], found["revision"] or "main")


def parse_destination(text: str | Path) -> HubAddress | Path:
    """Where to push to: like an address, but a bare `owner/name` is one of the hub.

    A folder begins with `/`, `./`, `../`, `~` or `file://`.
    """
    words = str(text)
    if words.startswith(("hf:", "file:")):
        return parse_address(words)
    if words.startswith(("/", ".", "~")) or (len(words) > 1 and words[1] == ":"):
        return Path(words).expanduser()
    return parse_name(words)
