"""Data without labels, or with labels for a part of it, from the folder to the report and to searches."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import zarr
from safetensors.torch import save_file

from cmh import model
from cmh.data import schema
from cmh.evaluation import report
from cmh.networks.minilm import MiniLMText
from infra import artifacts
from infra.artifacts import Reading
from tests.cmh.networks.test_minilm import tokenizer
from tests.flows.command_line import Called, cmh
from tests.flows.conftest import Workspace

pytestmark = pytest.mark.slow


def table(workspace: Workspace, path: Path, labels: Callable[[int, str], str] | None) -> Path:
    """The workspace's table with other labels, or without that column."""
    with workspace.items.open(newline="") as file:
        rows = list(csv.DictReader(file))
    columns = ["image", "text", *(["labels"] if labels else [])]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        for number, row in enumerate(rows):
            writer.writerow(row | {"labels": labels(number, row["labels"]) if labels else ""})
    return path


def opened(workspace: Workspace, called: Called) -> dict[str, Reading]:
    assert called.status == 0, called.err
    return {row["stage"]: artifacts.open_artifact(workspace.store, row["address"]) for row in called.rows}


def test_pairs_alone(workspace: Workspace, tmp_path: Path) -> None:
    """A table of images and texts: trained, measured by pairs, searched by any words; a text network with its
    tokeniser travels in the model."""
    torch.manual_seed(0)
    network = MiniLMText(6, tokenizer())
    save_file(network.network.state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "tokenizer.json").write_text(tokenizer())
    items = table(workspace, tmp_path / "pairs.csv", None)
    data = ["--images", workspace.images, "--items", items]
    texts = ["--text.name", "minilm_l6_v2", "--text.weights", tmp_path / "model.safetensors"]
    more = ["--text.words", "--json"]
    called = cmh("run", *data, *workspace.sized, *texts, *more)
    made = opened(workspace, called)

    metrics = made["report"].read_table("metrics.parquet")
    assert report.select(metrics, "map") == []
    recall = {row["direction"]: row["value"] for row in report.select(metrics, "instance_recall_at_5")}
    assert min(recall.values()) > 0.7  # of 18 queries; chance: .28
    page = made["report"].read_bytes("README.md").decode()
    assert "The dataset has no labels" in page
    assert "Finding the very pair" in page
    assert "The 16-bit codes of" in page
    for picture in ("recall_by_bits", "scores_of_queries", "training", "queries_text_to_image"):
        assert f"({picture}.png)" in page

    lines = made["model"].read_bytes("metrics.jsonl").decode().splitlines()
    assert set(json.loads(lines[0])["validation"]) == {"recall_image_to_text", "recall_text_to_image"}
    trained = model.load(made["model"].local())
    assert (trained.facts.labels, trained.facts.words, trained.facts.text) == (0, True, "minilm_l6_v2")
    assert trained.knows(["zebra"]).tolist() == [True]
    found = cmh("search", "a zebra", "--codes", called.rows[-2]["address"], "--json")
    assert found.status == 0, found.err
    assert found.rows


def test_labels_of_a_part(workspace: Workspace, tmp_path: Path) -> None:
    """Items without labels stay; a method that learns from labels leaves them out; they are not judged."""
    items = table(workspace, tmp_path / "part.csv", lambda number, labels: labels if number % 3 else "")
    data = ["--images", workspace.images, "--items", items]
    made = opened(workspace, cmh("run", *data, "--method", "scm", *workspace.sized, "--json"))
    dataset = zarr.open_group(made["dataset"].zarr("dataset.zarr"), mode="r")
    assert schema.array(dataset, "label").shape[0] == 120
    query = schema.array(dataset, "split/query")[:]
    judged = schema.labelled(dataset, query)
    assert 0 < len(judged) < len(query)
    queries = made["report"].read_table("queries.parquet").to_pylist()
    assert len({row["query"] for row in queries}) == len(judged)
    metrics = made["report"].read_table("metrics.parquet")
    assert report.value(metrics, "map", "image_to_text", 16) > 0.4
