"""What the tests of Ray run on its workers, which import it from here."""

import time
from pathlib import Path

import torch

from cmh import distributed


def world(folder: str, device: torch.device) -> int:
    """Tell how many work together; two of them wait until they are interrupted."""
    size = distributed.world_size()
    Path(folder, f"world-{size}").touch()
    while size > 1:
        time.sleep(0.2)
    return size


def wait(folder: str, device: torch.device) -> None:
    """Say that it works, and do so until it is ended."""
    Path(folder, "waits").touch()
    time.sleep(600)
