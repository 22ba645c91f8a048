"""The released programs' names of tensors, and ours."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import torch

from dinoseg.errors import RunError
from dinoseg.methods.decoder import Decoder
from dinoseg.releases.checkpoints import State


@dataclass(frozen=True)
class Parts:
    """The tensors of a checkpoint by what they belong to.

    Attributes:
        decoder: under our names.
        backbone: under the names of the backbone's own layout; empty if the checkpoint has none.
        unknown: names of the rest.
    """

    decoder: State
    backbone: State
    unknown: tuple[str, ...]


def sort_tensors(state: State, decoder: type[Decoder], *, source: str) -> Parts:
    """Sort the tensors of a checkpoint of `decoder`'s released program.

    Raises:
        RunError: a tensor that is saved under two names is not the same under both.
    """
    ours = {theirs: mine for mine, theirs in decoder.released.items()}
    renamed, backbone, unknown = State(), State(), []
    for name, tensor in _merge_twins(state, decoder.released_twins, source).items():
        prefix = _find_prefix(name, ours)
        if name.startswith(decoder.released_backbone):
            backbone[name.removeprefix(decoder.released_backbone)] = tensor
        elif prefix is not None:
            renamed[ours[prefix] + name.removeprefix(prefix)] = tensor
        elif not any(re.fullmatch(pattern, name) for pattern in decoder.released_unused):
            unknown.append(name)
    return Parts(renamed, backbone, tuple(unknown))


def released_name(name: str, decoder: type[Decoder]) -> str:
    """Our name of a tensor as the released program calls it."""
    prefix = _find_prefix(name, decoder.released)
    return name if prefix is None else decoder.released[prefix] + name.removeprefix(prefix)


def guess_method(names: Iterable[str], decoders: Mapping[str, type[Decoder]]) -> str | None:
    """The method whose released program has the most of these names for its decoder; None if none has any."""
    given = list(names)
    counts = {
        method: sum(_find_prefix(name, decoder.released.values()) is not None for name in given)
        for method, decoder in decoders.items()
    }
    best = max(counts, key=lambda method: counts[method])
    return best if counts[best] else None


def _merge_twins(state: State, twins: Mapping[str, str], source: str) -> State:
    """Every tensor under its first name only; the file may hold both names, or either."""
    merged = dict(state)
    for pattern, replacement in twins.items():
        for name in [name for name in merged if re.fullmatch(pattern, name)]:
            tensor, main = merged.pop(name), re.sub(pattern, replacement, name)
            if not torch.equal(merged.setdefault(main, tensor), tensor):
                raise RunError(f"{source}: {name} differs from {main}, which it should repeat")
    return merged


def _find_prefix(name: str, prefixes: Collection[str]) -> str | None:
    return next((prefix for prefix in prefixes if name == prefix or name.startswith(f"{prefix}.")), None)
