"""What the servers cost: a run through Prefect, Ray, Dask and S3 against the same stages without them.

cmh up
source .cmh/local/env
python -m tests.bench.drawings FOLDER
python -m tests.bench.overhead FOLDER [EPOCHS]

Both runs have one thread, and stores of their own; the seconds of a stage are those that its manifest keeps.
The first run is `cmh run` without servers, whose stages work in processes that it starts.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

import cyclopts
import yaml

from infra import lineage
from infra.storage import Store
from infra.stores import open_store
from tests.flows.prefect_servers import Servers

SERVERS = ("PREFECT_", "RAY_", "DASK_", "AWS_", "CMH_")  # what variables of theirs begin with


def main(drawings: Path, epochs: int = 60) -> None:
    """Print the seconds of both by stage."""
    folder = Path(tempfile.mkdtemp(prefix="cmh-overhead-"))
    entry = folder / "drawings.yaml"
    paths = {"images": drawings.absolute() / "photos", "items": drawings.absolute() / "items.csv"}
    facts = {
        "name": "folder",
        "title": f"drawings of {folder.name}",
        "reader": "folder",
        "sources": {name: {"kind": "path", "path": str(path)} for name, path in paths.items()},
        "unlabelled": "kept",
        "split": {"query": 0.15, "validation": 0.08, "train": 1.0},
    }
    entry.write_text(yaml.safe_dump(facts))
    alone, alone_s = _alone(folder, entry, epochs)
    served, served_s = _served(entry, epochs)
    rows = [(kind, alone[kind], served[kind]) for kind in alone]
    rows += [("all stages", sum(alone.values()), sum(served.values())), ("whole run", alone_s, served_s)]
    print("| stage | without servers, s | with, s | ratio |\n| --- | --- | --- | --- |")
    for name, one, other in rows:
        print(f"| {name} | {one:.1f} | {other:.1f} | {other / one:.2f} |")


def _alone(folder: Path, entry: Path, epochs: int) -> tuple[dict[str, float], float]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(SERVERS)}
    environment |= {"CMH_HOME": str(folder / "home"), "PREFECT_HOME": str(folder / "prefect")}
    command = [sys.executable, "-m", "flows.cli", "run", "--dataset", str(entry), "--method", "scahn"]
    command += ["--threads", "1", "--training.epochs", str(epochs), "--json"]
    began = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    whole = time.perf_counter() - began
    addresses = [json.loads(line)["address"] for line in done.stdout.splitlines()]
    return _seconds(open_store(str(folder / "home" / "store")), addresses), whole


def _served(entry: Path, epochs: int) -> tuple[dict[str, float], float]:
    servers = Servers(os.environ, Path(os.devnull))
    training, resources = {"epochs": epochs}, {"threads": 1}
    run = servers.run("train-scahn/emoji", dataset=entry, training=training, resources=resources)
    print(f"flow run {run}", file=sys.stderr, flush=True)
    state = servers.ended(run)
    if state["type"] != "COMPLETED":
        raise RuntimeError(state["message"])
    whole = _moment(state["timestamp"]) - _moment(servers.api(f"/flow_runs/{run}")["created"])
    shown = servers.api("/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run]}}})
    (links,) = [one["data"] for one in shown if one["key"] == "artifacts"]
    store = open_store()
    addresses = [
        part.removeprefix(f"{store.url}/") for part in links.split("`") if part.startswith(store.url)
    ]
    return _seconds(store, addresses), whole


def _seconds(store: Store, addresses: list[str]) -> dict[str, float]:
    known = lineage.read(store)
    made = [known.at(address) for address in addresses]
    return {one.kind: float(one.run["seconds"]) for one in made}


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


if __name__ == "__main__":
    cyclopts.run(main)
