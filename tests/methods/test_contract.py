"""Every method of ours keeps the contract, on every kind of backbone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dinoseg.methods import METHODS, decoder_settings
from tests.methods.contract import (
    KINDS,
    PROMISES,
    Subject,
    traced_graph_gives_the_same_logits_and_leaves_the_decoder_usable,
)
from tests.methods.small import INERT, SMALL


def make_subject(method: str) -> Subject:
    return Subject(decoder_settings(method, **SMALL[method]), INERT.get(method, "(?!)"))


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", METHODS.ours)
def test_method_keeps(method: str, kind: str, promise: Callable[[Subject, str], None]) -> None:
    promise(make_subject(method), kind)


@pytest.mark.parametrize("method", METHODS.ours)
def test_graph_is_traced(method: str) -> None:
    traced_graph_gives_the_same_logits_and_leaves_the_decoder_usable(make_subject(method), "vit")


def test_graph_is_traced_where_the_image_takes_part() -> None:
    """Other strides and an odd size."""
    traced_graph_gives_the_same_logits_and_leaves_the_decoder_usable(
        make_subject("dino-unet"), "convnext", (83, 45)
    )
