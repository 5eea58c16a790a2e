"""The deployments with real processes: Prefect server and worker, Ray, Dask, and SeaweedFS as the store.

Emoji come from the npm registry, into a fresh CMH_HOME; CMH_TEST_DOWNLOADS may name a folder that has them.
"""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import save_file

from cmh.networks import backbones
from flows.experiment import Experiment
from flows.pipeline import stages
from flows.run import resolve
from infra import artifacts
from infra.stores import open_store
from tests.s3_server import BUCKET, S3Server, free_ports

pytestmark = pytest.mark.slow

STAGES = [stage.kind for stage in stages(resolve(Experiment()))]

ROOT = Path(__file__).parents[2]
PATIENCE = 500.0  # seconds for a run that takes 90 on two idle cores


@dataclass(frozen=True)
class Servers:
    """A Prefect server with a worker; `environment` is what its clients and runs need."""

    environment: Mapping[str, str]
    log: Path

    def prefect(self, *arguments: object) -> str:
        """Call `prefect` in the project's folder."""
        command = [*_module("prefect"), *map(str, arguments)]
        called = subprocess.run(command, cwd=ROOT, env=dict(self.environment), capture_output=True, text=True)
        assert called.returncode == 0, called.stdout + called.stderr
        return called.stdout

    def api(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """GET, or POST with a body."""
        request = urllib.request.Request(
            self.environment["PREFECT_API_URL"] + path,
            None if body is None else json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())

    def run(self, deployment: str, **parameters: object) -> str:
        """Start a run as a user does; its id."""
        chosen = [
            part for name, value in parameters.items() for part in ("--param", f"{name}={_json(value)}")
        ]
        return str(
            uuid.UUID(self.prefect("deployment", "run", deployment, *chosen).split("UUID: ")[1].split()[0])
        )

    def ended(self, run: str) -> Mapping[str, Any]:
        """Wait for the end of a run; its state."""
        deadline = time.monotonic() + PATIENCE
        while True:
            state = self.api(f"/flow_runs/{run}")["state"]
            if state["type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"):
                return dict(state)
            assert time.monotonic() < deadline, f"{state}\n{self.log.read_text()[-3000:]}"
            time.sleep(1)


def _json(value: object) -> str:
    return json.dumps(value, default=str)


def _module(name: str) -> list[str]:
    return [sys.executable, "-m", name]


@contextmanager
def _process(command: list[str], environment: Mapping[str, str], log: Path) -> Iterator[None]:
    """A process while the block lasts, with all that it started."""
    with log.open("ab") as out:
        process = psutil.Popen(command, cwd=ROOT, env=dict(environment), stdout=out, stderr=out)
    try:
        yield
    finally:
        family = [*process.children(recursive=True), process] if process.is_running() else []
        for one in family:
            try:
                one.kill()  # neither server nor worker ends promptly on a signal that it may handle
            except psutil.NoSuchProcess:
                continue
        process.wait()


@pytest.fixture(scope="module")
def servers(s3: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Prefect's server on a free port, every deployment of prefect.yaml on it, and a worker."""
    folder = tmp_path_factory.mktemp("servers")
    (port,) = free_ports(1)
    (folder / "home").mkdir()
    if "CMH_TEST_DOWNLOADS" in os.environ:
        shutil.copytree(os.environ["CMH_TEST_DOWNLOADS"], folder / "home" / "downloads")
    keep = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "RAY_"))}
    environment = keep | s3.environment | {
        "CMH_HOME": str(folder / "home"),
        "CMH_STORE": f"s3://{BUCKET}/{uuid.uuid4().hex}",
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }  # fmt: skip
    log = folder / "log.txt"
    servers = Servers(environment, log)
    server = [*_module("prefect"), "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with _process(server, environment, log):
        _wait_until_healthy(servers)
        servers.prefect("work-pool", "create", "local", "--type", "process")
        servers.prefect("--no-prompt", "deploy", "--all")
        with _process([*_module("prefect"), "worker", "start", "--pool", "local"], environment, log):
            yield servers


def _wait_until_healthy(servers: Servers) -> None:
    deadline = time.monotonic() + 180
    while True:
        try:
            assert servers.api("/health") is True
            return
        except OSError:
            assert time.monotonic() < deadline, servers.log.read_text()[-3000:]
            time.sleep(0.5)


@pytest.mark.timeout(900)
def test_deployed_run(servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`prefect deployment run train-scahn/emoji --param bits=32` ends COMPLETED, shows its figures, leaves
    whole artifacts in S3; a run that cannot work ends FAILED and says why."""
    deployed = servers.api("/deployments/name/train-scahn/emoji")
    assert [schedule["active"] for schedule in deployed["schedules"]] == [False]
    for flow in ("preprocess", "features", "encode", "evaluate"):
        assert servers.api(f"/deployments/name/{flow}/emoji")["work_pool_name"] == "local"

    with pytest.raises(AssertionError, match="Validation failed for field 'bits'"):  # by the form, at once
        servers.run("train-scahn/emoji", bits=12)
    refused = servers.run("train-scahn/emoji", settings={"no_such": 1})
    torch.manual_seed(0)
    save_file(backbones.load("resnet18", "none").network.state_dict(), tmp_path / "resnet18.safetensors")
    run = servers.run(
        "train-scahn/emoji",
        bits=32,
        limit=320,
        training={"epochs": 2, "batch_size": 32},
        backbone={"name": "resnet18", "weights": tmp_path / "resnet18.safetensors", "image_size": 32},
        resources={"threads": 1},
    )
    state = servers.ended(refused)
    assert state["type"] == "FAILED"
    assert "no_such" in state["message"]

    state = servers.ended(run)
    assert state["type"] == "COMPLETED", f"{state}\n{servers.log.read_text()[-5000:]}"
    logs = servers.api("/logs/filter", {"logs": {"flow_run_id": {"any_": [run]}}})
    own = [log["message"] for log in logs if log["name"].startswith("flows.")]
    assert any(line.startswith("epoch 2: loss ") for line in own), own
    _check_shown(servers, run)
    _check_stored(servers, monkeypatch)


def _check_shown(servers: Servers, run: str) -> None:
    """The MAP table, the figures, the places of the artifacts and the progress are artifacts of the run."""
    shown = servers.api("/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run]}}})
    by_key = {one["key"]: one for one in shown if one["key"]}
    table = json.loads(by_key["scahn-emoji-map"]["data"])
    assert table[0]["direction"] == "image → text"
    assert set(table[0]) == {"direction", "16 bits", "32 bits"}
    assert by_key["scahn-emoji-map-by-bits"]["data"].startswith("data:image/png;base64,")
    for kind in STAGES:
        assert f"| {kind} | `{servers.environment['CMH_STORE']}/{kind}/" in by_key["artifacts"]["data"]
    progress = {one["description"]: one["data"] for one in shown if one["type"] == "progress"}
    for stage in ("fetching", "decoding", "features", "epochs of training", "encoding"):
        assert float(progress[stage]) == 100.0, stage


def _check_stored(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every artifact lies in S3, whole."""
    for name in ("CMH_HOME", "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
        monkeypatch.setenv(name, servers.environment[name])
    store = open_store(servers.environment["CMH_STORE"])
    made = {one.kind: one for one in artifacts.list_artifacts(store)}
    assert set(made) == set(STAGES)
    assert [problem for one in made.values() for problem in artifacts.verify(store, one.ref)] == []
    assert made["model"].run["dashboard"].startswith("http://127.0.0.1:")
    assert not [path for path in store.sizes(made["model"].ref.address) if "ray-run" in path]
