"""The chart: its templates, filled in, against the schemas of Kubernetes and against each other."""

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

CHART = Path(__file__).parents[2] / "infra" / "chart"
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())


def _value(match: re.Match[str]) -> str:
    path = match[1].split(".")
    if path == ["Release", "Name"]:
        return "cmh"
    assert path[0] == "Values", match[0]
    found: Any = VALUES
    for part in path[1:]:
        found = found[part]
    assert not isinstance(found, dict), match[0]
    return str(found)


def _rendered() -> list[dict[str, Any]]:
    """Every object of the chart, named cmh, with the values of values.yaml."""
    texts = [path.read_text() for path in sorted((CHART / "templates").glob("*.yaml"))]
    filled = [re.sub(r"\{\{ \.([\w.]+) \}\}", _value, text) for text in texts]
    assert not [text for text in filled if "{{" in text]  # no logic, which this test would not understand
    return [one for text in filled for one in yaml.safe_load_all(text)]


OBJECTS = _rendered()
IDS = [f"{one['kind']}-{one['metadata']['name']}" for one in OBJECTS]


@pytest.mark.parametrize("one", [o for o in OBJECTS if o["kind"] != "RayCluster"], ids=lambda o: o["kind"])
def test_an_object_is_as_kubernetes_has_it(one: dict[str, Any]) -> None:
    """Strictly: no field that it does not know."""
    kubernetes_validate.validate(one, "1.32", strict=True)


def _pods() -> list[tuple[str, dict[str, Any]]]:
    found = [
        (one["metadata"]["name"], one["spec"]["template"]["spec"])
        for one in OBJECTS
        if one["kind"] == "Deployment"
    ]
    (ray,) = [one["spec"] for one in OBJECTS if one["kind"] == "RayCluster"]
    groups = [ray["headGroupSpec"], *ray["workerGroupSpecs"]]
    return found + [(f"ray-{number}", group["template"]["spec"]) for number, group in enumerate(groups)]


@pytest.mark.parametrize(("name", "pod"), _pods())
def test_a_pod_is_bounded_and_has_no_rights(name: str, pod: dict[str, Any]) -> None:
    """Not root, no capabilities, memory limited, secrets from a Secret; a probe, but KubeRay has its own."""
    kubernetes_validate.validate(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": pod}, "1.32", strict=True
    )
    assert pod["securityContext"]["runAsNonRoot"]
    for container in pod["containers"]:
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]
        assert {"secretRef": {"name": VALUES["secret"]}} in container["envFrom"]
        assert name.startswith("ray-") or "livenessProbe" in container
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}


def test_names_lead_to_each_other() -> None:
    """Services select pods that there are, addresses name services, volumes and accounts are made."""
    labels = [one["spec"]["template"]["metadata"]["labels"] for one in OBJECTS if one["kind"] == "Deployment"]
    services = {one["metadata"]["name"]: one["spec"] for one in OBJECTS if one["kind"] == "Service"}
    assert all(service["selector"] in labels for service in services.values())
    made = {(one["kind"], one["metadata"]["name"]) for one in OBJECTS}
    for _, pod in _pods():
        assert ("ServiceAccount", pod["serviceAccountName"]) in made
        claims = [
            one["persistentVolumeClaim"]["claimName"] for one in pod["volumes"] if one["name"] == "home"
        ]
        assert all(("PersistentVolumeClaim", claim) in made for claim in claims)
    text = yaml.safe_dump_all(OBJECTS)
    hosts = set(re.findall(r"(?:http://|tcp://|value: )(cmh-[\w-]+):\d+", text))
    assert hosts == {*services, "cmh-ray-head-svc"}  # KubeRay makes a service of that name for cmh-ray
