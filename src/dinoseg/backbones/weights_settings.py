"""Where weights are kept and how the hub is reached: the environment variables, read in one place."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

HUB = "https://huggingface.co"


@dataclass(frozen=True)
class WeightsSettings:
    """Places and permissions for finding weights.

    Attributes:
        home: dinoseg's own folder (`DINOSEG_HOME`, else `~/.cache/dinoseg`).
        hub_cache: the Hugging Face cache (`HF_HUB_CACHE`, `HF_HOME/hub`, else `~/.cache/huggingface/hub`).
        endpoint: the hub (`HF_ENDPOINT`, else huggingface.co), without a trailing slash.
        token: access token (`HF_TOKEN`, else the one that `hf auth login` stored), sent to
            gated repositories only.
        offline: `HF_HUB_OFFLINE` is set: nothing is fetched.
    """

    home: Path
    hub_cache: Path
    endpoint: str
    token: str | None
    offline: bool

    @property
    def weights(self) -> Path:
        """The folder with one subfolder per backbone."""
        return self.home / "weights"


def read_settings() -> WeightsSettings:
    """Read the settings from the environment as it is now."""
    hub_home = _folder("HF_HOME", Path.home() / ".cache" / "huggingface")
    return WeightsSettings(
        home=_folder("DINOSEG_HOME", Path.home() / ".cache" / "dinoseg"),
        hub_cache=_folder("HF_HUB_CACHE", hub_home / "hub"),
        endpoint=(os.environ.get("HF_ENDPOINT") or HUB).rstrip("/"),
        token=os.environ.get("HF_TOKEN") or _stored_token(hub_home),
        offline=os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"),
    )


def _folder(variable: str, default: Path) -> Path:
    value = os.environ.get(variable)
    return Path(value).expanduser() if value else default


def _stored_token(hub_home: Path) -> str | None:
    try:
        return (hub_home / "token").read_text(encoding="utf-8").strip() or None
    except OSError:
        return None
