"""`Catalog`: the cards of all methods by name, wherever they come from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dinoseg.errors import ConfigError
from dinoseg.methods.card import Card
from dinoseg.methods.packages import Offer, list_offers


class Catalog(Mapping[str, Card]):
    """Cards by name: ours, then those that were registered, then those of installed packages.

    Packages are looked through when a name is not known yet or all are listed, and imported
    when their method is asked for. One that is broken is left out, see `find_problems`.
    """

    def __init__(self, *ours: Card) -> None:
        self._ours = {card.name: card for card in ours}
        self._registered: dict[str, Card] = {}
        self._opened: dict[str, Card] = {}

    def __getitem__(self, name: str) -> Card:
        known = self._ours | self._opened | self._registered
        if name in known:
            return known[name]
        try:
            card = _choose(name, list_offers()).open()
        except ConfigError as error:
            raise KeyError(name) from error
        self._opened[name] = card
        return card

    def __iter__(self) -> Iterator[str]:
        yield from self._ours
        yield from self._registered
        others = sorted({*list_offers()} - {*self._ours, *self._registered})
        yield from (name for name in others if name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    @property
    def ours(self) -> Mapping[str, Card]:
        """The methods that dinoseg itself brings."""
        return self._ours

    def register(self, card: Card) -> None:
        """Add a card by hand.

        Raises:
            ConfigError: the name is that of another method, of ours or of an installed package.
        """
        if self._registered.get(card.name) == card:
            return
        if self._ours.get(card.name, card) != card:
            raise ConfigError(f"method {card.name!r} is dinoseg's own; give the card another name")
        offered = self._read_offered(card.name)
        if offered is not None and offered != card:
            raise ConfigError(
                f"method {card.name!r} is that of the installed package {self.find_package(card.name)}, "
                "and the card given is another; give it another name, or uninstall the package"
            )
        if card.name not in self._ours:
            self._registered[card.name] = card

    def find_package(self, name: str) -> str | None:
        """The installed package that offers a method; None for ours, and those registered by hand."""
        offered = None if name in self._ours else self._read_offered(name)
        return None if offered is None else _choose(name, list_offers()).package

    def find_problems(self) -> dict[str, str]:
        """Name -> one line that says why the method that a package offers is not in the catalog."""
        problems, offers = {}, list_offers()
        for name in sorted(offers):
            try:
                if name in self._ours:
                    raise ConfigError(f"{offers[name][0]} is left out: dinoseg has a method of that name")
                _choose(name, offers).open()
            except ConfigError as error:
                problems[name] = str(error)
        return problems

    def _read_offered(self, name: str) -> Card | None:
        """The card that installed packages offer under a name; None if there is none that works."""
        try:
            return _choose(name, list_offers()).open()
        except (KeyError, ConfigError):
            return None


def _choose(name: str, offers: Mapping[str, list[Offer]]) -> Offer:
    found = offers[name]
    if len(found) > 1:
        packages = ", ".join(sorted(offer.package for offer in found))
        raise ConfigError(
            f"method {name!r} is offered by several packages ({packages}); uninstall all but one"
        )
    return found[0]
