"""Independent pieces of work on several threads, for kernels that release the interpreter lock.

The number of threads is that of `OMP_NUM_THREADS`, which torch and Dask's workers follow too, else the CPUs
this process may use.
"""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def chosen_threads(threads: int | None) -> int:
    """Return `threads`, or where the caller does not say (None) as many as the environment grants.

    Raises:
        ValueError: for less than one.
    """
    if threads is None:
        setting = os.environ.get("OMP_NUM_THREADS", "")
        return int(setting) if setting.isdigit() and int(setting) > 0 else len(os.sched_getaffinity(0))
    if threads < 1:
        raise ValueError(f"work needs at least one thread, got {threads}; None uses all")
    return threads


def run(work: Callable[[Item], Result], items: Iterable[Item], threads: int | None = None) -> list[Result]:
    """Return `[work(item) for item in items]`, on so many threads.  Raises whatever `work` raises."""
    threads, items = chosen_threads(threads), list(items)
    if threads == 1 or len(items) == 1:
        return [work(item) for item in items]
    return list(_pool(threads).map(work, items))


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="cmh")


# A forked child inherits the pool but not its threads; it has to start its own.
os.register_at_fork(after_in_child=_pool.cache_clear)
