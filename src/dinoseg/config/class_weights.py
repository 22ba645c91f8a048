"""How much each class counts in the loss: a list in the order of the classes, or some of them by name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator

from dinoseg.errors import ConfigError


def _read(value: Any) -> tuple[float, ...] | dict[str, float]:
    # One message for both forms; pydantic's own would have a line for each.
    if isinstance(value, Mapping) and value:
        return {str(name): _read_weight(weight) for name, weight in value.items()}
    if isinstance(value, (list, tuple)):
        return tuple(_read_weight(weight) for weight in value)
    raise ValueError("give a list of weights, that of the background first, or {name: weight}")


def _read_weight(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"a weight is a number above 0, not {value!r}")
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"a weight is a number above 0, not {value:g}")
    return float(value)


ClassWeights = Annotated[tuple[float, ...] | dict[str, float], BeforeValidator(_read)]


def list_weights(
    weights: tuple[float, ...] | dict[str, float] | None, classes: Mapping[int, str]
) -> tuple[float, ...] | None:
    """One weight per class, in the order of their ids; None where none are set.

    Args:
        weights: as set; by name, what is not named weighs 1.
        classes: id -> name, 0 is the background.

    Raises:
        ConfigError: another number of weights than of classes, or a name that is no class.
    """
    if weights is None:
        return None
    names = list(classes.values())
    if isinstance(weights, tuple):
        if len(weights) != len(names):
            raise ConfigError(
                f"setting 'train.class_weights' has {len(weights)} weights, and the data "
                f"{len(names)} classes: {', '.join(names)}; give one for each, in this order"
            )
        return weights
    unknown = [name for name in weights if name not in names]
    if unknown:
        raise ConfigError(
            f"setting 'train.class_weights' names {unknown[0]!r}; "
            f"the classes of the data are {', '.join(names)}"
        )
    return tuple(weights.get(name, 1.0) for name in names)
