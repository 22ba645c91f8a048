"""What Lightning does to the process around it, kept from whoever calls `train()`."""

from __future__ import annotations

import logging
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException

T = TypeVar("T")
EXPECTED_WARNINGS = (
    r".*treespec, LeafSpec.* is deprecated",  # within Lightning, about torch
    r"Checkpoint directory .* exists and is not empty",  # that is what resuming means
)


@contextmanager
def isolated() -> Iterator[None]:
    """Give back torch's global state as it was: Lightning and the epochs' seeds change it."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    mode: Any = torch.utils.deterministic  # its one setting is unknown to type checkers
    fill = mode.fill_uninitialized_memory
    # Else torch's deterministic mode writes NaN into every new tensor before its values come.
    mode.fill_uninitialized_memory = False
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            yield
    finally:
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        torch.backends.cudnn.benchmark = benchmark
        mode.fill_uninitialized_memory = fill


def call_quietly(call: Callable[..., T], *arguments: Any, **keywords: Any) -> T:
    """Call Lightning without its tips and the warnings that say nothing here."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for message in EXPECTED_WARNINGS:
                warnings.filterwarnings("ignore", message=message)
            return call(*arguments, **keywords)
    finally:
        logger.setLevel(level)


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM be a KeyboardInterrupt, and Ctrl-C work again afterwards.

    Lightning ends the process instead, after SIGTERM even as if all were done. Libraries in C turn
    a KeyboardInterrupt that comes while they call Python into an error of their own.
    """
    handler = signal.getsignal(signal.SIGINT)
    pressed = False

    def interrupt(*_: object) -> None:
        nonlocal pressed
        pressed = True
        raise KeyboardInterrupt

    # Signals are the main thread's; whoever has a handler of their own keeps it.
    in_main = threading.current_thread() is threading.main_thread() and handler is not None
    if in_main and handler is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    except (Exception, SystemExit) as error:
        if pressed or isinstance(error, SIGTERMException) or isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        raise
    finally:
        if in_main:
            signal.signal(signal.SIGINT, handler)
