"""Ray as the pipeline starts it: with a token, a dashboard that answers, and its end with the block."""

import contextlib
import os
import socket
import stat
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import ray

from infra import ray_cluster
from infra.stores import open_store
from tests.infra import ray_work


@pytest.fixture
def no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine where nobody has set a token."""
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        monkeypatch.setenv(name, "")  # so that what is set here is undone
        monkeypatch.delenv(name)


@pytest.mark.usefixtures("no_token")
def test_token_is_made_once_and_is_the_users_alone(cmh_home: Path):
    """The second call keeps the first one's token; nobody else may read it."""
    ray_cluster.authenticate()
    token = cmh_home / "ray-token"
    first = token.read_text()
    ray_cluster.authenticate()
    assert token.read_text() == first
    assert len(first) == 64
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert os.environ["RAY_AUTH_TOKEN_PATH"] == str(token)


@pytest.mark.usefixtures("no_token")
def test_a_token_that_was_set_is_kept(cmh_home: Path, monkeypatch: pytest.MonkeyPatch):
    """With the token of another cluster in the environment none is made."""
    monkeypatch.setenv("RAY_AUTH_TOKEN", "a" * 64)
    ray_cluster.authenticate()
    assert "RAY_AUTH_TOKEN_PATH" not in os.environ
    assert not (cmh_home / "ray-token").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("cmh_home")
def test_local_ray_answers_and_ends_with_the_block():
    """The dashboard answers while the block runs; afterwards none of the processes started for it is left."""
    before = set(psutil.Process().children(recursive=True))
    with ray_cluster.connect(cpus=1) as dashboard:
        with urllib.request.urlopen(dashboard) as answer:
            assert answer.status == 200
        assert ray.cluster_resources()["CPU"] == 1
        room = {"store": open_store(), "folder": "model/x/checkpoints/ray", "workers": 2, "cpus": 1}
        with pytest.raises(ValueError, match=r"2 worker\(s\) ask for 2 CPU\(s\), and this Ray has 1"):
            ray_cluster.train(dict, {}, gpu=False, **room)
        with pytest.raises(
            ValueError, match="a worker asks for 2 CPUs, and the largest node of this Ray has 1"
        ):
            ray_cluster.train(dict, {}, gpu=False, **{**room, "workers": 1, "cpus": 2})
        with pytest.raises(ValueError, match=r"1 worker\(s\) ask for 1 GPU\(s\), and this Ray has 0"):
            ray_cluster.train(dict, {}, gpu=True, **{**room, "workers": 1})
    started = set(psutil.Process().children(recursive=True)) - before
    _, alive = psutil.wait_procs(started, timeout=20)
    assert not alive


@pytest.fixture
def head(tmp_path: Path) -> Iterator[Callable[[dict[str, str]], str]]:
    """Starts a Ray head of its own with these variables; gives its address."""
    started = []

    def start(variables: dict[str, str]) -> str:
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
        address = f"127.0.0.1:{port}"
        command = ["ray", "start", "--head", "--block", "--port", str(port), "--node-ip-address", "127.0.0.1"]
        command += ["--num-cpus", "1", "--include-dashboard", "false", "--disable-usage-stats"]
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        with (tmp_path / "ray.log").open("w") as file:
            process = subprocess.Popen(
                command, env=os.environ | {"PATH": path} | variables, stdout=file, stderr=file
            )
        started.append(process)
        for _ in range(120):
            if "Ray runtime started" in (tmp_path / "ray.log").read_text():
                return address
            time.sleep(0.5)
        raise RuntimeError((tmp_path / "ray.log").read_text())

    yield start
    for process in started:
        running = psutil.Process(process.pid)
        for each in [*running.children(recursive=True), running]:  # by itself it takes half a minute to end
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        process.wait()


def _has_a_worker(node: psutil.Process) -> bool:
    """Whether Ray has a process of a training on this node, if only one that starts."""
    for process in node.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if any("RayTrainWorker" in word for word in process.cmdline()):
                return True
    return False


@pytest.mark.slow
@pytest.mark.usefixtures("cmh_home")
@pytest.mark.parametrize("early", [False, True], ids=["while they work", "while they start"])
def test_a_lost_node_is_said_and_fewer_workers_go_on(
    head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, early: bool
):
    """Two nodes with a worker each, of which one is killed: the other starts the loop again, alone."""
    monkeypatch.setattr(ray_cluster, "STARTS", 1)
    monkeypatch.setattr(ray_cluster, "_LOOK_EVERY", 0.5)
    monkeypatch.setenv("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "5")  # a minute, by default
    address = head({"RAY_health_check_period_ms": "500", "RAY_health_check_timeout_ms": "1000"})
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--address", address]
    command += ["--num-cpus", "1", "--node-ip-address", "127.0.0.1", "--disable-usage-stats"]

    def lose() -> None:
        while not (_has_a_worker(node) if early else (tmp_path / "world-2").exists()):
            time.sleep(0.1)
        for process in [*node.children(recursive=True), node]:
            process.kill()

    losing = threading.Thread(target=lose, daemon=True)
    with ray_cluster.connect(address):
        with (tmp_path / "node.log").open("w") as file:  # after the driver, which else may be at this node
            node = psutil.Popen(command, stdout=file, stderr=file)
        while ray.cluster_resources().get("CPU", 0) < 2:
            time.sleep(0.2)
        losing.start()
        size = ray_cluster.train(
            ray_work.world,
            str(tmp_path),
            store=open_store(),
            folder="model/x/checkpoints/ray",
            workers=2,
            cpus=1,
            gpu=False,
            fewer=[1],
        )
    node.wait()
    assert size == 1
    if not early:  # else a training may have ended before anyone has looked
        assert "Ray has lost a node: there is room for 1 of 2 workers" in caplog.text
    assert "going on with 1" in caplog.text


TRAINS = """
import sys
from infra import ray_cluster
from infra.stores import open_store
from tests.infra import ray_work

with ray_cluster.connect(sys.argv[1]):
    ray_cluster.train(
        ray_work.wait, sys.argv[2], store=open_store(), folder="x", workers=1, cpus=1, gpu=False
    )
"""


@pytest.mark.slow
@pytest.mark.usefixtures("cmh_home")
def test_a_head_that_is_gone_is_said(head, tmp_path: Path):
    """In words and soon, in a program of its own, which Ray may end."""
    command = [sys.executable, "-c", TRAINS, head({}), str(tmp_path)]
    run = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "waits").exists() and run.poll() is None:
        time.sleep(0.2)
    for process in psutil.process_iter(["name", "ppid"]):
        if process.info["name"] == "gcs_server" and process.parent().ppid() == os.getpid():
            process.kill()
    _, said = run.communicate(timeout=120)
    assert "ConnectionError: Ray was lost during the training, most likely with its head" in said


@pytest.mark.slow
@pytest.mark.usefixtures("cmh_home", "no_token")
@pytest.mark.parametrize(
    ("theirs", "message"),
    [
        ({"RAY_AUTH_MODE": "disabled"}, "starts no actors, most likely as it asks for no token"),
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "b" * 64}, "asks for another token"),
    ],
)
def test_a_cluster_with_another_token_is_refused(head, theirs: dict[str, str], message: str):
    """Before any work, with what to do; Ray itself would end the training without a reason."""
    address = head(theirs)
    with pytest.raises(ConnectionError, match=message), ray_cluster.connect(address):
        pass
    assert not ray.is_initialized()
