"""Signals that end a process: what it started ends with it, soon, whoever else takes SIGTERM and SIGINT.

Ray sets handlers of its own for both.  With those of its caller a run that is cancelled or interrupted leaves
its blocks one after the other.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TypeVar

import psutil

T = TypeVar("T")

_ENDING = (signal.SIGTERM, signal.SIGINT)
_LOOK_EVERY = 0.5  # seconds
_GRACE = 10.0  # seconds from the signal to the end: Ray takes about five

_SAID = b"\ncmh: ending; what is finished stays, and the same command goes on from there\n"
_received: list[int] = []
_ours: set[signal.Signals] = set()


def end_soon() -> None:
    """Let Ctrl-C and SIGTERM end this program: by KeyboardInterrupt, and after a while by force."""
    for number in _ENDING:
        signal.signal(number, _end)
        _ours.add(number)


def take_back() -> None:
    """Set the handlers of `end_soon` again, in a program that called it, where a library has set its own.

    A flow of Prefect takes SIGTERM to tell its server, and goes on asking where that has ended as well.
    """
    if threading.current_thread() is threading.main_thread():
        for number in _ours:
            signal.signal(number, _end)


def status() -> int:
    """Return the exit status of a program that was told to end, 0 of another."""
    return 128 + _received[0] if _received else 0


def _end(number: int, _: FrameType | None) -> None:
    if not _received:
        os.write(2, _SAID)  # at once, and whatever lock this thread holds
        logging.disable()  # what breaks on the way out is no news: Ctrl-C ends the engines as well
        threading.Thread(target=_force, daemon=True).start()
    _received.append(number)
    raise KeyboardInterrupt


def _force() -> None:
    time.sleep(_GRACE)
    end_at_once(status())


def end_at_once(status: int) -> None:
    """End this process and all that it started, by force: for where nothing else can be relied on."""
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            process.kill()
    os._exit(status)


@contextmanager
def kept() -> Iterator[None]:
    """Give back after the block the handlers of the signals that end a process, also those set in C."""
    if threading.current_thread() is not threading.main_thread():  # only there can they be set
        yield
        return
    before = {number: signal.getsignal(number) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def run_aside(work: Callable[[], T]) -> T:
    """Return `work()`, run in a thread of its own, while this one stays open to signals.

    Ray's calls drop what a handler raises, and set handlers of their own if they find themselves in the main
    thread.  Raises: what `work` or a handler raises; after the latter the thread is left to end by itself.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # SystemExit, too: it is raised again where it is seen
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(_LOOK_EVERY)
    if errors:
        raise errors[0]
    return results[0]
