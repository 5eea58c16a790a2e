"""The flows that deployments name, against the methods and against prefect.yaml; nothing is run."""

from pathlib import Path

import pytest
import yaml
from prefect import Flow
from prefect.exceptions import ParameterTypeError

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


def test_the_form_has_limits_and_descriptions() -> None:
    """Prefect refuses bits=12 when a run is asked for, and not after a minute."""
    fields = deployments.train_scahn.parameters.properties
    assert fields["bits"] | {"minimum": 8, "maximum": 512, "multipleOf": 8} == fields["bits"]
    assert fields["bits"]["description"] == "code length, whole bytes"
    assert fields["dataset"]["description"].startswith("an entry of data_catalog")
    assert fields["seed"]["minimum"] == 0
    with pytest.raises(ParameterTypeError, match="bits"):
        deployments.train_scahn.validate_parameters({"bits": 4})
