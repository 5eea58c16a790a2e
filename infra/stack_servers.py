"""What each server of `infra.stack` is: its command, its address, and how to see that it answers."""

import base64
import json
import sys
import urllib.request
from collections.abc import Callable, Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any

from infra import doctor, processes
from infra.stack import Server, Stack, environment, folder, starts_s3, weed
from infra.stack_ports import Ports

POOL = "local"


def commands(stack: Stack, ports: Ports) -> dict[str, tuple[list[str], str]]:
    """Return of each server but Prefect's worker its command and its address, in the order of starting."""
    python, state, here = sys.executable, folder(), processes.HERE
    found: dict[str, tuple[list[str], str]] = {}
    if starts_s3():
        found["s3"] = (
            [
                *(str(weed()), "server", f"-ip={here}", f"-ip.bind={here}", f"-dir={_made(state / 's3')}"),
                *("-s3", f"-s3.port={ports.s3}", "-s3.port.iceberg=0", "-s3.port.lance=0"),
                *(f"-master.port={ports.s3_master}", f"-volume.port={ports.s3_volume}"),
                *(f"-filer.port={ports.s3_filer}", "-master.volumeSizeLimitMB=256", "-volume.max=100"),
                *("-volume.preStopSeconds=1", "-master.telemetry=false"),
            ],
            f"http://{here}:{ports.s3}",
        )
    found["prefect"] = (
        [python, "-m", "prefect", "server", "start", "--host", here, "--port", str(ports.prefect)],
        f"http://{here}:{ports.prefect}",
    )
    found["dask"] = (
        [
            *(python, "-m", "distributed.cli.dask_scheduler", "--host", here, "--port", str(ports.dask)),
            *("--dashboard-address", f"{here}:{ports.dask_dashboard}"),
        ],
        f"http://{here}:{ports.dask_dashboard}",
    )
    found["dask-worker"] = (
        [
            *(python, "-m", "distributed.cli.dask_worker", f"tcp://{here}:{ports.dask}", "--host", here),
            *("--nworkers", "auto", "--nthreads", "1", "--dashboard-address", f"{here}:0"),
            *("--local-directory", str(_made(state / "dask"))),
        ],
        f"tcp://{here}:{ports.dask}",
    )
    found["ray"] = (
        [
            *(python, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats"),
            *("--node-ip-address", here, "--port", str(ports.ray), "--temp-dir", str(stack.ray_folder)),
            *("--dashboard-host", here, "--dashboard-port", str(ports.ray_dashboard)),
            *("--ray-client-server-port", str(ports.ray_client)),
            *("--dashboard-agent-listen-port", str(ports.ray_agent)),
        ],
        f"http://{here}:{ports.ray_dashboard}",
    )
    found["metrics"] = (
        [python, "-m", "flows.cli", "metrics", "--port", str(ports.metrics)],
        f"http://{here}:{ports.metrics}/metrics",
    )
    if stack.collection is not None:
        found["service"] = (
            [python, "-m", "flows.cli", "serve", str(stack.collection), "--port", str(ports.service)],
            f"http://{here}:{ports.service}",
        )
    return found


def worker_command() -> list[str]:
    """Return the command of Prefect's worker, which is started once there are deployments."""
    return [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL]


def answers(stack: Stack, server: Server) -> bool:
    """Return whether a server does what it is for."""
    if not stack.goes_on(server):
        return False
    known = environment(stack)
    prefect = known["PREFECT_API_URL"]
    basic = base64.b64encode(known["PREFECT_API_AUTH_STRING"].encode()).decode()
    dashboards = {one.name: one.address for one in stack.servers}
    looks: Mapping[str, Callable[[], bool]] = {
        "s3": lambda: doctor.store(known["CMH_STORE"]).ok,
        "prefect": lambda: _get(f"{prefect}/health", f"Basic {basic}") is True,
        "prefect-worker": lambda: _get(f"{prefect}/work_pools/{POOL}", f"Basic {basic}")["status"] == "READY",
        "dask": lambda: "workers" in _get(f"{server.address}/json/counts.json"),
        "dask-worker": lambda: _get(f"{dashboards['dask']}/json/counts.json")["workers"] > 0,
        "ray": lambda: bool(_get(f"{server.address}/api/version", f"Bearer {known['RAY_AUTH_TOKEN']}")),
        "metrics": lambda: b"cmh_" in _read(server.address),
        "service": lambda: bool(_get(f"{server.address}/readyz")),
    }
    try:
        return looks[server.name]()
    except (OSError, HTTPException, ValueError, KeyError):
        return False


def _get(url: str, authorization: str = "") -> Any:
    return json.loads(_read(url, authorization))


def _read(url: str, authorization: str = "") -> bytes:
    request = urllib.request.Request(url, headers={"Authorization": authorization} if authorization else {})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=5) as answer:
        return bytes(answer.read(1 << 24))


def _made(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path
