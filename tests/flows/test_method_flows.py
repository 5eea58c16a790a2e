"""The flows that deployments name, against the methods and against prefect.yaml; nothing is run."""

from pathlib import Path

import pytest
import yaml
from prefect import Flow

from cmh import methods
from flows import deployments

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("method", methods.available())
def test_every_method_has_its_flow(method: str) -> None:
    """A new method needs a line in flows/deployments.py; its flow is described by its class."""
    flow = getattr(deployments, f"train_{method}", None)
    assert isinstance(flow, Flow), f"add `train_{method} = _method_flow({method!r})` to flows/deployments.py"
    assert flow.name == f"train-{method}"
    assert flow.description
    assert {"dataset", "bits", "training", "resources"} <= set(flow.parameters.properties)


def test_no_flow_is_left_of_a_method_that_is_gone() -> None:
    """The lines are the methods that there are, and no others."""
    lines = {name.removeprefix("train_") for name in vars(deployments) if name.startswith("train_")}
    assert lines == set(methods.available())


def test_prefect_yaml_names_flows_that_there_are() -> None:
    """Each entrypoint is a file and a flow in it."""
    for deployment in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]:
        file, _, name = deployment["entrypoint"].partition(":")
        assert (ROOT / file).is_file()
        assert file == "flows/deployments.py"
        assert isinstance(getattr(deployments, name), Flow)


def test_the_form_offers_the_backbones_that_there_are() -> None:
    """Choices of the Prefect form come from the table of backbones."""
    schema = deployments.train_scahn.parameters.definitions["BackboneSettings"]
    assert "efficientnet_lite2" in schema["properties"]["name"]["enum"]
