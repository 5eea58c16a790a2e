"""Whether a server answers at an address that a user gave, before hours are spent on it and meanwhile."""

import logging
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from infra import signals
from infra.logging import mask

SECONDS = 5.0
PATIENCE = 600.0  # seconds without an answer after which a server is gone for good
LOOK_EVERY = 10.0  # seconds

_log = logging.getLogger(__name__)


def check_reachable(option: str, address: str | None) -> None:
    """Refuse an address at which nobody accepts a connection.

    address: host:port, with a scheme and a path or without; anything else, such as "auto", is left to its
    engine.

    Raises:
        ConnectionError: naming the option.
    """
    place = re.fullmatch(r"(?:\w+://)?(?:[^@/]*@)?\[?([^/\]]+?)\]?:(\d+)(?:/.*)?", address or "")
    if place is None:
        return
    try:
        socket.create_connection((place[1], int(place[2])), timeout=SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ConnectionError(
            f"nobody answers at {option} {mask(address or '')} ({error}); start the server, give its "
            "address, or leave it out to work on this machine alone; `cmh doctor` looks at all of them"
        ) from error


@contextmanager
def watched(option: str, address: str | None) -> Iterator[None]:
    """End this process with one line, if nobody answers at the address for PATIENCE seconds within the block.

    What works for a server that is gone can tell nobody how it ended, and would stay for ever.
    """
    left = threading.Event()
    watcher = threading.Thread(target=_watch, args=(option, address, left), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        left.set()
        watcher.join()


def _watch(option: str, address: str | None, left: threading.Event) -> None:
    answered, told = time.monotonic(), False
    while not left.wait(LOOK_EVERY):
        try:
            check_reachable(option, address)
            answered, told = time.monotonic(), False
        except ConnectionError:
            away = time.monotonic() - answered
            if away >= PATIENCE:
                _log.error(
                    "nobody has answered at %s %s for %.0f s, so this run ends; what is finished stays: "
                    "start the server, then the run again, and it goes on from there",
                    *(option, mask(address or ""), away),
                )
                signals.end_at_once(1)
            if not told:
                told = True
                _log.warning(
                    "nobody answers at %s %s; the work goes on for %.0f s",
                    option,
                    mask(address or ""),
                    PATIENCE,
                )


def check_prefect() -> None:
    """Refuse a PREFECT_API_URL where no server is."""
    check_reachable("PREFECT_API_URL", os.environ.get("PREFECT_API_URL"))
