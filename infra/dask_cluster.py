"""Dask: a cluster for a while, shard-sized tasks on it, and a model loaded once per worker.

A worker runs one task at a time, and a task may use `threads` cores, in torch, OpenMP and BLAS alike: workers
times threads is the number of cores in use.  Worker functions live in modules that workers can import.
Everything binds to the loopback interface.  There is no TLS here: a scheduler elsewhere must be reached
through a private network.
"""

import functools
import logging
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import dask
from distributed import Client, KilledWorker, LocalCluster, WorkerPlugin, as_completed
from distributed.scheduler import NoWorkerError

from infra.logging import note_place
from infra.stores import home

log = logging.getLogger(__name__)

Part = TypeVar("Part")
Result = TypeVar("Result")

DASHBOARD = "127.0.0.1:8787"
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
    variables = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    # Nanny's own argument: its configuration yields to what the caller's environment says.
    environment = {name: str(threads) for name in variables}
    (home() / "dask").mkdir(parents=True, exist_ok=True)
    with (
        dask.config.set({"distributed.scheduler.no-workers-timeout": NO_WORKERS}),
        LocalCluster(
            env=environment,
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=dashboard,
            worker_dashboard_address="127.0.0.1:0",
            memory_limit=memory_limit,
            local_directory=str(home() / "dask"),
            silence_logs=logging.ERROR,
        ) as cluster,
        Client(cluster) as client,
    ):
        note_place("Dask", f"above, as the workers write to this terminal, and {home() / 'dask'}")
        yield client


def map_parts(
    client: Client,
    function: Callable[[Part], Result],
    parts: Sequence[Part],
    *,
    describe: Callable[[Part], str] = str,
    on_done: Callable[[Part, Result], None] | None = None,
) -> list[Result]:
    """Return function(part) of every part, on the workers, in the order of `parts`.

    A part is as large as a shard, and writes what it makes itself: part and result are small.  The parts of a
    worker that died run again elsewhere, so a part must come out the same when it is run twice.
    `on_done(part, result)` is called here, as each part ends.
    Raises: what the function raised, with a note that names the part by `describe`; ConnectionError if the
    workers died over it, or none is left.  The other parts are cancelled.
    """
    _check_importable(function)
    futures = client.map(function, parts, pure=False)
    place = {future.key: index for index, future in enumerate(futures)}
    results: dict[int, Result] = {}
    try:
        for future in as_completed(futures):
            index = place[future.key]
            try:
                results[index] = future.result()
            except (KilledWorker, NoWorkerError) as error:
                raise ConnectionError(
                    f"Dask lost its workers over {describe(parts[index])}, most often for lack of memory; "
                    f"use fewer of them (--threads), or a machine with more ({error})"
                ) from error
            except Exception as error:
                error.add_note(f"while working on {describe(parts[index])}")
                raise
            if on_done is not None:
                on_done(parts[index], results[index])
    finally:
        client.cancel(futures)
    return [results[index] for index in range(len(parts))]


@contextmanager
def on_every_worker(client: Client, factory: Callable[[], Any]) -> Iterator[str]:
    """Call `factory` once on every worker, also on those that join within the block.

    Yields the name by which parts ask for what it returned, `resource(name)`: one of its own each time, as
    several runs may share a cluster.
    Raises: what the factory raises.
    """
    _check_importable(factory)
    name = f"cmh-{uuid.uuid4().hex}"
    client.register_plugin(_Provide(name, factory))
    try:
        yield name
    finally:
        client.unregister_worker_plugin(name)


def worker_object(name: str) -> Any:
    """Return on a worker what the factory of `on_every_worker` returned there."""
    if name not in _resources:
        raise RuntimeError(f"no resource {name!r} on this worker; use it within dask_cluster.on_every_worker")
    return _resources[name]


_resources: dict[str, Any] = {}


class _Provide(WorkerPlugin):  # type: ignore[misc]  # distributed is untyped
    def __init__(self, name: str, factory: Callable[[], Any]) -> None:
        self.name, self.factory = name, factory

    def setup(self, worker: Any) -> None:
        _resources[self.name] = self.factory()

    def teardown(self, worker: Any) -> None:
        _resources.pop(self.name, None)


def _check_importable(function: Callable[..., Any]) -> None:
    """Dask would pickle other functions with all they refer to, and the workers would run a stale copy."""
    inner = function.func if isinstance(function, functools.partial) else function
    if inner.__module__ == "__main__" or "<" in inner.__qualname__:
        raise ValueError(
            f"{inner.__module__}.{inner.__qualname__} cannot be imported by the workers; "
            "use a function at the top level of a module, with functools.partial for its arguments"
        )
