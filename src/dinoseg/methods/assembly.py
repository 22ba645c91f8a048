"""From settings to a decoder with fresh weights."""

from __future__ import annotations

from collections.abc import Sequence

from dinoseg.config import DecoderSettings
from dinoseg.errors import ConfigError
from dinoseg.methods import find_method
from dinoseg.methods.decoder import Decoder


def create_decoder(settings: DecoderSettings, channels: Sequence[int], outputs: int) -> Decoder:
    """The decoder of a method with fresh weights from the global torch seed.

    Args:
        settings: of the method's decoder.
        channels: widths C_i of the backbone's maps.
        outputs: K, channels of the logits.

    Raises:
        ConfigError: the method is unknown, or reads another number of maps.
    """
    decoder = find_method(settings.method).load_decoder()
    if decoder.levels is not None and len(channels) != decoder.levels:
        raise ConfigError(
            f"{settings.method} reads {decoder.levels} layers of the backbone, given {len(channels)}; "
            f"name {decoder.levels} with --set model.backbone.layers=[...]"
        )
    return decoder(channels, outputs, **settings.model_dump(exclude={"method"}))
