"""Classes that can be painted: their colours, and what is accepted as one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set

from dinoseg.errors import UsageError
from dinoseg.teaching.records import ClassName
from dinoseg.teaching.strokes import MOST_CLASSES

#: Told apart by people who see colours in another way as well.
COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#999999")
_COLOUR = re.compile(r"#[0-9a-f]{6}")
_LONGEST_NAME = 60


class ClassInUseError(UsageError):
    """A class that was painted was to vanish."""


def name_classes(names: Mapping[int, str]) -> list[ClassName]:
    """Classes of these ids and names, with a colour each."""
    return [ClassName(id_, name, COLOURS[(id_ - 1) % len(COLOURS)]) for id_, name in names.items()]


def check_classes(classes: Sequence[ClassName]) -> None:
    """Raise unless classes can be kept.

    Raises:
        UsageError: a name, colour or id is not accepted, or there twice.
    """
    names = [each.name for each in classes]
    if not classes or len({each.id for each in classes}) < len(classes) or len(set(names)) < len(names):
        raise UsageError("classes need ids and names of their own, and there is at least one")
    for each in classes:
        if not 1 <= each.id <= MOST_CLASSES:
            raise UsageError(f"class {each.id} is not accepted; ids are 1 to {MOST_CLASSES}")
        if not 0 < len(each.name.strip()) <= _LONGEST_NAME:
            raise UsageError(f"the name of class {each.id} needs 1 to {_LONGEST_NAME} characters")
        if not _COLOUR.fullmatch(each.colour.lower()):
            raise UsageError(f"the colour {each.colour[:20]!r} is not accepted; give one such as #e69f00")


def refuse_vanishing(now: Sequence[ClassName], wanted: Sequence[ClassName], used: Set[int]) -> None:
    """Refuse to take away a class that was painted.

    Raises:
        ClassInUseError: one of the `used` ids is not among the wanted ones.
    """
    missing = used - {each.id for each in wanted}
    if missing:
        name = next((each.name for each in now if each.id in missing), str(min(missing)))
        raise ClassInUseError(
            f"class {name} cannot vanish: strokes or masks of it are there; undo them first"
        )
