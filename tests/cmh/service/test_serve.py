"""`cmh serve` as a process: its port, its libraries, and changes under it."""

import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from cmh.service import server
from tests.cmh.service.conftest import COUNT, Drawn, add, draw
from tests.cmh.service.serving import end, start


def test_answers_do_not_wait_for_the_confirmation_of_their_head() -> None:
    """A connection that is accepted sends at once, without Nagle's algorithm, which costs 40 ms an answer."""
    with server.bind("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.slow
def test_a_service_takes_up_changes_and_a_second_one_another_port(own: Path, drawn: Drawn) -> None:
    """Without a restart, and saying where it is; a port that was asked for and is taken is refused."""
    served, first = start(own)
    other, second = start(drawn[1])
    try:
        assert first != second
        draw(drawn[1].parent / "photos" / "set0" / "late.png", 99)
        add(own, drawn[0], ["set0/late.png"])
        until = time.monotonic() + 20
        while f'"items":{COUNT + 1}' not in urllib.request.urlopen(f"{first}readyz").read().decode():
            assert time.monotonic() < until
            time.sleep(0.1)
        port = re.search(r":(\d+)/", first)
        assert port
        asked = [sys.executable, "-c", "from flows.cli import main; main()", "serve", str(own)]
        taken = subprocess.run([*asked, "--port", port.group(1)], capture_output=True, text=True)
        assert taken.returncode == 2
        assert f"port {port.group(1)} of 127.0.0.1 is taken by another program" in taken.stderr
        mapped = Path(f"/proc/{other.pid}/maps")
        if mapped.exists():  # Linux; the first service has left the model's graphs in the cache
            assert "libtorch" not in mapped.read_text()
        no_token = subprocess.run([*asked, "--host", "0.0.0.0"], capture_output=True, text=True)
        assert no_token.returncode == 2
        assert "the service needs a token there" in no_token.stderr
    finally:
        assert end(served)[0] == end(other)[0] == 0
