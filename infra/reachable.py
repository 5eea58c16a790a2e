"""Whether a server answers at an address that a user gave, before hours are spent on the way to it."""

import os
import re
import socket

from infra.logging import mask

SECONDS = 5.0


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


def check_prefect() -> None:
    """Refuse a PREFECT_API_URL where no server is."""
    check_reachable("PREFECT_API_URL", os.environ.get("PREFECT_API_URL"))
