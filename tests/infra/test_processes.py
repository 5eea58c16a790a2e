"""Processes that outlive who started them, and end with all that they started."""

import os
import socket
import sys
import time
import uuid
from pathlib import Path

import pytest

from infra import processes

# A server whose child has a session of its own and ignores SIGTERM, as some do.
STUBBORN = """
import signal, subprocess, sys, time
child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
subprocess.Popen([sys.executable, "-c", child], start_new_session=True)
time.sleep(600)
"""


def _started(log: Path, mark: str) -> int:
    pid = processes.start([sys.executable, "-c", STUBBORN], os.environ, log, mark)
    deadline = time.monotonic() + 20
    while len(processes.family(mark)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(0.3)  # until the child ignores the signal
    return pid


@pytest.mark.parametrize("whole", [True, False], ids=["by the mark", "by its leader"])
def test_nothing_is_left(tmp_path: Path, whole: bool) -> None:
    """Neither children in sessions of their own, nor those that ignore SIGTERM; others stay."""
    mark, other = uuid.uuid4().hex, uuid.uuid4().hex
    pid, stays = _started(tmp_path / "log", mark), _started(tmp_path / "log", other)
    try:
        assert processes.goes_on(pid, mark)
        assert not processes.goes_on(pid, other)
        processes.end(None if whole else pid, mark, grace=1)
        assert processes.family(mark) == []
        assert not processes.goes_on(pid, mark)
        assert processes.goes_on(stays, other)
    finally:
        processes.end(None, other, grace=0.1)


def test_what_a_server_says_is_in_its_log(tmp_path: Path) -> None:
    """Both of its streams."""
    mark = uuid.uuid4().hex
    program = "import sys; print('out'); print('err', file=sys.stderr)"
    processes.start([sys.executable, "-c", program], os.environ, tmp_path / "log", mark)
    deadline = time.monotonic() + 20
    while sorted((tmp_path / "log").read_text().split()) != ["err", "out"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_taken_port_is_passed_over() -> None:
    """And so is one that was chosen already."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        one.listen()
        taken: set[int] = set()
        first = processes.free_port(one.getsockname()[1], taken)
        assert first > one.getsockname()[1]
        assert processes.free_port(first, taken) > first
