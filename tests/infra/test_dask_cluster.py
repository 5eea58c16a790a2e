"""Real Dask worker processes: parts in order, byte-identical results after SIGKILL, one load per worker,
threads as they were set, errors that name the part, nothing bound beyond the loopback interface."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest
import zarr
from distributed import Client, LocalCluster
from distributed.comm import CommClosedError

from infra import artifacts, dask_cluster
from infra.artifacts import Target
from infra.dask_cluster import DaskWorkers
from infra.storage import Store
from infra.workers import worker_object
from tests.infra import dask_work
from tests.infra.dask_work import ROWS, Shard
from tests.s3_server import S3Server

pytestmark = pytest.mark.slow

SHARDS = 12


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, s3: S3Server) -> Iterator[Client]:
    """Two workers of one thread, which find the S3 server in their environment; the caller asks for more."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "2")
        patch.setenv("CMH_HOME", str(tmp_path_factory.mktemp("home")))
        for name, value in s3.environment.items():
            patch.setenv(name, value)
        with dask_cluster.connect(workers=2, threads=1, dashboard="127.0.0.1:0") as client:
            yield client


def write(client: Client, store: Store, name: str, *, kill: bool) -> str:
    """Write an array shard by shard, killing a worker after the first; the digest of what came out."""
    survivors: list[int] = []

    def on_done(shard: Shard, pid: int) -> None:
        if kill and not survivors:
            os.kill(pid, signal.SIGKILL)
        survivors.append(pid)

    with artifacts.write(store, Target("codes", name, {"name": name})) as draft:
        group = zarr.open_group(draft.zarr("codes.zarr"), mode="w")
        group.create_array("image", shape=(SHARDS * ROWS, 8), dtype="uint8", chunks=(10, 8), shards=(ROWS, 8))
        shards = [Shard(store, draft.path("codes.zarr"), index) for index in range(SHARDS)]
        done = DaskWorkers(client).map_parts(dask_work.write_shard, shards, on_done=on_done)
        assert len(done) == SHARDS
        assert len(set(done)) >= 2  # more than one process had a share
    return artifacts.open_artifact(store, draft.ref).ref.content


def test_killed_worker_changes_no_byte(client: Client, store: Store) -> None:
    """With one worker killed by SIGKILL amid the run, the array is the same to the byte."""
    client.wait_for_workers(2, timeout=120)
    before = set(client.run(os.getpid).values())
    undisturbed = write(client, store, "undisturbed", kill=False)
    assert write(client, store, "killed", kill=True) == undisturbed
    client.wait_for_workers(2, timeout=120)
    assert set(client.run(os.getpid).values()) != before


def test_results_keep_the_order_of_the_parts(client: Client, local_store: Store) -> None:
    """Results come in the order of the parts, whatever the order in which they ended."""
    group = zarr.open_group(local_store.zarr("codes.zarr", read_only=False), mode="w")
    group.create_array("image", shape=(SHARDS * ROWS, 8), dtype="uint8", chunks=(10, 8), shards=(ROWS, 8))
    shards = [Shard(local_store, "codes.zarr", index) for index in range(SHARDS)]
    DaskWorkers(client).map_parts(dask_work.write_shard, shards)
    array = zarr.open_group(local_store.zarr("codes.zarr"), mode="r")["image"][:]
    expected = [int(array[i * ROWS : (i + 1) * ROWS].sum()) for i in range(SHARDS)]
    assert DaskWorkers(client).map_parts(dask_work.read_shard, shards) == expected


def test_resource_is_made_once_per_worker(client: Client) -> None:
    """Twenty tasks find one load per process; a worker that replaces a dead one loads too."""
    client.wait_for_workers(2, timeout=120)
    with DaskWorkers(client).on_every_worker(dask_work.load) as name:
        seen = set(DaskWorkers(client).map_parts(partial(dask_work.loaded, name), range(20)))
        assert {pid for pid, _ in seen} <= set(client.run(os.getpid).values())
        assert len(seen) == len({pid for pid, _ in seen})
        os.kill(next(iter(seen))[0], signal.SIGKILL)
        client.wait_for_workers(2, timeout=120)
        again = set(DaskWorkers(client).map_parts(partial(dask_work.loaded, name), range(20)))
        assert len(again) == len({pid for pid, _ in again})
    with pytest.raises(RuntimeError, match="no object"):  # it went with the block
        DaskWorkers(client).map_parts(partial(dask_work.loaded, name), [0])


def test_runs_that_share_a_cluster_keep_their_own_resources(client: Client) -> None:
    """The model of a second run on the same workers does not take the place of the first one's."""
    with (
        Client(client.scheduler.address) as other,
        DaskWorkers(client).on_every_worker(partial(str, "first")) as first,
        DaskWorkers(other).on_every_worker(partial(str, "second")) as second,
    ):
        found = [
            set(DaskWorkers(who).map_parts(partial(dask_work.found, name), range(8)))
            for who, name in ((client, first), (other, second))
        ]
    assert found == [{"first"}, {"second"}]


def test_only_a_scheduler_that_hung_up_is_kept_from_the_log(client: Client) -> None:
    """A heartbeat that meets the end of the cluster prints nothing; other errors of a worker are logged."""
    errors = [CommClosedError("Stream is closed"), OSError("disk full")]
    for error, logged in zip(errors, [False, True], strict=True):
        assert set(client.run(dask_work.would_log, error).values()) == {logged}


def test_missing_resource_says_what_to_do() -> None:
    """A resource that was not provided is an error with a remedy."""
    with pytest.raises(RuntimeError, match=r"'other'.*`on_every_worker`"):
        worker_object("other")


def test_error_names_the_part(client: Client) -> None:
    """What a part raised arrives with its type and the name of the part, and the cluster works on."""
    with pytest.raises(ValueError, match="three is not allowed") as caught:
        DaskWorkers(client).map_parts(dask_work.fail_at_three, range(6), describe="shard {}".format)
    assert caught.value.__notes__ == ["while working on shard 3"]
    assert DaskWorkers(client).map_parts(dask_work.fail_at_three, [1, 2]) == [1, 2]


def test_part_that_kills_every_worker_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part that takes worker after worker along ends in an error that names it and the likely cause."""
    monkeypatch.setenv("CMH_HOME", str(tmp_path))
    monkeypatch.setattr(dask_cluster, "NO_WORKERS", "10s")
    with (
        dask_cluster.connect(workers=2, dashboard="127.0.0.1:0") as client,
        pytest.raises(ConnectionError, match=r"lost its workers over shard 7, .*\(--threads\)"),
    ):
        DaskWorkers(client).map_parts(dask_work.die, [7], describe="shard {}".format)


def test_cluster_that_lost_its_workers_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the last worker has gone for good, tasks fail in place of waiting for ever."""
    monkeypatch.setenv("CMH_HOME", str(tmp_path))
    monkeypatch.setattr(dask_cluster, "NO_WORKERS", "1s")
    with dask_cluster.connect(dashboard="127.0.0.1:0") as client:
        client.cluster.scale(0)
        with pytest.raises(ConnectionError, match="lost its workers over shard 1"):
            DaskWorkers(client).map_parts(dask_work.fail_at_three, [1], describe="shard {}".format)


def test_taken_port_of_the_dashboard_is_no_news(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second cluster on one machine takes another port for its dashboard, and warns of nothing."""
    monkeypatch.setenv("CMH_HOME", str(tmp_path))
    with socket.socket() as other, warnings.catch_warnings():
        warnings.simplefilter("error")
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with dask_cluster.connect(dashboard=f"127.0.0.1:{port}") as client:
            assert f":{port}/" not in client.dashboard_link


def test_a_scheduler_that_is_gone_is_said(tmp_path: Path) -> None:
    """In words, soon: whoever waits for a part would not learn it otherwise."""
    file = tmp_path / "scheduler.json"
    scheduler = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0",
         "--no-dashboard", "--scheduler-file", str(file)]
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while not file.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        address = json.loads(file.read_text())["address"]
        with dask_cluster.connect(address) as client:
            threading.Timer(1, scheduler.kill).start()
            began = time.monotonic()
            with pytest.raises(ConnectionError, match="the connection to Dask's scheduler was lost"):
                DaskWorkers(client).map_parts(dask_work.threads, [0])
            assert time.monotonic() - began < 30
    finally:
        scheduler.kill()
        scheduler.wait()


def test_scheduler_without_workers_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """A scheduler somewhere else that has no workers yet is used, and the log says what it waits for."""
    with (
        LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0") as cluster,
        dask_cluster.connect(cluster.scheduler_address) as client,
    ):
        assert not client.nthreads()
    assert "has no workers" in caplog.text


def test_threads_are_as_set(client: Client) -> None:
    """OpenMP and torch on the workers use the threads that the cluster was given."""
    assert DaskWorkers(client).map_parts(dask_work.threads, [0]) == [("1", 1)]


def test_only_importable_functions_are_sent(client: Client) -> None:
    """A lambda, a local function, or a partial of one is refused before anything runs."""
    for function in (lambda part: part, partial(lambda part, scale: part * scale, scale=2)):
        with pytest.raises(ValueError, match="top level of a module"):
            DaskWorkers(client).map_parts(function, [1])


def test_nothing_listens_beyond_loopback(client: Client) -> None:
    """No socket of the scheduler or of a worker is bound to another interface."""
    pids = [os.getpid(), *client.run(os.getpid).values()]
    bound = {
        connection.laddr.ip
        for pid in pids
        for connection in psutil.Process(pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert bound == {"127.0.0.1"}


def test_nobody_at_the_address(tmp_path: Path) -> None:
    """An address where nobody listens is an error soon."""
    with pytest.raises(OSError, match="Timed out"), dask_cluster.connect("tcp://127.0.0.1:9", workers=1):
        pass


def test_existing_cluster_is_used(client: Client) -> None:
    """Given the address of a running cluster, work goes to its workers, and it outlives the connection."""
    with dask_cluster.connect(client.scheduler.address) as other:
        assert DaskWorkers(other).map_parts(dask_work.fail_at_three, [1, 2]) == [1, 2]
    assert DaskWorkers(client).map_parts(dask_work.fail_at_three, [4]) == [4]
