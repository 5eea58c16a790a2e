"""A few threads with a bounded queue before them, for whatever does not go through the model."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from cmh.service.settings import Settings

T = TypeVar("T")


class Busy(Exception):
    """More is asked than can be answered in time; it may be asked again after `retry` seconds."""

    def __init__(self, reason: str, retry: int = 1) -> None:
        super().__init__(reason)
        self.retry = retry


class Workers:
    """Threads that work on one kind of things."""

    def __init__(self, settings: Settings, threads: int, things: str, *, to_the_end: bool = False) -> None:
        """Keep what bounds the work.

        Args:
            settings: how many may wait, and how long.
            threads: at the same time.
            things: what they work on, for messages and names of threads.
            to_the_end: whoever asks is told how work ended that has begun, however long it takes; else it
                goes on, and nobody learns.
        """
        self._settings, self._things, self._waiting = settings, things, 0
        self._to_the_end = to_the_end
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=f"cmh-{things}")

    async def run(self, work: Callable[[], T]) -> T:
        """Return what `work` gives on one of the threads.

        Raises:
            Busy: if too many wait already, or it was not done in time; with `to_the_end`, not begun in time,
                and then it never is.
        """
        if self._waiting >= self._settings.waiting:
            raise Busy(f"{self._waiting} {self._things} wait already; ask again in a moment")
        self._waiting += 1
        job = self._threads.submit(work)
        future = asyncio.wrap_future(job)
        future.add_done_callback(self._done)
        try:
            return await asyncio.wait_for(asyncio.shield(future), self._settings.seconds)
        except TimeoutError:
            if not job.cancel() and self._to_the_end:
                return await future
            raise Busy(f"no answer within {self._settings.seconds:g} s; ask again later", retry=5) from None

    def _done(self, _: object) -> None:
        self._waiting -= 1
