"""Run independent pieces of work on several threads, for kernels that release the interpreter lock.

The default number of threads is the value of `OMP_NUM_THREADS`, which torch and Dask's workers follow too;
if it is not set, the number of CPUs that this process may use.
"""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def chosen_threads(threads: int | None) -> int:
    """Return the number of threads to use: `threads`, or for None the default of this module.

    Raises:
        ValueError: if `threads` is below 1.
    """
    if threads is None:
        setting = os.environ.get("OMP_NUM_THREADS", "")
        return int(setting) if setting.isdigit() and int(setting) > 0 else len(os.sched_getaffinity(0))
    if threads < 1:
        raise ValueError(f"work needs at least one thread, got {threads}; None uses all")
    return threads


def run(work: Callable[[Item], Result], items: Iterable[Item], threads: int | None = None) -> list[Result]:
    """Return `[work(item) for item in items]`, computed on several threads.

    Args:
        work: the function to call for each item.
        items: the inputs; the results have their order.
        threads: number of threads; None: the default of this module.

    Raises:
        Exception: any exception that `work` raises.
        ValueError: if `threads` is below 1.
    """
    threads, items = chosen_threads(threads), list(items)
    if threads == 1 or len(items) == 1:
        return [work(item) for item in items]
    return list(_pool(threads).map(work, items))


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Return a pool of this many threads; one is kept for each number."""
    return ThreadPoolExecutor(threads, thread_name_prefix="cmh")


# A forked child inherits the pool but not its threads, so it must create a pool of its own.
os.register_at_fork(after_in_child=_pool.cache_clear)
