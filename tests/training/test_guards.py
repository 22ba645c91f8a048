"""Lightning leaves no traces in the process, and hides nothing that matters."""

from __future__ import annotations

import logging
import signal
import sys
import warnings
from typing import Any

import pytest
import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException

from dinoseg.backbones.features import Features
from dinoseg.training.features.jobs import compute_on
from dinoseg.training.learning.guards import call_quietly, interruptible, isolated


def end_process(error: BaseException | None, code: int) -> None:
    """As Lightning does when training is interrupted."""
    try:
        if error is not None:
            raise error
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        sys.exit(code)
    sys.exit(code)


def test_ctrl_c_stays_an_interruption_and_works_again() -> None:
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), interruptible():
        end_process(KeyboardInterrupt(), 1)
    assert signal.getsignal(signal.SIGINT) is handler


def test_any_other_end_of_the_process_is_one() -> None:
    with pytest.raises(SystemExit) as caught, interruptible():
        end_process(None, 7)
    assert caught.value.code == 7


def press_ctrl_c_within_c() -> None:
    """As safetensors does, when it calls torch while the key is pressed."""
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        raise ValueError("could not determine the shape of an object") from None


def test_ctrl_c_within_a_library_in_c_stays_an_interruption() -> None:
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt) as caught, interruptible():
        press_ctrl_c_within_c()
    assert isinstance(caught.value.__cause__, ValueError)
    assert signal.getsignal(signal.SIGINT) is handler


def test_an_error_without_ctrl_c_stays_itself() -> None:
    with pytest.raises(ValueError, match="really wrong"), interruptible():
        raise ValueError("really wrong")


def test_sigterm_is_no_success() -> None:
    with pytest.raises(KeyboardInterrupt), interruptible():
        raise SIGTERMException


def test_a_handler_of_the_callers_is_kept() -> None:
    def own(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGINT, own)
    try:
        with pytest.raises(TimeoutError), interruptible():
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is own
    finally:
        signal.signal(signal.SIGINT, before)


def change_everything() -> None:
    torch.manual_seed(3)
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = True
    torch.utils.deterministic.fill_uninitialized_memory = False


def test_global_state_is_given_back_after_success_and_failure() -> None:
    def state() -> tuple[Any, ...]:
        flags = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
        return (*flags, torch.utils.deterministic.fill_uninitialized_memory, torch.get_rng_state().tolist())

    before = state()
    with isolated("cpu"):
        change_everything()
        assert state() != before
    assert state() == before
    with pytest.raises(ValueError, match="inside"), isolated("cpu"):
        raise ValueError(change_everything() or "inside")
    assert state() == before


def test_new_tensors_are_not_filled_before_their_values_come() -> None:
    assert torch.utils.deterministic.fill_uninitialized_memory  # torch's default
    with isolated("cpu"):
        assert not torch.utils.deterministic.fill_uninitialized_memory


def test_expected_warnings_are_dropped_and_others_shown() -> None:
    def warn(message: str) -> str:
        warnings.warn(message, stacklevel=1)
        return "done"

    assert call_quietly(warn, "Checkpoint directory runs/a exists and is not empty.") == "done"
    with pytest.warns(UserWarning, match="something else"):
        call_quietly(warn, "something else")


def test_tips_are_dropped_for_the_time_of_the_call() -> None:
    logger = logging.getLogger("lightning.pytorch")
    before = logger.level
    during = call_quietly(lambda: (logger.isEnabledFor(logging.INFO), logger.isEnabledFor(logging.WARNING)))
    assert during == (False, True)
    assert logger.level == before


def test_features_are_computed_where_the_model_is() -> None:
    """The bank gives pixels on the CPU and stores what comes back from any device."""
    seen = []

    def backbone(pixels: torch.Tensor) -> Features:
        seen.append(pixels.device)
        return Features((torch.ones(1, 2, 1, 1),), (16,), (16, 16), (16, 16))

    features = compute_on("meta", backbone)(torch.zeros(1, 3, 16, 16))
    assert seen == [torch.device("meta")]
    assert features.levels[0].device == torch.device("cpu")
