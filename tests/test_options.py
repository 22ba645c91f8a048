from __future__ import annotations

from dataclasses import dataclass

import pytest

from dinoseg.config.options import choose_options
from dinoseg.errors import UsageError


@dataclass(frozen=True)
class Tea:
    minutes: int = 3
    sugar: bool = False

    def __post_init__(self) -> None:
        if self.minutes < 1:
            raise UsageError(f"minutes are at least 1, given {self.minutes}")


def test_options_are_the_defaults_or_the_given_ones_with_single_ones_replaced() -> None:
    assert choose_options(Tea, None, {}) == Tea()
    assert choose_options(Tea, None, {"minutes": 5}) == Tea(minutes=5)
    assert choose_options(Tea, Tea(minutes=5), {"sugar": True}) == Tea(minutes=5, sugar=True)


def test_unknown_name_is_told_with_a_guess_and_all_that_is_accepted() -> None:
    with pytest.raises(UsageError, match=r"^minute is no option, did you mean minutes\?; accepted are "):
        choose_options(Tea, None, {"minute": 5})
    with pytest.raises(UsageError, match=r"^milk is no option; accepted are minutes, sugar$"):
        choose_options(Tea, Tea(), {"milk": True})


def test_name_that_belongs_elsewhere_says_where() -> None:
    with pytest.raises(UsageError, match=r"^cup belongs to the cupboard$"):
        choose_options(Tea, None, {"cup": 1}, elsewhere={"cup": "belongs to the cupboard"})


def test_values_and_kinds_are_checked() -> None:
    with pytest.raises(UsageError, match="at least 1, given 0"):
        choose_options(Tea, Tea(sugar=True), {"minutes": 0})
    with pytest.raises(UsageError, match=r"how takes Tea\(...\), given dict"):
        choose_options(Tea, {"minutes": 5}, {})
