"""Prefect's server and worker as processes of their own, with what `cmh deploy` deploys, for tests."""

import base64
import json
import os
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

from tests.s3_server import free_ports

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

    def cmh(self, *arguments: object, status: int = 0) -> str:
        """Call `cmh` in the project's folder; what it prints."""
        command = [*_module("flows.cli"), *map(str, arguments)]
        called = subprocess.run(command, cwd=ROOT, env=dict(self.environment), capture_output=True, text=True)
        assert called.returncode == status, called.stdout + called.stderr
        return called.stdout

    def api(self, path: str, body: Mapping[str, Any] | None = None, method: str | None = None) -> Any:
        """GET, or POST with a body, unless another method is given."""
        headers = {"Content-Type": "application/json"}
        if password := self.environment.get("PREFECT_API_AUTH_STRING"):
            headers["Authorization"] = f"Basic {base64.b64encode(password.encode()).decode()}"
        data = None if body is None else json.dumps(body).encode()
        url = self.environment["PREFECT_API_URL"] + path
        request = urllib.request.Request(url, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or b"null")

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
def process(command: list[str], environment: Mapping[str, str], log: Path) -> Iterator[psutil.Popen]:
    """A process while the block lasts, with all that it started."""
    with log.open("ab") as out:
        process = psutil.Popen(command, cwd=ROOT, env=dict(environment), stdout=out, stderr=out)
    try:
        yield process
    finally:
        family = [*process.children(recursive=True), process] if process.is_running() else []
        for one in family:
            try:
                one.kill()  # neither server nor worker ends promptly on a signal that it may handle
            except psutil.NoSuchProcess:
                continue
        process.wait()


@contextmanager
def start(folder: Path, more: Mapping[str, str]) -> Iterator[Servers]:
    """Start both with `folder`/home as CMH_HOME and `more` in the environment; they end with the block."""
    (port,) = free_ports(1)
    keep = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "RAY_"))}
    environment = keep | {
        "CMH_HOME": str(folder / "home"),
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    } | more  # fmt: skip
    log = folder / "log.txt"
    servers = Servers(environment, log)
    server = [*_module("prefect"), "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with process(server, environment, log):
        _wait_until_healthy(servers)
        servers.cmh("deploy")
        with process([*_module("prefect"), "worker", "start", "--pool", "local"], environment, log):
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
