"""A bounded queue before the model: queries that wait together are answered together, by one thread."""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from cmh.service.metrics import Metrics
from cmh.service.queries import Nearest, Query, Refused, answer
from cmh.service.settings import Settings
from cmh.service.snapshots import Snapshots
from cmh.service.workers import Busy


@dataclass(frozen=True)
class _Waiting:
    query: Query
    since: float
    result: asyncio.Future[Nearest]


class Batcher:
    """Answers queries in batches, while `run` runs."""

    def __init__(self, snapshots: Snapshots, settings: Settings, metrics: Metrics) -> None:
        self._snapshots, self._settings, self._metrics = snapshots, settings, metrics
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue(settings.waiting)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="cmh-queries")
        metrics.waiting.set_function(self._queue.qsize)

    async def ask(self, queries: Sequence[Query]) -> list[Nearest | BaseException]:
        """Return the nearest items of each query, or why it has none.

        Raises:
            Refused: if there are more of them than the queue ever has room for.
            Busy: if the queue has no room for all of them, or they were not answered in time.
        """
        if len(queries) > self._queue.maxsize:
            raise Refused(f"this service takes at most {self._queue.maxsize} queries at once (--queue)")
        if self._queue.maxsize - self._queue.qsize() < len(queries):
            raise Busy(f"{self._queue.qsize()} queries wait already; ask again in a moment")
        loop = asyncio.get_running_loop()
        waiting = [_Waiting(query, time.perf_counter(), loop.create_future()) for query in queries]
        for one in waiting:
            self._queue.put_nowait(one)
        results = asyncio.gather(*(one.result for one in waiting), return_exceptions=True)
        try:
            return await asyncio.wait_for(results, self._settings.seconds)
        except TimeoutError:  # the futures are cancelled, and `run` passes them over
            raise Busy(f"no answer within {self._settings.seconds:g} s; ask again later", retry=5) from None

    async def run(self) -> None:
        """Answer what waits, until this task is cancelled."""
        loop, side_by_side = asyncio.get_running_loop(), False
        try:
            while True:
                first = await self._queue.get()
                if side_by_side:  # a lone query does not wait for others
                    await asyncio.sleep(self._settings.window)
                batch = [one for one in [first, *self._take()] if not one.result.done()]
                if not batch:
                    continue
                snapshot, queries = self._snapshots.current, [one.query for one in batch]
                threads = self._settings.threads
                results = await loop.run_in_executor(self._thread, answer, snapshot, queries, threads)
                self._metrics.note_batch(results, [one.since for one in batch])
                for one, result in zip(batch, results, strict=True):
                    if one.result.done():  # given up meanwhile
                        continue
                    if isinstance(result, Exception):
                        one.result.set_exception(result)
                    else:
                        one.result.set_result(result)
                side_by_side = len(batch) > 1 or not self._queue.empty()
        finally:
            self._thread.shutdown(wait=False, cancel_futures=True)

    def _take(self) -> list[_Waiting]:
        """Return what waits, as far as one batch has room."""
        return [self._queue.get_nowait() for _ in range(min(self._queue.qsize(), self._settings.batch - 1))]
