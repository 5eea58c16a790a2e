"""Processes that go on when the command that started them has ended, and that end with all they started.

Each carries a mark in its environment, which whatever it starts inherits: so its family is found even where a
server gives its children sessions of their own, as Ray and Prefect do, and no process of others is touched.
"""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

HERE = "127.0.0.1"
MARK = "CMH_STACK"
GRACE = 20.0  # seconds from SIGTERM to SIGKILL
_SHOWN_WITHIN = 5.0  # seconds


def start(command: Sequence[str], environment: Mapping[str, str], log: Path, mark: str) -> int:
    """Start a command in a session of its own, so that no closed terminal ends it; returns its process id.

    `goes_on` sees it when this returns.
    """
    with log.open("ab") as out:
        process = subprocess.Popen(
            command,
            env={**environment, MARK: mark},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    # Linux shows what a program was started with a moment after it has started it.
    deadline = time.monotonic() + _SHOWN_WITHIN
    while process.poll() is None and not goes_on(process.pid, mark) and time.monotonic() < deadline:
        time.sleep(0.01)
    return process.pid


def family(mark: str) -> list[psutil.Process]:
    """Return every process that goes on and carries the mark."""
    return [one for one in psutil.process_iter() if _carries(one, mark)]


def goes_on(pid: int, mark: str) -> bool:
    """Return whether the process is there and is the one that was started, not another with its number."""
    return started(pid, mark) is not None


def started(pid: int, mark: str) -> psutil.Process | None:
    """Return the process that was started under this number, if it is there."""
    try:
        process = psutil.Process(pid)
    except psutil.NoSuchProcess:
        return None
    return process if _carries(process, mark) else None


def end(leader: int | None, mark: str, grace: float = GRACE) -> None:
    """End a process and all that it started, or everything with the mark: by SIGTERM, then by SIGKILL.

    Raises:
        OSError: some cannot be ended.
    """
    if leader is None:
        members = family(mark)
    elif (process := started(leader, mark)) is not None:
        members = with_children(process)
    else:
        return
    _signal(members, signal.SIGTERM)
    left = _wait(members, grace)
    deadline = time.monotonic() + GRACE
    while left or (leader is None and (left := family(mark))):  # what was started meanwhile, too
        _signal(left, signal.SIGKILL)
        left = _wait(left, 2)
        if left and time.monotonic() > deadline:
            raise OSError(
                f"these processes cannot be ended: {', '.join(str(one.pid) for one in left)}; they wait "
                "for a disk or a driver, most likely; look at them with ps, or start the machine anew"
            )


def with_children(process: psutil.Process) -> list[psutil.Process]:
    """Return a process and all that descend from it, as far as they are there."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _carries(process: psutil.Process, mark: str) -> bool:
    try:
        return bool(process.environ().get(MARK) == mark) and _is_alive(process)
    except (psutil.Error, OSError):  # of another user, or gone meanwhile
        return False


def _is_alive(process: psutil.Process) -> bool:
    """Return whether a process goes on; one that nobody has asked for its status yet does not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _signal(members: Sequence[psutil.Process], number: signal.Signals) -> None:
    for one in members:
        with suppress(psutil.Error):
            one.send_signal(number)


def _wait(members: Sequence[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Return those that go on after so many seconds; sooner, if none does."""
    deadline = time.monotonic() + seconds
    while (left := [one for one in members if _is_alive(one)]) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def free_port(wanted: int, taken: set[int], also: int = 0) -> int:
    """Return the first free port of the loopback interface from `wanted` on, and add it to `taken`.

    also: a distance at which a port must be free, too.

    Raises:
        OSError: none of the next 500 is free.
    """
    for port in range(wanted, wanted + 500):
        together = {port, port + also}
        if not together & taken and all(map(_is_free, together)):
            taken |= together
            return port
    raise OSError(f"no port from {wanted} to {wanted + 499} is free; see what listens there: ss -ltn")


def _is_free(port: int) -> bool:
    with socket.socket() as one:
        if os.name == "posix":  # a port of a server that has just ended is free
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((HERE, port))
        except OSError:
            return False
    return True
