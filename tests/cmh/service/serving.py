"""A running `cmh serve`, in a process of its own."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from tests.cmh.service.conftest import HOME


def start(*arguments: Path | str, **environment: str) -> tuple[subprocess.Popen[str], str]:
    """A running `cmh serve`, and the address that it printed."""
    served = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from flows.cli import main; main()",
            "serve",
            *map(str, arguments),
            "--threads",
            "1",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "CMH_HOME": str(HOME), **environment},
    )
    assert served.stdout is not None
    said = []
    for line in served.stdout:
        said.append(line)
        if line.startswith("Ctrl-C"):
            found = re.search(r"http://\S+", "".join(said))
            assert found
            return served, found.group()
    raise AssertionError("".join(said))


def end(served: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit status and what was printed last, after Ctrl-C."""
    served.send_signal(signal.SIGINT)
    out, _ = served.communicate(timeout=20)
    return served.returncode, out
