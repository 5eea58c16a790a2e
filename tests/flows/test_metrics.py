"""What a real run leaves for Prometheus, as its dashboard shows it."""

import json
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests import dashboard
from tests.flows.command_line import cmh
from tests.flows.conftest import BITS, ITEMS, Workspace

pytestmark = pytest.mark.slow
BOARD = Path(__file__).parents[2] / "infra" / "monitoring" / "grafana-dashboard.json"


def test_a_run_is_counted_and_every_panel_has_something_to_show(workspace: Workspace) -> None:
    """A first run and one that finds all artifacts in the store."""
    again = cmh("run", *workspace.data, *workspace.small)
    assert again.status == 0
    text = cmh("metrics").out
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = tuple(value for _, value in sorted(sample.labels.items()))
            found.setdefault(sample.name, {})[labels] = sample.value
    ended = _of(found, "stages_total")
    made = {"images", "dataset", "features", "model", "codes", "report"}
    for kind in made:
        assert ended["computed", kind] >= 1
        assert ended["cached", kind] >= 1
    assert {key for (key,) in _of(found, "stage_seconds_total")} >= made
    assert _of(found, "items_total")["images",] >= ITEMS
    assert _of(found, "artifact_bytes_total")["model",] > 10_000
    asked = [dashboard.names(one["expr"]) for one in dashboard.targets(json.loads(BOARD.read_text()))]
    of_pipeline = {name for names in asked for name in names if "request" not in name}
    assert of_pipeline <= found.keys()
    assert _of(found, "epochs_total")[str(BITS), "folder", "scahn"] >= 20


def _of(found: dict[str, dict[tuple[str, ...], float]], name: str) -> dict[tuple[str, ...], float]:
    return found[f"cmh_{name}"]
