"""Runs that are ended, or whose servers are: with a real Prefect server and worker, Ray and Dask."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.flows import prefect_servers
from tests.flows.conftest import BITS, Workspace
from tests.flows.prefect_servers import ROOT, Servers
from tests.flows.test_pipeline import entry

pytestmark = pytest.mark.slow

LONG = 50_000  # epochs: more than a test waits for
TRAINS = "validation MAP"  # of an epoch that is done


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    """Prefect's server and worker, an empty store."""
    (tmp_path / "home").mkdir()
    with prefect_servers.start(tmp_path, {"CMH_STORE": str(tmp_path / "store")}) as servers:
        yield servers


def _until(holds: Callable[[], bool], seconds: float, log: Path) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, log.read_text()[-5000:]
        time.sleep(0.3)


def _session(leader: int) -> list[psutil.Process]:
    """The processes of a session that do something yet."""
    found = []
    for process in psutil.process_iter(["status"]):
        try:
            if os.getsid(process.pid) == leader and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process)
        except OSError:
            continue
    return found


def _deploy_long(servers: Servers, drawn: Workspace) -> tuple[str, int]:
    """A deployed run that trains, and the process of its flow, which leads a session."""
    run = servers.run(
        "train-scahn/emoji",
        dataset=entry(drawn, servers.log.parent / "drawings.yaml"),
        bits=BITS,
        training={"epochs": LONG, "batch_size": 16},
        backbone={"name": "resnet18", "weights": drawn.weights, "image_size": 32},
        resources={"threads": 1, "ray": "local"},
    )
    _until(lambda: TRAINS in servers.log.read_text(), 200, servers.log)
    (flow,) = [
        process.pid
        for process in psutil.process_iter(["cmdline", "environ"])
        if (process.info["cmdline"] or [])[-2:] == ["-m", "prefect.engine"]
        and (process.info["environ"] or {}).get("CMH_STORE") == servers.environment["CMH_STORE"]
    ]
    assert len(_session(flow)) > 3  # Ray's
    return run, flow


def test_cancelled_run_ends_cancelled(servers: Servers, drawn: Workspace):
    """`prefect flow-run cancel` while Ray trains: CANCELLED, and no process of the run is left."""
    run, flow = _deploy_long(servers, drawn)
    servers.prefect("flow-run", "cancel", run)
    assert servers.ended(run)["type"] == "CANCELLED"
    assert "SIGTERM received at" not in servers.log.read_text()  # Ray's own handler, which aborts
    _until(lambda: not _session(flow), 30, servers.log)


@pytest.mark.parametrize(
    ("engines", "number"),
    [
        ([], signal.SIGINT),
        (["--ray", "local", "--dask", "local"], signal.SIGINT),
        ([], signal.SIGTERM),
    ],
    ids=["processes", "engines", "SIGTERM"],
)
def test_ended_command_leaves_nothing(
    drawn: Workspace, tmp_path: Path, engines: list[str], number: signal.Signals
):
    """Ctrl-C reaches every process of the terminal: soon none is left, one line is said.

    SIGTERM can reach all of them, too, Prefect's server among them, or one, as a cancelled run above.
    """
    log = tmp_path / "log.txt"
    command = [sys.executable, "-c", "from flows.cli import main; main()", "run", *map(str, drawn.data)]
    options = [*drawn.small]
    options[options.index("--training.epochs") + 1] = LONG
    command += [*map(str, options), *engines]
    environment = os.environ | {"CMH_HOME": str(tmp_path / "home")}
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=out, stderr=out, start_new_session=True
        )
    try:
        _until(lambda: process.poll() is not None or TRAINS in log.read_text(), 200, log)
        os.killpg(process.pid, number)
        assert process.wait(timeout=30) == 128 + number, log.read_text()[-3000:]
        _until(lambda: not _session(process.pid), 10, log)
    finally:
        for left in _session(process.pid):
            left.kill()
    said = [line for line in log.read_text().splitlines() if line.startswith("cmh:")]
    assert said == ["cmh: ending; what is finished stays, and the same command goes on from there"]
    assert "Traceback" not in log.read_text()
