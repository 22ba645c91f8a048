"""What keeps a checkpoint from being loaded completely, in the names of the released program."""

from __future__ import annotations

from dataclasses import dataclass

from dinoseg.backbones.keys import name_some
from dinoseg.methods.decoder import Decoder
from dinoseg.releases.names import Parts, released_name
from dinoseg.releases.tensors import is_finite


@dataclass(frozen=True)
class Misfits:
    """Names of tensors that do not fit.

    Attributes:
        total: how many tensors the decoder has.
        missing: of the decoder, not in the checkpoint.
        unexpected: in the checkpoint, of no known part.
        reshaped: of another shape, which is said behind the name.
        unclean: with numbers that are not finite in float32.
        retyped: whole numbers instead of floats, or the other way round.
    """

    total: int
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    reshaped: tuple[str, ...]
    unclean: tuple[str, ...]
    retyped: tuple[str, ...] = ()

    def describe(self) -> str:
        """One clause for each kind, with the count and the first names; empty if everything fits."""
        kinds = {
            f"of {self.total} tensors are missing": self.missing,
            "are unexpected": self.unexpected,
            "have another shape": self.reshaped,
            "hold numbers that are not finite": self.unclean,
            "hold another kind of number": self.retyped,
        }
        return "; ".join(
            f"{len(names)} {kind} ({name_some(names)})" for kind, names in kinds.items() if names
        )


def find_misfits(parts: Parts, expected: Decoder, *, names_only: bool = False) -> Misfits:
    """Compare the decoder of a checkpoint with the one that is needed.

    Args:
        parts: what the checkpoint holds.
        expected: has the names and shapes that are needed.
        names_only: the widths and options of `expected` are not those of the checkpoint.
    """
    given, needed, kind = parts.decoder, expected.state_dict(), type(expected)
    missing = tuple(released_name(name, kind) for name in needed if name not in given)
    if names_only:
        return Misfits(len(needed), missing, parts.unknown, (), ())
    known = [name for name in needed if name in given]
    return Misfits(
        total=len(needed),
        missing=missing,
        unexpected=(*(released_name(name, kind) for name in given if name not in needed), *parts.unknown),
        reshaped=tuple(
            f"{released_name(name, kind)}: {tuple(given[name].shape)}, needed {tuple(needed[name].shape)}"
            for name in known
            if given[name].shape != needed[name].shape
        ),
        unclean=tuple(released_name(name, kind) for name in known if not is_finite(given[name])),
        retyped=tuple(
            f"{released_name(name, kind)}: {str(given[name].dtype).removeprefix('torch.')}"
            for name in known
            if given[name].is_floating_point() != needed[name].is_floating_point()
        ),
    )
