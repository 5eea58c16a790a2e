"""Time and memory of competing ways to the same result, in one run, as a Markdown table of ratios.

Machines are noisy and shared: read the ratios within a table, not times across runs.  Where other programs
take the cores, the processor time of a way (all its threads together) says more than its wall time.
"""

import argparse
import platform
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
import psutil
import torch

from cmh.codes import numba_kernels
from cmh.codes.threads import chosen_threads


@dataclass(frozen=True)
class Row:
    """One way: wall and processor seconds for all queries (scaled up where only some ran), memory taken."""

    way: str
    seconds: float
    processor: float
    memory_mib: float = float("nan")
    scaled: bool = False
    result: str = ""


def measure(
    way: str,
    work: Callable[[], Any],
    *,
    share: float = 1.0,
    seconds: float = 1.5,
    result: Callable[[Any], str] = lambda _: "",
) -> Row:
    """Best time of `work`, run at least twice and for `seconds`, after a first time that warms caches.

    The best, not the mean: what other programs on the machine take is no property of `work`.

    share: the part of the queries that `work` does; the time is scaled up by it.
    """
    peak = _Peak()
    with peak:
        found = work()
    wall: list[float] = []
    processor: list[float] = []
    while len(wall) < 2 or (sum(wall) < seconds and len(wall) < 100):
        start, start_processor = time.perf_counter(), time.process_time()
        work()
        wall.append(time.perf_counter() - start)
        processor.append(time.process_time() - start_processor)
    return Row(way, min(wall) / share, min(processor) / share, peak.mib, share < 1, result(found))


def best_of_threads(way: str, work: Callable[[], Any], threads: int, **options: Any) -> Row:
    """`measure` of a peer with one thread and with all of them, since several slow some down; the faster."""
    rows = []
    for used in sorted({1, threads}):
        torch.set_num_threads(used)
        faiss.omp_set_num_threads(used)
        rows.append(measure(way, work, **options))
    return min(rows, key=lambda row: row.seconds)


class _Peak:
    """Highest resident memory within the block, above that at its start."""

    def __enter__(self) -> None:
        self._process, self._done = psutil.Process(), threading.Event()
        self._start = self._most = self._process.memory_info().rss
        self._watch = threading.Thread(target=self._sample, daemon=True)
        self._watch.start()

    def _sample(self) -> None:
        while not self._done.wait(0.002):
            self._most = max(self._most, self._process.memory_info().rss)

    def __exit__(self, *_: object) -> None:
        self._most = max(self._most, self._process.memory_info().rss)
        self._done.set()
        self._watch.join()

    @property
    def mib(self) -> float:
        return (self._most - self._start) / 2**20


def table(title: str, rows: Sequence[Row], *, unit: str = "s", scale: float = 1.0) -> str:
    """Rows beside the first one; `scale` turns seconds into the unit shown."""
    first = rows[0]
    lines = [
        f"\n### {title}\n",
        f"| way | {unit} | × ours | processor {unit} | × ours | extra MiB | result |",
        "|---|--:|--:|--:|--:|--:|---|",
    ]
    for row in rows:
        mark = "†" if row.scaled else ""
        memory = "" if np.isnan(row.memory_mib) else f"{row.memory_mib:.0f}"
        wall = f"{row.seconds * scale:.4g}{mark} | {row.seconds / first.seconds:.3g}"
        processor = f"{row.processor * scale:.4g}{mark} | {row.processor / first.processor:.3g}"
        lines.append(f"| {row.way} | {wall} | {processor} | {memory} | {row.result} |")
    return "\n".join(lines)


def clock_ghz() -> float:
    """Clock of one core, from chains of dependent multiplications (3 cycles) and XORs (1); the best."""
    steps = 200_000
    _chain(steps)
    times = []
    for _ in range(100):
        start = time.perf_counter()
        _chain(steps)
        times.append(time.perf_counter() - start)
    return 4 * steps / min(times) / 1e9


@numba_kernels.compiled
def _chain(steps: int) -> int:
    x = np.uint64(steps)
    for _ in range(steps):
        x = (x * np.uint64(6364136223846793005)) ^ x
    return x


def arguments(
    description: str | None,
    sizes: Sequence[str],
    given: Sequence[str] | None,
    default: Sequence[str] | None = None,
) -> argparse.Namespace:
    """`--sizes`, of those that there are, and `--threads`, for ours and every peer."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", nargs="+", choices=sizes, default=default or sizes)
    parser.add_argument("--threads", type=int, default=None, help="for ours and every peer; default: all")
    options = parser.parse_args(given)
    options.threads = chosen_threads(options.threads)
    return options


def machine(threads: int) -> str:
    """What the figures were measured on."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True
    ).stdout.strip()
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{platform.machine()}, {psutil.cpu_count()} CPUs, {clock_ghz():.1f} GHz measured, {memory:.0f} GiB; "
        f"{threads} threads; commit {commit or 'unknown'}.  † some queries, scaled up."
    )
