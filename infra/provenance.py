"""Where and by which code something is made: what manifests and deployments keep of it."""

import os
import platform
import socket
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]


@cache
def commit() -> str:
    """Return the commit of the running code: CMH_COMMIT, which images set, or what git says; else "".

    A checkout with changes that are not committed ends in "-dirty".
    """
    if given := os.environ.get("CMH_COMMIT"):
        return given
    if not (ROOT / ".git").exists():  # installed from a wheel, perhaps into a folder of another repository
        return ""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):  # no git, or a checkout of another user
        return ""


@cache
def machine() -> dict[str, str | int]:
    """Return the name of this machine, its processor type, cores, system and Python."""
    return {
        "host": socket.gethostname(),
        "machine": platform.machine(),
        "cores": os.cpu_count() or 1,
        "system": platform.system(),
        "python": platform.python_version(),
    }
