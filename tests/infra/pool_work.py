"""What the tests of the process pool run in its processes, which import it from here."""

import logging
import os
import signal
import time
from pathlib import Path
from typing import NamedTuple

from infra import process_pool
from infra.workers import worker_object


class Mark(NamedTuple):
    """A file that says that something was done, and what else a part needs."""

    path: Path
    number: int


def square(number: int) -> tuple[int, int]:
    """Return the square, and who made it, after a moment in which the others have a share."""
    time.sleep(0.05)
    return number * number, os.getpid()


def fail_at_three(number: int) -> int:
    if number == 3:
        raise ValueError("three is not allowed")
    return number


def die_once(mark: Mark) -> int:
    """Kill this process, as the system does when memory is short, unless the mark is there."""
    if not mark.path.exists():
        mark.path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return mark.number


def die(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number


def tell(number: int) -> int:
    """Log a line, as the project's modules do."""
    logging.getLogger("cmh.work").info("made", extra={"fields": {"number": number}})
    return number


def load() -> tuple[int, float]:
    """Return what is told apart if it is loaded twice in a process."""
    return os.getpid(), time.monotonic()


def loaded(name: str, number: int) -> tuple[int, float]:
    time.sleep(0.05)
    found: tuple[int, float] = worker_object(name)
    return found


def environment(name: str) -> tuple[str | None, str | None, int, str]:
    """Return a variable, the threads of OpenMP, those of torch, and the working folder."""
    import torch  # seconds, which the other tests are spared

    return os.environ.get(name), os.environ.get("OMP_NUM_THREADS"), torch.get_num_threads(), str(Path.cwd())


def note_and_wait(mark: Mark) -> int:
    """Write this process's number into the mark, then take long, unless the part is the first."""
    mark.path.write_text(str(os.getpid()))
    time.sleep(100 if mark.number else 0)
    return mark.number


def wait_in_a_pool(path: str) -> None:
    """Be a program whose pool works until somebody kills it."""
    with process_pool.start(1) as pool:
        pool.map_parts(note_and_wait, [Mark(Path(path), 1)])
