"""The flows that deployments name, against the methods and the catalog; nothing is run."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect import Flow
from prefect.exceptions import ParameterTypeError
from prefect.flows import load_flow_from_entrypoint

from cmh import methods
from data_catalog import catalog
from flows import deploy, deployments
from flows.deploy import Deployment
from flows.experiment import Experiment
from infra import stack_servers

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("method", methods.available())
def test_every_method_has_its_flow(method: str) -> None:
    """Found by its module, as a worker does; described by the class of its method."""
    flow = load_flow_from_entrypoint(f"flows.deployments.train_{method}", use_placeholder_flow=False)
    assert isinstance(flow, Flow)
    assert flow.name == f"train-{method}"
    assert flow.description
    assert {"dataset", "bits", "training", "resources"} <= set(flow.parameters.properties)
    assert flow.parameters.model_dump_for_openapi()["properties"]["settings"]


def test_there_is_no_flow_of_what_is_no_method() -> None:
    """An unknown name is an AttributeError, as of any module."""
    assert not hasattr(deployments, "train_nothing")
    assert not hasattr(deployments, "nothing")


def test_everything_of_the_catalog_is_deployed() -> None:
    """The papers' methods and every stage on every dataset that they can read; each flow is there."""
    names = [one.full_name for one in deploy.everything()]
    assert len(set(names)) == len(names)
    assert {f"train-{method}/mirflickr25k" for method in deploy.PAPERS} < set(names)
    for dataset in catalog.available():
        stages = ("preprocess", "features", "encode", "evaluate")
        assert {f"{stage}/{dataset}" for stage in stages} < set(names)
        assert f"compare/{dataset}" in names
    assert "train-scm/wiki" in names  # the others need validation items, or images
    assert "train-scahn/wiki" not in names
    assert {"verify-store/nightly", "gc/nightly"} < set(names)


def test_parameters_of_every_deployment_fit_its_flow() -> None:
    """As the server and the run check them."""
    for one in deploy.everything():
        one.flow.validate_parameters(one.parameters)


def test_a_method_and_a_dataset_that_do_not_go_together_are_refused() -> None:
    """When they are deployed, not when they run."""
    with pytest.raises(ValueError, match="wiki has no validation items"):
        deploy.training("scahn", "wiki")
    assert deploy.training("cca_itq", "wiki").full_name == "train-cca_itq/wiki"


def test_a_source_that_is_not_on_this_machine_is_refused() -> None:
    """By the option, and as it was written: a path would have lost a slash of the address."""
    with pytest.raises(ValueError, match="--source s3://bucket/photos is no folder or file of this machine"):
        deploy.refreshing("photos", Path("s3://bucket/photos"), Path("own"))


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
    groups = deployments.train_scahn.parameters.definitions
    assert groups["TrainingSettings"]["description"].startswith("How long")
    assert fields["seed"]["minimum"] == 0
    with pytest.raises(ParameterTypeError, match="bits"):
        deployments.train_scahn.validate_parameters({"bits": 4})


def test_the_form_has_the_settings_of_the_method() -> None:
    """Each with its defaults; one that the method does not have is refused."""
    schema = deployments.train_scahn.parameters.definitions["scahn_settings"]
    assert schema["additionalProperties"] is False
    assert all("the paper's: " in field["description"] for field in schema["properties"].values())
    with pytest.raises(ParameterTypeError, match="no_such"):
        deployments.train_scahn.validate_parameters({"settings": {"no_such": 1}})


def test_the_form_has_every_setting_of_an_experiment() -> None:
    """But the method, which the flow is of, and the parts of own data, which `dataset` takes whole."""
    fields = deployments.train_scahn.parameters.properties
    assert set(Experiment.model_fields) - {"method", "images", "items", "columns"} <= set(fields)


def test_a_model_to_start_from_reaches_the_run(cmh_home: Path) -> None:
    """One that is not there is said by the run; its name needs no look at the store."""
    with pytest.raises(FileNotFoundError, match="no tag model/scahn-emoji@production"):
        deployments.train_scahn.fn(start_from="model/scahn-emoji@production")
    name = deployments._run_name({"start_from": "model/scahn-emoji@production"})
    assert name.startswith("scahn-emoji-64-")
    assert name != deployments._run_name({})


def test_a_run_that_cannot_be_named_is_named_refused(tmp_path: Path) -> None:
    """So that it starts, and says why it cannot work."""
    assert deployments._run_name({"bits": 12}) == "refused"
    assert deployments._run_name({"dataset": str(tmp_path / "nothing")}) == "refused"


def test_prefect_yaml_deploys_what_cmh_deploy_does() -> None:
    """Field for field: the papers' methods on emoji, and the care of the store."""
    entries = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    expected = [deploy.training(method, "emoji") for method in deploy.PAPERS]
    expected += [one for one in deploy.everything() if one.name == "nightly"]
    assert entries == [_as_prefect_yaml(one) for one in expected]


def _as_prefect_yaml(one: Deployment) -> dict[str, Any]:
    environment = {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(deploy.HEARTBEAT)}
    entry = {
        "name": one.name,
        "entrypoint": f"flows.deployments.{one.attribute}",
        "description": one.description,
        "tags": ["cmh", *one.tags],
        "schedules": [{"cron": one.cron, "timezone": "UTC", "active": False}],
        "concurrency_limit": {"limit": 1, "collision_strategy": one.collision.value},
        "enforce_parameter_schema": True,
        "work_pool": {"name": stack_servers.POOL, "job_variables": {"env": environment}},
    }
    return entry | ({"parameters": one.parameters} if one.parameters else {})
