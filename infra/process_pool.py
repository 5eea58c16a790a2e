"""Processes of this machine that make parts, and nothing else started for it.

They are forked from one process that has imported what they need (`prepare`), so they start in a moment and
share the memory of these imports.  Each has one thread for OpenMP and BLAS, unless a part asks for more.
"""

import functools
import logging
import multiprocessing
import os
import signal
import threading
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import forkserver
from typing import Any, TypeVar

from infra import metrics, workers
from infra.logging import circumstances
from infra.workers import Workers

log = logging.getLogger(__name__)

Part = TypeVar("Part")
Result = TypeVar("Result")

DEATHS = 3  # of processes over one part, after which it is given up
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
_ONE_THREAD = dict.fromkeys(THREAD_VARIABLES, "1")
_context = multiprocessing.get_context("forkserver")


def prepare(modules: Sequence[str]) -> None:
    """Have `modules` imported, beside this process, by the one that workers are forked from."""
    _context.set_forkserver_preload(list(modules))
    before = {name: os.environ.get(name) for name in _ONE_THREAD}
    os.environ.update(_ONE_THREAD)  # libraries read them when they are loaded
    try:
        forkserver.ensure_running()
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def start(count: int) -> Iterator["ProcessPool"]:
    """Yield a pool of up to `count` processes, which end with the block, or at once where it raises."""
    prepare(())  # where nobody has
    pool = ProcessPool(count)
    try:
        yield pool
    except BaseException:
        pool.kill()
        raise
    finally:
        pool.close()


class ProcessPool(Workers):
    """Processes of this machine."""

    def __init__(self, count: int) -> None:
        self._size = count
        self._factories: dict[str, Callable[[], Any]] = {}
        self._executor = self._started()

    @property
    def count(self) -> int:
        """Return how many processes there may be."""
        return self._size

    def _made(
        self, function: Callable[[Part], Result], parts: Sequence[Part], describe: Callable[[Part], str]
    ) -> Generator[tuple[int, Result], None, None]:
        """Yield as `infra.workers.Workers`.  After a process has died, one process makes the rest."""
        waiting, deaths = dict(enumerate(parts)), 0
        while waiting:
            before = len(waiting)
            try:
                for index, result in self._tried(function, waiting, describe):
                    del waiting[index]
                    yield index, result
            except BrokenProcessPool as error:
                deaths = deaths + 1 if len(waiting) == before else 1
                first = describe(next(iter(waiting.values())))
                if deaths == DEATHS:
                    raise ConnectionError(
                        f"{DEATHS} processes died over {first}, one after the other, most often for lack of "
                        "memory; close other programs, or use a machine with more"
                    ) from error
                metrics.add(metrics.RETRIES, of="process")
                log.warning(
                    "a process died over %s, most often for lack of memory; going on with one process", first
                )
                self._size = 1
                self.close()
                self._executor = self._started()

    @contextmanager
    def on_every_worker(self, factory: Callable[[], Any]) -> Iterator[str]:
        """Have `factory` called once on every process that is used."""
        workers.check_importable(factory)
        name = f"cmh-{uuid.uuid4().hex}"
        self._factories[name] = factory
        try:
            yield name
        finally:
            del self._factories[name]

    def close(self) -> None:
        """Wait for the end of the processes, which take no further parts."""
        self._executor.shutdown(cancel_futures=True)

    def kill(self) -> None:
        """End the processes at once: what they were making is left unfinished."""
        # As `kill_workers` of Python 3.14 does.
        for process in list((self._executor._processes or {}).values()):
            process.kill()

    def _tried(
        self,
        function: Callable[[Part], Result],
        waiting: Mapping[int, Part],
        describe: Callable[[Part], str],
    ) -> Iterator[tuple[int, Result]]:
        """Yield what the present processes make, as it ends; BrokenProcessPool if one of them dies."""
        factories = dict(self._factories)
        told = functools.partial(workers.call_within, circumstances(), function)
        futures = {
            self._executor.submit(_call, factories, told, part): (index, part)
            for index, part in waiting.items()
        }
        for future in as_completed(futures):
            index, part = futures[future]
            try:
                result = future.result()
            except BrokenProcessPool:
                raise
            except Exception as error:
                error.add_note(f"while working on {describe(part)}")
                raise
            yield index, result

    def _started(self) -> ProcessPoolExecutor:
        environment = dict(os.environ) | _ONE_THREAD
        return ProcessPoolExecutor(self._size, _context, initializer=_begin, initargs=(environment,))


def _begin(environment: dict[str, str]) -> None:
    """Make a fork of the prepared process one of this pool, which ends when whoever started it has ended."""
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; whoever started this one ends it
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _call(factories: dict[str, Callable[[], Any]], function: Callable[[Part], Result], part: Part) -> Result:
    """Make a part, with everything at hand that this process is to have loaded, and nothing else."""
    workers.forget_objects(workers.loaded_objects() - factories.keys())
    for name, factory in factories.items():
        workers.load_object(name, factory)
    return function(part)
