"""The files of infrastructure, as far as they can be checked without a daemon, a cluster or an account."""

import json
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.events.schemas.automations import AutomationCore
from prefect.server.utilities.user_templates import render_user_template_sync

from cmh.service.metrics import Metrics
from flows import automations
from infra import metrics
from tests import dashboard

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
DOCKERFILE = (INFRA / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((INFRA / "local" / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def test_the_dashboard_shows_metrics_that_there_are() -> None:
    """Of the pipeline and of the service; its panels do not lie on each other, its source can be chosen."""
    board = json.loads((INFRA / "monitoring" / "grafana-dashboard.json").read_text())
    shown = set().union(*(dashboard.names(one["expr"]) for one in dashboard.targets(board)))
    kept = {metric.name for metric in metrics.METRICS}
    served = {sample.name for family in Metrics().registry.collect() for sample in family.samples}
    buckets = {f"{family.name}_bucket" for family in Metrics().registry.collect()}
    counters = {f"{family.name}_total" for family in Metrics().registry.collect()}
    assert shown <= kept | served | buckets | counters
    assert kept <= shown
    places = {(one["gridPos"]["x"], one["gridPos"]["y"]) for one in board["panels"]}
    assert len(places) == len(board["panels"])
    assert {one["datasource"]["uid"] for one in board["panels"]} == {"${source}"}
    assert [one["name"] for one in board["templating"]["list"]] == ["source"]


def test_prometheus_asks_the_ports_of_the_stack() -> None:
    """As `cmh up` takes them, if they are free."""
    config = yaml.safe_load((INFRA / "monitoring" / "prometheus.yml").read_text())
    asked = {
        one["job_name"]: [target for group in one.get("static_configs", []) for target in group["targets"]]
        for one in config["scrape_configs"]
    }
    source = (INFRA / "stack_ports.py").read_text()
    for job, port in (("cmh", 9464), ("cmh-service", 8000), ("dask", 8787)):
        assert asked[job] == [f"127.0.0.1:{port}"]
        assert f"free_port({port}, taken)" in source


def test_the_image_runs_as_nobody_special() -> None:
    """By number, so that Kubernetes can see it; its bases are pinned; it says whether it is healthy."""
    assert re.findall(r"^USER (\S+)$", DOCKERFILE, re.M) == ["10001"]
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.M)
    assert all(re.search(r":\d+\.\d+\.\d+-", base) for base in bases)
    assert "HEALTHCHECK" in DOCKERFILE
    assert 'ENTRYPOINT ["tini", "--"]' in DOCKERFILE


def test_what_the_image_copies_is_sent_to_the_builder() -> None:
    """And nothing else is: not .git, not .cmh, not .env."""
    copied = {
        part for line in re.findall(r"^COPY (?!--)(.*) \S+$", DOCKERFILE, re.M) for part in line.split()
    }
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    sent = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert {part.split("/")[0] for part in copied} == sent
    assert all((ROOT / part).exists() for part in copied)
    assert "**/.env" in lines


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_bounded_and_reachable_from_this_machine_only(name: str) -> None:
    """Memory, logs, rights, restarts and health; no port beyond loopback; no secret in the file."""
    service = SERVICES[name]
    assert service["mem_limit"]
    assert service["logging"]["options"]["max-size"]
    assert service["restart"] == "unless-stopped"
    assert service["cap_drop"] == ["ALL"]
    assert "healthcheck" in service or name == "backup"
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    for key, value in service["environment"].items():
        if re.search("SECRET|PASSWORD|TOKEN|AUTH_STRING", key):
            assert "${" in value, key


def test_every_variable_of_the_services_is_in_the_example() -> None:
    """Whoever fills it in has filled in all."""
    asked = set(re.findall(r"(?<!\$)\$\{(\w+)", (INFRA / "local" / "compose.yaml").read_text()))
    lines = (INFRA / "local" / "example.env").read_text().splitlines()
    assert asked == {line.partition("=")[0] for line in lines if "=" in line and line[0] != "#"}


def test_the_worker_of_the_services_uses_their_ray_and_dask() -> None:
    """It is a node of that Ray, without which no driver can give it work."""
    worker = SERVICES["prefect-worker"]
    assert worker["environment"]["RAY_ADDRESS"] == "ray-head:6379"
    assert worker["environment"]["DASK_SCHEDULER_ADDRESS"] == "tcp://dask-scheduler:8786"
    assert "ray start --address ray-head:6379 --num-cpus 0" in worker["command"]


@pytest.mark.slow
def test_the_commands_of_the_services_are_understood() -> None:
    """Each program knows the options that it is given."""
    checked = 0
    for service in SERVICES.values():
        given = [service.get("command", ""), service.get("healthcheck", {}).get("test", "")]
        for line in re.split(r'&& exec|&&|"', " && ".join(given)):
            words = line.split()
            if words and words[0] in ("ray", "dask", "prefect", "cmh"):
                known = _help(words[0], *words[1 : 3 if words[0] == "prefect" else 2])
                for option in (word for word in words if word.startswith("--")):
                    assert option in known, (words, option)
                checked += 1
    assert checked >= 9


@cache
def _help(program: str, *subcommands: str) -> str:
    place = shutil.which(program, path=str(Path(sys.executable).parent))
    called = subprocess.run([str(place), *subcommands, "--help"], capture_output=True, text=True, cwd=ROOT)
    assert called.returncode == 0, (program, subcommands, called.stderr)
    return called.stdout


def test_automations_are_understood_by_prefect() -> None:
    """With a hook; and a run that ends, by whatever name its state has, is not taken for dead."""
    declared = yaml.safe_load((INFRA / "automations.yaml").read_text())
    hook = "0190fd4e-7f6f-7000-8000-000000000000"
    made = [AutomationCore.model_validate(automations._resolved(one, hook)) for one in declared]
    assert all(one.actions for one in made)
    assert made[0].trigger.expect == {"prefect.flow-run.*"}


def test_a_notification_is_json_whatever_a_run_says() -> None:
    """Quotes, line ends and tags of a message arrive as they are."""
    said = 'it is "not there"\nC:\\data <b> & {{ 7 * 7 }}'
    run = {"name": "scahn-emoji-64-3f2a", "state": {"name": "Failed", "message": said}}
    payload = automations._resolved(
        {"name": "x", "notify": "{{ flow_run.name }}: {{ flow_run.state.message }}"}, ""
    )
    (action,) = payload["actions"]
    rendered = render_user_template_sync(action["payload"], {"flow_run": run})
    assert json.loads(rendered) == {"text": f"scahn-emoji-64-3f2a: {said}"}


POLICIES = INFRA / "terraform" / "policies"


def _allowed(role: str) -> set[str]:
    statements = json.loads((POLICIES / f"{role}.json").read_text())["Statement"]
    assert all("*" not in action for one in statements for action in one["Action"])
    return {action for one in statements if one["Effect"] == "Allow" for action in one["Action"]}


def test_each_role_may_do_what_it_needs_and_no_more() -> None:
    """Readers write nothing; writers remove nothing that is finished; gc writes nothing."""
    read = {"s3:ListBucket", "s3:GetObject"}
    assert _allowed("reader") == read
    assert _allowed("gc") == read | {"s3:DeleteObject"}
    assert _allowed("writer") == read | {"s3:PutObject", "s3:AbortMultipartUpload", "s3:DeleteObject"}
    (denied,) = [
        one
        for one in json.loads((POLICIES / "writer.json").read_text())["Statement"]
        if one["Effect"] == "Deny"
    ]
    assert denied["Action"] == ["s3:DeleteObject"]
    assert any(resource.endswith("/manifest.json") for resource in denied["Resource"])


@pytest.mark.skipif(shutil.which("terraform") is None, reason="terraform is not installed")
def test_terraform_reads_its_files() -> None:
    """They parse and are in its format; providers, which `validate` needs, are fetched from elsewhere."""
    called = subprocess.run(
        ["terraform", "fmt", "-check", "-diff", str(INFRA / "terraform")], capture_output=True, text=True
    )
    assert called.returncode == 0, called.stdout + called.stderr
