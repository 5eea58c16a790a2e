"""`cmh up`, what is deployed by it, and `cmh down`, with real processes: Prefect, Ray, Dask, SeaweedFS.

Emoji come from the npm registry, into a fresh CMH_HOME; CMH_TEST_DOWNLOADS may name a folder that has them.
"""

import json
import os
import re
import shutil
import socket
import time
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import suppress
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
from infra import artifacts, lineage, processes, stack
from infra.stores import open_store
from tests.cmh.service.serving import end, start
from tests.flows.command_line import cmh
from tests.flows.prefect_servers import PATIENCE, Servers
from tests.flows.test_index import draw

pytestmark = pytest.mark.slow

STAGES = [stage.kind for stage in stages(resolve(Experiment()))]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """The stack, while another process has a port of it; whatever is left of it ends with the tests."""
    folder = tmp_path_factory.mktemp("servers")
    (folder / "home").mkdir()
    if "CMH_TEST_DOWNLOADS" in os.environ:
        shutil.copytree(os.environ["CMH_TEST_DOWNLOADS"], folder / "home" / "downloads")
    keep = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "RAY_"))}
    keep.pop("CMH_STORE", None)
    starting = Servers(keep | {"CMH_HOME": str(folder / "home")}, folder / "log.txt")
    with pytest.MonkeyPatch.context() as patch, socket.socket() as other:
        with suppress(OSError):  # another process has it already: the better
            other.bind(("127.0.0.1", 8786))
            other.listen()
        starting.cmh("up")
        patch.setenv("CMH_HOME", str(folder / "home"))
        patch.delenv("CMH_STORE", raising=False)
        started = stack.read()
        assert started is not None
        log = next(one.log for one in started.servers if one.name == "prefect-worker")
        try:
            yield Servers(keep | stack.environment(started), log)
        finally:
            processes.end(None, started.mark, grace=1)


def test_every_server_answers_where_it_is_said_to(servers: Servers):
    """A taken port is passed over; secrets are the owner's alone; up again does nothing."""
    rows = _status(servers)
    names = ["s3", "prefect", "dask", "dask-worker", "ray", "metrics", "prefect-worker"]
    assert [row["server"] for row in rows] == names
    assert {row["state"] for row in rows} == {"answers"}
    assert servers.environment["DASK_SCHEDULER_ADDRESS"] != "tcp://127.0.0.1:8786"
    local = Path(servers.environment["CMH_HOME"], "local")
    assert all((local / name).stat().st_mode & 0o077 == 0 for name in ("env", "secrets.json"))
    assert "everything is up already" in servers.cmh("up")


def _status(servers: Servers) -> list[dict[str, Any]]:
    return [json.loads(line) for line in servers.cmh("status", "--json").splitlines()]


@pytest.mark.timeout(900)
def test_deployed_run(servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`prefect deployment run train-scahn/emoji --param bits=32` ends COMPLETED, shows its figures, leaves
    whole artifacts in S3; again, it says that there is nothing to compute."""
    deployed = servers.api("/deployments/name/train-scahn/emoji")
    assert [schedule["active"] for schedule in deployed["schedules"]] == [False]
    for flow in ("preprocess", "features", "encode", "evaluate"):
        assert servers.api(f"/deployments/name/{flow}/emoji")["work_pool_name"] == "local"

    with pytest.raises(AssertionError, match="Validation failed for field 'bits'"):  # by the form, at once
        servers.run("train-scahn/emoji", bits=12)
    with pytest.raises(AssertionError, match="no_such"):
        servers.run("train-scahn/emoji", settings={"no_such": 1})
    torch.manual_seed(0)
    save_file(backbones.load("resnet18", "none").network.state_dict(), tmp_path / "resnet18.safetensors")
    small: dict[str, object] = {
        "bits": 32,
        "limit": 320,
        "settings": {"gamma": 0.02},
        "training": {"epochs": 2, "batch_size": 32},
        "backbone": {"name": "resnet18", "weights": tmp_path / "resnet18.safetensors", "image_size": 32},
        "resources": {"threads": 1},
    }
    run = servers.run("train-scahn/emoji", **small)
    again = servers.run("train-scahn/emoji", **small)
    state = servers.ended(run)
    assert state["type"] == "COMPLETED", f"{state}\n{servers.log.read_text()[-5000:]}"
    name = servers.api(f"/flow_runs/{run}")["name"]
    assert re.fullmatch("scahn-emoji-32-[0-9a-f]{4}", name)
    state = servers.ended(again)
    assert (state["type"], state["name"]) == ("COMPLETED", "Cached")
    assert state["message"].startswith("nothing to compute: all 6 artifacts were there, up to report/")
    logs = servers.api("/logs/filter", {"logs": {"flow_run_id": {"any_": [run]}}})
    own = [log["message"] for log in logs if log["name"].startswith("flows.")]
    assert any(line.startswith("epoch 2: loss ") for line in own), own
    _check_shown(servers, run)
    _check_stored(servers, monkeypatch)
    assert "Receive client connection" in (servers.log.parent / "dask.log").read_text()
    (row,) = cmh("runs", "--json").rows
    assert (row["run"], len(row["i→t"]), row["core-hours"] > "0") == (name, 5, True)


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
    monkeypatch.setenv("CMH_STORE", servers.environment["CMH_STORE"])
    store = open_store()
    made = {one.kind: one for one in artifacts.list_artifacts(store)}
    assert set(made) == set(STAGES)
    assert [problem for one in made.values() for problem in artifacts.verify(store, one.ref)] == []
    assert made["model"].run["dashboard"].startswith("http://127.0.0.1:")
    for one in made.values():
        assert one.run["run"].startswith("scahn-emoji-32-")
        assert lineage.core_hours(one)
    assert not [path for path in store.sizes(made["model"].ref.address) if "checkpoints" in path]


def test_a_schedule_keeps_a_served_collection_in_step(servers: Servers, tmp_path: Path):
    """Photos come, change and go while it is searched; the schedule runs until paused; all is counted."""
    photos, kept = tmp_path / "photos", tmp_path / "collection"
    draw(photos, ["a.png", "b.png", "c.png"])
    servers.cmh("deploy", "refresh-index/photos", "--source", photos, "--collection", kept)
    here = {"resources": {"threads": 1}}
    state = servers.ended(servers.run("refresh-index/photos", **here))
    assert state["message"] == "3 encoded, 0 of them as they had changed; 0 removed; 0 rejected"
    served, url = start(kept, **servers.environment)
    try:
        assert _nearest(url, "a.png") == {"b.png", "c.png"}
        draw(photos, ["b.png", "d.png"], seed=1)
        (photos / "c.png").unlink()
        deployment = servers.api("/deployments/name/refresh-index/photos")
        every = [{"schedule": {"interval": 5, "timezone": "UTC"}, "active": True, "parameters": here}]
        servers.api(f"/deployments/{deployment['id']}", {"schedules": every}, method="PATCH")
        deadline = time.monotonic() + PATIENCE
        while _nearest(url, "a.png") != {"b.png", "d.png"}:
            assert time.monotonic() < deadline, _runs(servers, deployment["id"])
            time.sleep(1)
        every[0]["active"] = False
        servers.api(f"/deployments/{deployment['id']}", {"schedules": every}, method="PATCH")
    finally:
        assert end(served)[0] == 0
    runs, before = _runs(servers, deployment["id"]), None
    while runs != before:  # until nothing has come in more than an interval
        assert time.monotonic() < deadline, runs
        time.sleep(8)
        runs, before = _runs(servers, deployment["id"]), runs
    messages = [run["state"]["message"] for run in runs if run["state_type"] == "COMPLETED"]
    assert "2 encoded, 1 of them as they had changed; 1 removed; 0 rejected" in messages
    (address,) = [row["address"] for row in _status(servers) if row["server"] == "metrics"]
    with urllib.request.urlopen(address) as answer:
        counted = answer.read().decode()
    assert 'cmh_stages_total{result="computed",stage="model"} 1.0' in counted
    assert 'cmh_items_total{stage="index"} 5.0' in counted


def _nearest(url: str, name: str) -> set[str]:
    """The other items of a served collection, by what it is asked for and answers."""

    def asked(query: str) -> Any:
        with urllib.request.urlopen(url + query) as answer:
            return json.loads(answer.read())

    (own,) = [item["id"] for item in asked("items?k=100")["shown"] if item["name"] == name]
    return {hit["name"] for hit in asked(f"search?like={own}")["hits"]}


def _runs(servers: Servers, deployment: str) -> list[dict[str, Any]]:
    """What the runs of a deployment have come to, but for those that are only planned."""
    wanted = {"deployments": {"id": {"any_": [deployment]}}}
    found = servers.api("/flow_runs/filter", wanted)
    return [
        {name: run[name] for name in ("id", "state_type", "state")}
        for run in found
        if run["state_type"] != "SCHEDULED"
    ]


def test_an_artifact_comes_into_a_clean_home(servers: Servers, tmp_path: Path):
    """`cmh pull` of a report from the bucket, verified, into a store that was not there."""
    clean = Servers(servers.environment | {"CMH_HOME": str(tmp_path / "home")}, servers.log)
    source = servers.environment["CMH_STORE"]
    (report,) = map(json.loads, clean.cmh("ls", "report", "--json").splitlines())
    clean.cmh("pull", report["address"], "--source", source)
    offline = {name: value for name, value in clean.environment.items() if name != "CMH_STORE"}
    here = Servers(offline, servers.log)
    assert json.loads(here.cmh("ls", "--json"))["address"] == report["address"]
    here.cmh("verify", report["address"])


def test_a_run_without_its_data_says_what_to_put_where(servers: Servers):
    """Within seconds, in the state of the run; and before any run, in the description of the deployment."""
    began = time.monotonic()
    state = servers.ended(servers.run("train-scahn/mirflickr25k"))
    assert state["type"] == "FAILED"
    for file in ("mirflickr25k.zip", "mirflickr25k_annotations_v080.zip"):
        assert file in state["message"]
        assert file in servers.api("/deployments/name/train-scahn/mirflickr25k")["description"]
    assert "https://press.liacs.nl/" in state["message"]
    assert time.monotonic() - began < 100  # 15 s on an idle machine, of which the imports take 10


def test_the_store_is_looked_after(servers: Servers):
    """The nightly flows are deployed, their schedules paused; each says what it found."""
    for name in ("verify-store", "gc"):
        deployed = servers.api(f"/deployments/name/{name}/nightly")
        assert [one["active"] for one in deployed["schedules"]] == [False]
        assert deployed["concurrency_options"]["collision_strategy"] == "CANCEL_NEW"
    state = servers.ended(servers.run("gc/nightly"))
    assert (state["type"], state["name"]) == ("COMPLETED", "Cached")
    assert state["message"] == "nothing to remove"


def test_settings_of_an_operator_are_kept(servers: Servers):
    """Deploying again leaves schedules, parameters, limits, tags, pauses and automations alone."""
    (crashed,) = servers.api("/automations/filter", {})  # those that notify need an address
    assert crashed["name"] == "cmh: a run without heartbeat has crashed"
    before = servers.api("/deployments/name/train-scm/wiki")
    chosen = {
        "paused": True,
        "parameters": {"dataset": "wiki", "bits": 48},
        "concurrency_limit": 3,
        "tags": ["mine"],
        "schedules": [{"schedule": {"cron": "0 5 * * *", "timezone": "UTC"}, "active": True}],
    }
    servers.api(f"/deployments/{before['id']}", chosen, method="PATCH")
    servers.api(f"/automations/{crashed['id']}", {"enabled": False}, method="PATCH")
    with_hook = Servers(servers.environment | {"CMH_NOTIFY_URL": "http://127.0.0.1:9/hook"}, servers.log)
    said = with_hook.cmh("deploy", "scm/wiki")
    assert "renewed  1 that were there" in said
    assert (said.count(": created"), said.count("is there, and left as it is")) == (2, 1)
    after = servers.api("/deployments/name/train-scm/wiki")
    assert (after["paused"], after["parameters"], after["tags"]) == (True, chosen["parameters"], ["mine"])
    assert after["global_concurrency_limit"]["limit"] == 3
    assert [(one["schedule"]["cron"], one["active"]) for one in after["schedules"]] == [("0 5 * * *", True)]
    enabled = {one["name"]: one["enabled"] for one in servers.api("/automations/filter", {})}
    assert enabled.pop(crashed["name"]) is False
    assert set(enabled) == {"cmh: notify of failed runs", "cmh: notify of late runs"}


def test_down_leaves_nothing(servers: Servers):
    """No process and no port; data and logs stay; a second time there is nothing to end."""
    mark = json.loads(Path(servers.environment["CMH_HOME"], "local", "stack.json").read_text())["mark"]
    listening = _listening(processes.family(mark))
    assert len(listening) > 10
    servers.cmh("down")
    assert processes.family(mark) == []
    assert not listening & _listening(psutil.process_iter())
    local = Path(servers.environment["CMH_HOME"], "local")
    assert (local / "s3").is_dir()
    assert (local / "logs" / "ray").is_dir()
    assert "nothing is up" in servers.cmh("down")
    assert "nothing is up" in servers.cmh("status", status=1)


def _listening(family: Iterable[psutil.Process]) -> set[tuple[int, int]]:
    """The process and port of each socket at which one of these processes listens."""
    found = set()
    for process in family:
        with suppress(psutil.Error):
            connections = process.net_connections("inet")
            found |= {
                (process.pid, one.laddr.port) for one in connections if one.status == psutil.CONN_LISTEN
            }
    return found
