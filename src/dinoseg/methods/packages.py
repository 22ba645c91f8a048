"""Methods that installed packages offer, as entry points of the group `dinoseg.methods`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

from dinoseg.errors import ConfigError
from dinoseg.methods.card import Card, explain

GROUP = "dinoseg.methods"


@dataclass(frozen=True)
class Offer:
    """An entry point: `name = "module:CARD"` of a package."""

    name: str
    package: str
    entry: EntryPoint

    def __str__(self) -> str:
        return f"method {self.name!r} of the installed package {self.package} ({self.entry.value})"

    def open(self) -> Card:
        """Import the card.

        Raises:
            ConfigError: that fails, or it is no card of this name.
        """
        try:
            card = self.entry.load()
        except Exception as error:  # importing somebody else's module raises whatever it raises
            raise ConfigError(
                f"{self} cannot be imported: {explain(error)}; repair or uninstall it"
            ) from error
        if not isinstance(card, Card):
            raise ConfigError(f"{self} is a {type(card).__name__}; accepted is a dinoseg.methods.Card")
        if card.name != self.name:
            raise ConfigError(f"{self} is the card of {card.name!r}; the entry point must have that name")
        return card


def list_offers() -> Mapping[str, list[Offer]]:
    """Name -> what packages offer under it; nothing is imported."""
    offers: dict[str, list[Offer]] = {}
    for entry in entry_points(group=GROUP):
        package = entry.dist.name if entry.dist else "?"
        offers.setdefault(entry.name, []).append(Offer(entry.name, package, entry))
    return offers
