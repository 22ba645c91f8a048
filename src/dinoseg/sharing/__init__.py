"""Models that travel: pushed to a hub or a folder, pulled from there, named by their address."""

from __future__ import annotations

from dinoseg.sharing.address import HubAddress, parse_address
from dinoseg.sharing.pulling import Pulled, pull, resolve
from dinoseg.sharing.pushing import Pushed, push

__all__ = ["HubAddress", "Pulled", "Pushed", "parse_address", "pull", "push", "resolve"]
