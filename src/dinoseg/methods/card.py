"""`Card`: all that is known of a method without torch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from dinoseg.config import Decision, DecoderSettings, TrainSettings, validate
from dinoseg.errors import ConfigError

if TYPE_CHECKING:
    from dinoseg.methods.decoder import Decoder

NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
PLACE = re.compile(r"\w+(\.\w+)*:\w+")


@dataclass(frozen=True, kw_only=True)
class Card:
    """A method: what it is called, how it is set and trained, and where its network is.

    Attributes:
        name: lower case, with a dash where the paper has a break, such as "segdino-v2".
        title: one line that says what it is.
        source: paper, such as "arXiv 2509.00833".
        settings: the options of its decoder; `method` has the card's name as default.
        recipe: how it was trained as published, the preset `paper`.
        decoder: "module:Class" of the network, imported when one is made.
        size: published side of the input, px.
        scales: further input sizes beside it, relative to it; the first is 1.
        symmetries: of the square, 1, 2, 4 or 8, over which its predictions are averaged where the training
            shows such turns.
        decision: how its probabilities become the masks of images, see `model.decision`.
        published: whether a paper has trained it; where none has, recipe, size and scales are ours, and
            those of the preset `default` as well.
        backbone: catalog name of a backbone that it was published on.

    Raises:
        ConfigError: the name is no such word, the settings are another method's, or `decoder`
            names no class.
    """

    name: str
    title: str
    source: str
    settings: type[DecoderSettings]
    recipe: TrainSettings
    decoder: str
    size: int = 256
    scales: tuple[float, ...] = (1.0,)
    symmetries: Literal[1, 2, 4, 8] = 1
    decision: Decision = "probable"
    published: bool = True
    backbone: str = "dinov3_vits16"

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ConfigError(f"method {self.name!r} is no name; accepted: a-z, 0-9 and single dashes")
        if not (isinstance(self.settings, type) and issubclass(self.settings, DecoderSettings)):
            raise ConfigError(f"settings of method {self.name!r} are no subclass of DecoderSettings")
        theirs = self.settings.model_fields["method"].default
        if theirs != self.name:
            raise ConfigError(
                f"settings of method {self.name!r} are for {theirs!r}; "
                f'write method: Literal["{self.name}"] = "{self.name}" into {self.settings.__name__}'
            )
        if not PLACE.fullmatch(self.decoder):
            raise ConfigError(f"decoder of method {self.name!r} is {self.decoder!r}; accepted: module:Class")

    def configure(self, **changes: Any) -> DecoderSettings:
        """Settings of the decoder with the published widths, changed by keyword.

        Raises:
            ConfigError: an option is unknown or has a value that is not accepted.
        """
        return validate(self.settings, changes)

    def load_decoder(self) -> type[Decoder]:
        """The class of the network; imports torch.

        Raises:
            ConfigError: it cannot be imported.
        """
        module, _, name = self.decoder.partition(":")
        try:
            decoder: type[Decoder] = getattr(import_module(module), name)
        except Exception as error:  # importing somebody else's module raises whatever it raises
            raise ConfigError(
                f"decoder {self.decoder} of method {self.name!r} cannot be imported: {explain(error)}"
            ) from error
        return decoder


def explain(error: Exception) -> str:
    """Kind and message of an error in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())
