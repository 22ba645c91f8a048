"""What Lightning does to the process around it, kept from whoever calls `train()`."""

from __future__ import annotations

import logging
import random
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch

from dinoseg.outputs import fail

T = TypeVar("T")
EXPECTED_WARNINGS = (
    r".*treespec, LeafSpec.* is deprecated",  # within Lightning, about torch
    r"Checkpoint directory .* exists and is not empty",  # that is what resuming means
)


@contextmanager
def isolated(device: str) -> Iterator[None]:
    """Let torch take deterministic ways on the CPU, and give back its global state as it was.

    Args:
        device: what computes; on others than "cpu" deterministic ways are slow, or there is none.
    """
    deterministic = torch.get_deterministic_debug_mode()
    benchmark, threads = torch.backends.cudnn.benchmark, torch.get_num_threads()
    mode: Any = torch.utils.deterministic  # its one setting is unknown to type checkers
    fill = mode.fill_uninitialized_memory
    # Else torch's deterministic mode writes NaN into every new tensor before its values come.
    mode.fill_uninitialized_memory = False
    # Not left to Lightning, which sets an environment variable as well; and not by
    # use_deterministic_algorithms, which loads torch's compiler (a second) to tell it.
    torch.set_deterministic_debug_mode("error" if device == "cpu" else "default")
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            yield
    finally:
        torch.set_deterministic_debug_mode(deterministic)
        torch.backends.cudnn.benchmark = benchmark
        mode.fill_uninitialized_memory = fill
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)


@contextmanager
def importing() -> Iterator[None]:
    """Import Lightning without its warning filters, and without the random numbers that it draws."""
    numbers = random.getstate()
    try:
        with warnings.catch_warnings():
            yield
    finally:
        random.setstate(numbers)


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
def explaining_logs(folder: Path) -> Iterator[None]:
    """Let a log that cannot be written be an error of ours; TensorBoard's thread would print a traceback.

    Raises:
        OutputError: the disk is full, or `folder` is not writable.
    """
    hook = threading.excepthook

    def say(arguments: threading.ExceptHookArgs) -> None:
        if not isinstance(arguments.exc_value, OSError):
            hook(arguments)

    threading.excepthook = say
    try:
        yield
    except OSError as error:
        if error.errno is None:  # none of a disk's
            raise
        raise fail(f"{folder} could not be written", error) from error
    finally:
        threading.excepthook = hook


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM be a KeyboardInterrupt, and Ctrl-C work again afterwards.

    Lightning ends the process instead, after SIGTERM even as if all were done. Libraries in C turn
    a KeyboardInterrupt that comes while they call Python into an error of their own.
    """
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    handler, pressed = handlers[signal.SIGINT], False

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
        if pressed or isinstance(error.__context__, KeyboardInterrupt) or _is_sigterm(error):
            raise KeyboardInterrupt from error
        raise
    finally:
        if in_main:
            _give_back(handlers)


def _give_back(handlers: Mapping[signal.Signals, Any]) -> None:
    """Install handlers again; None is one that is not Python's, and cannot be."""
    for number, handler in handlers.items():
        if handler is not None and signal.getsignal(number) is not handler:
            signal.signal(number, handler)


def _is_sigterm(error: BaseException) -> bool:
    """Whether this is how Lightning ends a process that was told to."""
    if not isinstance(error, SystemExit):
        return False
    from lightning.pytorch.utilities.exceptions import SIGTERMException

    return isinstance(error, SIGTERMException)
