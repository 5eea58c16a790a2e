"""Dask: a cluster for a while, shard-sized tasks on it, and a model loaded once per worker.

A worker runs one task at a time, and a task may use `threads` cores, in torch, OpenMP and BLAS alike: workers
times threads is the number of cores in use.  Worker functions live in modules that workers can import.
Everything binds to the loopback interface.  There is no TLS here: a scheduler elsewhere must be reached
through a private network.
"""

import functools
import logging
import socket
import uuid
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar

import dask
from distributed import Client, Future, KilledWorker, LocalCluster, Nanny, WorkerPlugin, as_completed
from distributed.comm import CommClosedError
from distributed.scheduler import NoWorkerError

from infra.logging import circumstances, note_place
from infra.process_pool import THREAD_VARIABLES
from infra.stores import home
from infra.workers import Workers, call_within, check_importable, forget_objects, load_object

log = logging.getLogger(__name__)

Part = TypeVar("Part")
Result = TypeVar("Result")

DASHBOARD = "127.0.0.1:8787"
AHEAD = 4  # parts that are sent for each thread of the workers
ENDING = 40.0  # seconds for a worker to end by itself
NO_WORKERS = "2 minutes"  # without any worker, after which tasks of a cluster started here fail


@contextmanager
def connect(
    address: str | None = None,
    *,
    workers: int = 1,
    threads: int = 1,
    memory_limit: str | float = "auto",
    dashboard: str = DASHBOARD,
) -> Iterator[Client]:
    """Yield a client of the cluster at `address`, or of one started here for the block.

    An address is such as "tcp://host:8786".

    workers, threads, memory_limit (per worker; "auto": its share of the machine) and dashboard are for the
    cluster started here; at an address, its owner has set them.
    A worker that dies is started again, unless it died while starting; tasks of a cluster started here fail
    when there has been no worker for NO_WORKERS.

    Raises:
        OSError: if nobody answers at `address`, ValueError if the versions there are not those here.
    """
    if address is not None:
        with Client(address, timeout="8s") as client:
            client.get_versions(check=True)
            if not client.nthreads():  # no error: clusters that adapt start workers for tasks
                log.warning("the Dask cluster at %s has no workers; tasks wait until one joins", address)
            note_place("Dask", f"the logs of each worker, or {client.dashboard_link}")
            yield client
        return
    # Nanny's own argument: its configuration yields to what the caller's environment says.
    environment = {name: str(threads) for name in THREAD_VARIABLES}
    (home() / "dask").mkdir(parents=True, exist_ok=True)
    with (
        dask.config.set({"distributed.scheduler.no-workers-timeout": NO_WORKERS}),
        LocalCluster(
            env=environment,
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=_free(dashboard),
            worker_class=_PatientNanny,
            worker_dashboard_address="127.0.0.1:0",
            memory_limit=memory_limit,
            local_directory=str(home() / "dask"),
            silence_logs=logging.ERROR,
        ) as cluster,
        Client(cluster) as client,
    ):
        client.register_plugin(_QuietEnd())
        note_place("Dask", f"above, as the workers write to this terminal, and {home() / 'dask'}")
        yield client


class _PatientNanny(Nanny):  # type: ignore[misc]  # distributed is untyped
    """Gives a worker the time to end by itself: four seconds, as by default, are few on a busy machine."""

    async def kill(self, timeout: float = ENDING, reason: str = "nanny-kill") -> None:
        await super().kill(timeout=max(timeout, ENDING), reason=reason)


class _QuietEnd(WorkerPlugin):  # type: ignore[misc]  # distributed is untyped
    """Keeps from the terminal that a worker's scheduler hung up: here it does so when the block ends.

    A heartbeat may be under way then.  A scheduler that is lost earlier is an error of the client.
    """

    def setup(self, worker: Any) -> None:
        logging.getLogger("distributed.worker").addFilter(_not_hung_up)


def _not_hung_up(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], CommClosedError))


def _free(address: str) -> str:
    """Return the address, or one with any port if another process listens there."""
    host, _, port = address.rpartition(":")
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((host, int(port)))
        except OSError:
            return f"{host}:0"
    return address


class DaskWorkers(Workers):
    """The workers of a Dask cluster."""

    def __init__(self, client: Client) -> None:
        self.client = client

    @property
    def count(self) -> int:
        """Return the threads of all workers, 1 where none has joined yet."""
        return max(1, sum(int(threads) for threads in self.client.nthreads().values()))

    def _made(
        self, function: Callable[[Part], Result], parts: Sequence[Part], describe: Callable[[Part], str]
    ) -> Generator[tuple[int, Result], None, None]:
        work = functools.partial(call_within, circumstances(), function)
        waiting = iter(enumerate(parts))
        sent: dict[str, tuple[int, Future]] = {}  # few at a time: the scheduler holds what is sent

        def send() -> list[Future]:
            found = []
            for index, part in islice(waiting, max(0, AHEAD * self.count - len(sent))):
                found.append(self.client.submit(work, part, pure=False))
                sent[found[-1].key] = index, found[-1]
            return found

        try:
            done = as_completed(send())
            for future in done:
                index, _ = sent.pop(future.key)
                try:
                    result = future.result()
                except (KilledWorker, NoWorkerError) as error:
                    raise ConnectionError(
                        f"Dask lost its workers over {describe(parts[index])}, most often for lack of "
                        "memory; start fewer of them (--threads) where --dask is local, or give each more "
                        f"memory ({error})"
                    ) from error
                except CancelledError as error:  # nobody here cancels what is still waited for
                    raise ConnectionError(
                        "the connection to Dask's scheduler was lost; see that it runs, then run again, and "
                        f"it goes on from what is finished ({error})"
                    ) from error
                except Exception as error:
                    error.add_note(f"while working on {describe(parts[index])}")
                    raise
                done.update(send())
                yield index, result
        finally:
            self.client.cancel([future for _, future in sent.values()])

    @contextmanager
    def on_every_worker(self, factory: Callable[[], Any]) -> Iterator[str]:
        """Call `factory` once on every worker; here it raises what that raises.

        The name is one of its own each time, as several runs may share a cluster.
        """
        check_importable(factory)
        name = f"cmh-{uuid.uuid4().hex}"
        self.client.register_plugin(_Provide(name, factory))
        try:
            yield name
        finally:
            self.client.unregister_worker_plugin(name)


class _Provide(WorkerPlugin):  # type: ignore[misc]  # distributed is untyped
    def __init__(self, name: str, factory: Callable[[], Any]) -> None:
        self.name, self.factory = name, factory

    def setup(self, worker: Any) -> None:
        load_object(self.name, self.factory)

    def teardown(self, worker: Any) -> None:
        forget_objects({self.name})
