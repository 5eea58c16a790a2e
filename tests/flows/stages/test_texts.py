"""Texts read by a frozen network, through the whole pipeline and in searches."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from safetensors.torch import save_file

from cmh import model
from cmh.data import schema
from cmh.networks import clip
from infra import artifacts
from infra.artifacts import Reading
from tests.flows.command_line import Called, cmh
from tests.flows.conftest import ITEMS, Workspace

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random ones of CLIP's text network."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("clip") / "text.safetensors"
    save_file(clip.ClipText().network.state_dict(), path)
    return path


@pytest.fixture
def run(workspace: Workspace, weights: Path) -> Called:
    """The first run's data and settings, texts read by the network."""
    network = ["--text.name", "clip_vit_b32", "--text.weights", weights]
    return cmh("run", *workspace.data, *workspace.small, *network, "--json")


def group(reading: Reading) -> Any:
    return zarr.open_group(reading.zarr("dataset.zarr"), mode="r")


def test_texts_become_features(run: Called, workspace: Workspace, weights: Path) -> None:
    """Only the texts of the dataset change; the model learns from their features, takes any words, and gives
    the codes that are stored."""
    assert run.status == 0, run.err
    made = {row["stage"]: row for row in run.rows}
    assert [made[stage]["state"] for stage in ("images", "dataset", "features")] == ["cached"] * 3
    opened = {stage: artifacts.open_artifact(workspace.store, row["address"]) for stage, row in made.items()}
    before, after = group(opened["dataset"]), group(opened["texts"])
    written = opened["texts"].read_table("items.parquet")["text"].to_pylist()
    np.testing.assert_allclose(
        after["text"][:], clip.load_text(weights).features(written), rtol=1e-3, atol=1e-5
    )
    assert "tokens" not in after
    for name in {name for name in schema.DATASET if name in before} - {"text", "tokens"}:
        np.testing.assert_array_equal(after[name][:], before[name][:])

    trained = model.load(opened["model"].local())
    assert (trained.facts.text, trained.facts.text_dim) == ("clip_vit_b32", clip.TEXT_FEATURES)
    codes = zarr.open_group(opened["codes"].zarr("codes.zarr"), mode="r")
    given = trained.encode_texts(written)
    assert np.unpackbits(given ^ schema.array(codes, "text")[:]).mean() < 0.01  # but for bits near 0
    assert "text network clip_vit_b32 (frozen)" in opened["model"].read_bytes("README.md").decode()

    found = cmh("search", "xylophone", "--codes", made["codes"]["address"], "--top", ITEMS, "--json")
    assert found.status == 0, found.err
    assert len(found.rows) == ITEMS
    refused = cmh("search", " ", "--codes", made["codes"]["address"])
    assert refused.status == 2
    shown = cmh(
        "search", "--image", workspace.images / "003.png", "--codes", made["codes"]["address"], "--json"
    )
    assert any(row["what"] == "word" for row in shown.rows), shown.rows[:3]


def test_a_second_run_computes_nothing(run: Called, workspace: Workspace) -> None:
    """The features are found again by the network's weights."""
    assert {row["state"] for row in run.rows} == {"cached"}
