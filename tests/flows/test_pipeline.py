"""One whole run, artifact by artifact, against the user's table and the model called by hand; then what is
computed again after a change, and what is not."""

import csv
import json
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
import yaml
import zarr
from prefect.client.orchestration import get_client

from cmh import model
from cmh.codes import hamming
from cmh.data import schema
from cmh.evaluation import report
from flows import search
from flows.experiment import Experiment
from flows.pipeline import stages
from flows.run import resolve
from infra import artifacts, lineage
from infra.artifacts import Reading
from tests.flows.command_line import Called, cmh
from tests.flows.conftest import BITS, COLOURS, ITEMS, SHAPES, Workspace

pytestmark = pytest.mark.slow

STAGES = [stage.kind for stage in stages(resolve(Experiment()))]


@pytest.fixture
def made(workspace: Workspace, first: Called) -> dict[str, Reading]:
    """The artifacts of the first run by kind, opened."""
    return {row["stage"]: artifacts.open_artifact(workspace.store, row["address"]) for row in first.rows}


def group(reading: Reading) -> zarr.Group:
    """The Zarr group of an artifact of that kind."""
    return zarr.open_group(reading.zarr(f"{reading.ref.kind}.zarr"), mode="r")


def table(workspace: Workspace) -> list[dict[str, str]]:
    """The user's table."""
    with workspace.items.open(newline="") as file:
        return list(csv.DictReader(file))


def prefect(read: Any) -> Any:
    """What Prefect's server says."""

    async def ask() -> Any:
        async with get_client() as client:
            return await read(client)

    return anyio.run(ask)


def test_every_stage_is_computed_once(made: dict[str, Reading], first: Called):
    """The first run computes all six stages in order, and every file of them matches its checksum."""
    assert [row["stage"] for row in first.rows] == list(STAGES)
    assert {row["state"] for row in first.rows} == {"computed"}
    assert [problem for one in made.values() for problem in artifacts.verify(one.store, one.ref)] == []


def test_dataset_is_the_users_table(workspace: Workspace, made: dict[str, Reading]):
    """Arrays are as the schema says; labels and words are those of the table; the split covers all."""
    items, rows = group(made["dataset"]), table(workspace)
    sizes = schema.validate(items, schema.DATASET)
    schema.validate(group(made["images"]), schema.IMAGES)
    names = made["dataset"].read_bytes("labels.txt").decode().split()
    words = made["dataset"].read_bytes("vocabulary.txt").decode().split()
    assert names == sorted((*COLOURS, *SHAPES))
    assert sizes["N"] == ITEMS
    for row, label_L, text_D in zip(rows, items["label"][:], items["text"][:], strict=True):
        assert {name for name, has in zip(names, label_L, strict=True) if has} == set(
            row["labels"].split("|")
        )
        assert {word for word, count in zip(words, text_D, strict=True) if count} == set(row["text"].split())
    query, database = items["split/query"][:], items["split/database"][:]
    assert sorted([*query, *database]) == list(range(ITEMS))
    parts = [set(items[f"split/{name}"][:]) for name in ("train", "validation", "query")]
    assert sum(map(len, parts)) == len(set.union(*parts))
    assert made["dataset"].read_table("rejected.parquet").num_rows == 0


def test_codes_are_those_of_the_model_by_hand(workspace: Workspace, made: dict[str, Reading]):
    """The published model alone, given texts and the stored images, gives the stored codes, bit by bit."""
    facts, codes = made["codes"].read_json("codes.json"), group(made["codes"])
    schema.validate(codes, schema.CODES)
    assert facts["bits"] == BITS
    assert sorted(facts["order"]) == list(range(BITS))
    assert [facts[kind] for kind in ("model", "dataset", "images")] == [
        made[kind].ref.address for kind in ("model", "dataset", "images")
    ]
    trained = model.load(made["model"].local())
    texts = [row["text"] for row in table(workspace)]
    np.testing.assert_array_equal(codes["text"][:], trained.encode_texts(texts))
    by_hand = trained.encode_images(list(group(made["images"])["image"][:]))
    bits = hamming.unpack(codes["image"][:], BITS) != hamming.unpack(by_hand, BITS)
    assert bits.mean() < 0.01  # features in batches of another size may differ in their last bits
    assert len(np.unique(codes["image"][:], axis=0)) > 1
    kept = codes["image_relaxed"][:]
    clear = np.abs(kept) > 1  # of the others, the sign may be lost
    assert ((kept > 0) == (hamming.unpack(codes["image"][:], BITS) > 0))[clear].all()
    (hit, *_) = search.open_run(workspace.store, made["codes"].ref.address).for_relaxed(kept[3] / 127, 3)
    assert hit.similarity is not None
    assert hit.similarity > 0.999


def test_report(made: dict[str, Reading]):
    """Figures lie between their bounds, above chance; page and pictures are there and name each other."""
    metrics = made["report"].read_table("metrics.parquet")
    for direction in report.DIRECTIONS:
        value, low, high, worst, best, chance = (
            next(row[key] for row in report.select(metrics, name, "stored")
                 if (row["direction"], row["bits"]) == (direction, BITS))
            for name, key in (("map", "value"), ("map", "low"), ("map", "high"), ("map_worst_ties", "value"),
                              ("map_best_ties", "value"), ("chance", "value"))
        )  # fmt: skip
        assert 0 <= low <= value <= high <= 1
        assert worst <= value <= best
        assert value > chance + 0.05  # colour and shape are learnt in a few epochs
    page = made["report"].read_bytes("README.md").decode()
    drawn = {"map_by_bits", "pr_curves", "precision_at_n", "scores_of_queries", "training"}
    photos = {"queries_image_to_text", "queries_text_to_image"}  # which are no drawings
    files = made["report"].files
    assert {name.removesuffix(".png") for name in files if name.endswith(".png")} == drawn | photos
    assert {name.removesuffix(".svg") for name in files if name.endswith(".svg")} == drawn
    for name in drawn | photos:
        assert made["report"].read_bytes(f"{name}.png").startswith(b"\x89PNG")
        assert f"({name}.png)" in page
    for name in drawn:
        assert b"<svg" in made["report"].read_bytes(f"{name}.svg")
    assert "image → text" in page
    assert "| direction | bits | R@1 | R@5 | R@10 |" in page


def test_prefect_shows_the_run(workspace: Workspace, made: dict[str, Reading]):
    """MAP table, figures and places of the artifacts are Prefect artifacts of a run that ended COMPLETED."""
    found = prefect(lambda client: client.read_artifacts())
    shown = {one.key: one for one in found if one.key}
    name = made["report"].ref.name
    assert [row["direction"] for row in json.loads(shown[f"{name}-map"].data)][:2] == [
        "image → text", "text → image",
    ]  # fmt: skip
    assert shown[f"{name}-pr-curves"].data.startswith("data:image/png;base64,")
    places = [one.data for one in found if one.key == "artifacts"]  # other tests' runs show theirs too
    assert any(all(one.ref.address in place for one in made.values()) for place in places)


def test_second_run_computes_nothing(workspace: Workspace, first: Called):
    """The plan says so, the run says so, and no flow is started for it."""
    before = prefect(lambda client: client.read_flow_runs())
    plan = cmh("run", *workspace.data, *workspace.small, "--dry-run", "--json").rows
    assert [(step["stage"], step["state"]) for step in plan] == [(stage, "cached") for stage in STAGES]
    again = cmh("run", *workspace.data, *workspace.small)
    assert again.status == 0, again.err
    assert "0 of 6 stages computed" in again.out
    folder = workspace.store.local_path(first.rows[-1]["address"])
    assert folder is not None
    (page,) = Path(folder).rglob("README.md")
    assert f"report: {page}" in again.out
    assert len(prefect(lambda client: client.read_flow_runs())) == len(before)


def test_a_run_starts_from_a_model(workspace: Workspace, first: Called, tmp_path: Path):
    """By address: its weights are epoch 0, measured as they were; another length, or no model, is refused."""
    before = artifacts.open_artifact(workspace.store, first.rows[3]["address"])
    options = [*workspace.small, "--start-from", before.ref.address]
    options[options.index("--training.epochs") + 1] = 1
    called = cmh("run", *workspace.data, *options, "--json")
    assert called.status == 0, called.err
    after = artifacts.open_artifact(workspace.store, called.rows[3]["address"])
    known = lineage.read(workspace.store)
    assert known.at(before.ref.address) in known.chain(known.at(after.ref.address))
    epochs = [json.loads(line) for line in after.read_bytes("metrics.jsonl").splitlines()]
    assert [epoch["number"] for epoch in epochs] == [0, 1]
    scores = [json.loads(line)["score"] for line in before.read_bytes("metrics.jsonl").splitlines()]
    assert epochs[0]["score"] == pytest.approx(max(scores))
    options[options.index("--bits") + 1] = 24
    assert "has bits 16, not 24; ask for the same" in cmh("run", *workspace.data, *options).err
    options[-1] = first.rows[0]["address"]
    assert "of kind images, not a model to start from" in cmh("run", *workspace.data, *options).err
    options[-1] = "nowhere"
    assert cmh("run", *workspace.data, *options).status == 2


def test_changed_settings_are_planned(workspace: Workspace, first: Called):
    """Another seed leaves data and features as they are; the plan names what is to compute."""
    plan = cmh("run", *workspace.data, *workspace.small, "--seed", 1, "--dry-run", "--json").rows
    assert [step["state"] for step in plan] == ["cached"] * 3 + ["to compute"] * 3
    assert [step["address"] for step in plan[:3]] == [row["address"] for row in first.rows[:3]]
    assert not workspace.store.exists(f"{plan[3]['address']}/manifest.json")


def entry(workspace: Workspace, path: Path, **changes: object) -> Path:
    """A catalog entry of one's own over the same drawings, changed; written to `path`."""
    sources = {"images": workspace.images, "items": workspace.items}
    fields: dict[str, object] = {
        "name": "folder",
        "title": "drawings",
        "reader": "folder",
        "sources": {name: {"kind": "path", "path": str(place)} for name, place in sources.items()},
        "unlabelled": "kept",
        "split": {"query": 0.15, "validation": 0.08, "train": 1.0},
    }
    path.write_text(yaml.safe_dump(fields | changes))
    return path


@pytest.mark.parametrize(
    ("changes", "cached"),
    [
        ({}, 6),
        ({"text": {"min_df": 2}}, 1),
        ({"split": {"query": 0.3, "validation": 0.08, "train": 1.0}}, 1),
        ({"images": {"size": 64}}, 0),
    ],
)
def test_changed_entry_is_planned(
    workspace: Workspace, tmp_path: Path, changes: dict[str, object], cached: int
):
    """An equal entry finds everything; texts and split leave the images as they are, their size does not."""
    path = entry(workspace, tmp_path / "mine.yaml", **changes)
    plan = cmh("run", "--dataset", path, *workspace.small, "--dry-run", "--json").rows
    assert [step["state"] for step in plan] == ["cached"] * cached + ["to compute"] * (6 - cached)


def test_changed_label_rule(workspace: Workspace, first: Called, tmp_path: Path):
    """With shapes as the only labels, images and features are found, and all the rest is made."""
    rules = {shape: {"labels": [shape]} for shape in SHAPES}
    path = entry(workspace, tmp_path / "shapes.yaml", labels=rules)
    run = cmh("run", "--dataset", path, "--method", "cca", *workspace.sized, "--json")
    assert run.status == 0, run.err
    assert [row["state"] for row in run.rows] == [
        "cached", "computed", "cached", "computed", "computed", "computed",
    ]  # fmt: skip
    assert [run.rows[i]["address"] for i in (0, 2)] == [first.rows[i]["address"] for i in (0, 2)]
    made = artifacts.open_artifact(workspace.store, run.rows[1]["address"])
    assert made.read_bytes("labels.txt").decode().split() == list(SHAPES)
