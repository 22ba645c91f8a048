"""Methods: a folder each, of a torch-free card and a network `Decoder(features, image) -> logits`.

`METHODS` has the cards by name: those listed here, those that installed packages offer as entry
points of the group `dinoseg.methods`, and those that were given to `register`.
"""

from __future__ import annotations

from typing import Any

from dinoseg.config import DecoderSettings, suggest
from dinoseg.errors import ConfigError
from dinoseg.methods.card import Card
from dinoseg.methods.catalog import Catalog
from dinoseg.methods.dino_augseg.card import CARD as DINO_AUGSEG
from dinoseg.methods.dino_unet.card import CARD as DINO_UNET
from dinoseg.methods.guided.card import CARD as GUIDED
from dinoseg.methods.linear.card import CARD as LINEAR
from dinoseg.methods.segdino_v1.card import CARD as SEGDINO_V1
from dinoseg.methods.segdino_v2.card import CARD as SEGDINO_V2

__all__ = ["METHODS", "Card", "decoder_settings", "find_method", "register"]

METHODS = Catalog(
    SEGDINO_V1,
    SEGDINO_V2,
    DINO_UNET,
    DINO_AUGSEG,
    LINEAR,
    GUIDED,
)


def register(card: Card) -> None:
    """Make a method of your own known to this process, under its card's name.

    Needed before `load` where the method is in no installed package; `train(..., method=card)`
    does it by itself. A card of the same name that was registered before is replaced.

    Raises:
        ConfigError: the name is that of another method, of ours or of an installed package.
    """
    METHODS.register(card)


def find_method(method: str | Card) -> Card:
    """The card of a name, or the card itself, which is registered.

    Raises:
        ConfigError: the name is unknown, its package is broken, or the card's name is taken.
    """
    if isinstance(method, Card):
        register(method)
        return method
    if card := METHODS.get(method):
        return card
    if problem := METHODS.find_problems().get(method):
        raise ConfigError(problem)
    raise ConfigError(
        f"method {method!r} is unknown{suggest(str(method), METHODS)}; accepted: {', '.join(METHODS)}"
    )


def decoder_settings(method: str | Card, **changes: Any) -> DecoderSettings:
    """Settings of a method's decoder with the published widths, changed by keyword.

    Raises:
        ConfigError: the method or an option is unknown, or a value is not accepted.
    """
    return find_method(method).configure(**changes)
