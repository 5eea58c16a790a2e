"""Prepare what comes next in a thread, while the caller works on what is there."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 2  # results that wait while the caller works on one


def ahead(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield `function(item)` of each item, in order; the next ones are computed in a thread meanwhile.

    Args:
        function: what a thread does, one call at a time; what it raises is raised here.
        items: read no further than `AHEAD` results ahead of the caller.
    """
    with ThreadPoolExecutor(max_workers=1) as thread:
        waiting: deque[Future[Result]] = deque()
        for item in items:
            waiting.append(thread.submit(function, item))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
