"""The report of a method that chooses places of an image: its figure against the saved model by hand.

The artifacts are made by hand, of random images and a network with random weights.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
import zarr
from torch.nn.functional import adaptive_avg_pool2d

from cmh import model
from cmh.codes import hamming
from cmh.evaluation import code_statistics, figures, metrics
from cmh.networks import backbones
from flows.experiment import EvaluationSettings
from flows.resources import Resources
from flows.stages import diagnose, evaluate
from infra import artifacts
from infra.artifacts import Ref, Target
from infra.storage import Store

GRID = 4
ITEMS, BITS, SIZE, SETTINGS = 24, 16, 128, {"bits": 16}
QUERY, ROW = np.arange(10), np.arange(ITEMS)[::-1]  # the image of item i is stored at row N - 1 - i


@pytest.fixture(scope="module")
def trained() -> model.Model:
    """ADAH over a frozen backbone."""
    torch.manual_seed(0)
    backbone = backbones.load("resnet18", "none")
    method = model.build("adah", SETTINGS, backbone, frozen=True, text_dim=3, labels=2)
    sizes = {"grid": GRID, "stored_size": SIZE, "image_size": SIZE, "text_dim": 3, "labels": 2}
    facts = model.facts("adah", method, SETTINGS, "resnet18", "none", length=None, **sizes)
    return model.Model(method.eval(), backbone.eval(), facts, ("a", "b", "c"), ("red", "blue"))


@pytest.fixture(scope="module")
def image_NHWC() -> np.ndarray:
    return np.random.default_rng(0).integers(256, size=(ITEMS, SIZE, SIZE, 3), dtype=np.uint8)


@pytest.fixture
def two_threads() -> Iterator[None]:
    """As on a machine of two cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def write(store: Store, kind: str, arrays: dict[str, np.ndarray], groups: int = 0) -> Ref:
    with artifacts.write(store, Target(kind, "drawn", {}, {}, 1)) as draft:
        group = zarr.open_group(draft.zarr(f"{kind}.zarr"), mode="a")
        for name, values in arrays.items():
            group.create_array(name, data=values)
        if groups:
            numbers = [str(n) for n in range(groups)]
            draft.write_table("items.parquet", pa.table({"id": numbers, "group": numbers, "text": numbers}))
            draft.write_bytes("labels.txt", b"even\nodd\n")
    return draft.ref


def written(store: Store, trained: model.Model, image_NHWC: np.ndarray, folder: Path) -> tuple[Ref, Ref]:
    """Codes and dataset."""
    rng = np.random.default_rng(1)
    images = write(store, "images", {"image": image_NHWC})
    label = np.eye(2, dtype=np.uint8)[np.arange(ITEMS) % 2]
    split = {"split/query": QUERY, "split/database": np.arange(len(QUERY), ITEMS)}
    split |= {"split/train": np.arange(15, ITEMS)}
    dataset = write(store, "dataset", {"label": label, "image_row": ROW} | split, groups=len(label))
    model.save(trained, folder)
    with artifacts.write(store, Target("model", "drawn", {}, {}, 1)) as kept:
        kept.add_tree(folder)
    with artifacts.write(store, Target("codes", "drawn", {}, {}, 1)) as draft:
        group = zarr.open_group(draft.zarr("codes.zarr"), mode="a")
        for side in ("image", "text"):
            group.create_array(side, data=hamming.pack(rng.random((ITEMS, BITS)) > 0.5))
        facts = {"method": "adah", "order": list(range(BITS)), "significance": None, "bits": BITS}
        named = {ref.kind: ref.address for ref in (kept.ref, dataset, images)}
        draft.write_json("codes.json", facts | named)
    return draft.ref, dataset


@pytest.mark.slow
def test_the_figure_shows_what_the_model_attends_to(
    local_store: Store, trained: model.Model, image_NHWC: np.ndarray, tmp_path: Path,
    two_threads: None, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Every other query of ten, by its own image; computed by one thread, and the others are given back."""
    threads, attended = [], model.Model.attended

    def watched(self: model.Model, pictures: np.ndarray) -> np.ndarray | None:
        threads.append(torch.get_num_threads())
        return attended(self, pictures)

    monkeypatch.setattr(model.Model, "attended", watched)
    (tmp_path / "model").mkdir()
    codes, dataset = written(local_store, trained, image_NHWC, tmp_path / "model")
    aims = EvaluationSettings(bits=(BITS,))
    target = evaluate.target(codes, dataset, aims)
    made = artifacts.open_artifact(
        local_store, evaluate.make.compute(local_store, target, codes, dataset, aims, Resources()).ref
    )
    assert threads == [1]
    assert torch.get_num_threads() == 2

    pictures = image_NHWC[ROW[[0, 2, 4, 6, 8]]]
    with torch.inference_mode():
        maps = trained.backbone(torch.from_numpy(pictures).permute(0, 3, 1, 2))
        weight = trained.method.attended(tuple(adaptive_avg_pool2d(m, GRID).half().float() for m in maps))
    assert weight is not None
    assert weight.shape == (5, GRID, GRID)
    assert 0 < weight.mean() < 1
    drawn = figures.render(figures.attention(pictures, weight.numpy()), "png")
    assert made.read_bytes("attention.png") == drawn
    page = made.read_bytes("README.md").decode()
    for direction in ("image_to_text", "text_to_image"):
        assert made.read_bytes(f"queries_{direction}.png").startswith(b"\x89PNG")
        assert f"![{direction}](queries_{direction}.png)" in page
    assert "scores_of_queries.png" in made.files
    assert "training.png" not in made.files  # the model has no history
    assert "(attention.png)" in made.read_bytes("README.md").decode()
    assert "attention.svg" in made.files


def test_a_report_holds_its_diagnostics(
    local_store: Store, trained: model.Model, image_NHWC: np.ndarray, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Trained items and others, labels and codes, in tables and on the page, are those by hand."""
    monkeypatch.setattr(evaluate, "_attention", lambda *_: {})
    monkeypatch.setattr(diagnose, "ITEMS_AT_ONCE", 4)
    (tmp_path / "model").mkdir()
    codes, dataset = written(local_store, trained, image_NHWC, tmp_path / "model")
    aims = EvaluationSettings(bits=(8, BITS))
    target = evaluate.target(codes, dataset, aims)
    made = artifacts.open_artifact(
        local_store, evaluate.make.compute(local_store, target, codes, dataset, aims, Resources()).ref
    )
    packed = zarr.open_group(artifacts.open_artifact(local_store, codes).zarr("codes.zarr"), mode="r")
    code = {side: np.asarray(packed[side]) for side in ("image", "text")}
    label = np.eye(2, dtype=np.uint8)[np.arange(ITEMS) % 2]
    for row in made.read_table("database.parquet").to_pylist():
        rows = np.arange(15, ITEMS) if row["part"] == "trained" else np.arange(10, 15)
        asking, asked = row["direction"].split("_to_")
        expected = metrics.evaluate(code[asking][QUERY], code[asked][rows], label[QUERY], label[rows], BITS)
        assert row["items"] == len(rows)
        assert (row["map"], row["chance"]) == pytest.approx((expected.map, expected.chance))
        assert row["low"] <= row["map"] <= row["high"]
    scores = made.read_table("queries.parquet").to_pylist()
    for row in made.read_table("labels.parquet").to_pylist():
        odd = row["label"] == "odd"
        mine = [
            one["average_precision"]
            for one in scores
            if (one["direction"], one["bits"], int(one["query"]) % 2) == (row["direction"], BITS, odd)
        ]
        assert (row["queries"], row["map"]) == (5, pytest.approx(np.mean(mine)))
    database = {side: values[len(QUERY) :] for side, values in code.items()}
    expected_tables = code_statistics.measure(database, [8, BITS])
    assert made.read_table("codes.parquet") == expected_tables[0]
    assert made.read_table("bits.parquet") == expected_tables[1]
    page = made.read_bytes("README.md").decode()
    for heading in (
        "codes of 14 items",
        "## Items that training saw",
        "## By label",
        "| never trained on | 5 |",
    ):
        assert heading in page


def test_embeddings_are_judged_by_labelled_items(local_store: Store) -> None:
    """Of a real-valued method, too: an item without labels is neither a query nor found."""
    rng = np.random.default_rng(2)
    label = np.eye(2, dtype=np.uint8)[np.arange(ITEMS) % 2]
    label[::3] = 0
    split = {"split/query": QUERY, "split/database": np.arange(len(QUERY), ITEMS)}
    dataset = write(local_store, "dataset", {"label": label, "image_row": ROW} | split, groups=ITEMS)
    embedding = {
        f"{side}_embedding": rng.normal(size=(ITEMS, 5)).astype(np.float32) for side in ("image", "text")
    }
    with artifacts.write(local_store, Target("model", "drawn", {}, {}, 1)) as kept:
        kept.write_bytes("metrics.jsonl", b'{"number": 1, "terms": {"a": 2.0}, "validation": {"map": 0.5}}\n')
    with artifacts.write(local_store, Target("codes", "drawn", {}, {}, 1)) as draft:
        group = zarr.open_group(draft.zarr("codes.zarr"), mode="a")
        for name, values in embedding.items():
            group.create_array(name, data=values)
        facts = {"method": "acmr", "bits": 5, "model": kept.ref.address, "dataset": dataset.address}
        draft.write_json("codes.json", facts)
    aims = EvaluationSettings(bits=(8,))
    target = evaluate.target(draft.ref, dataset, aims)
    done = evaluate.make.compute(local_store, target, draft.ref, dataset, aims, Resources())
    made = artifacts.open_artifact(local_store, done.ref)
    judged = [str(row) for row in QUERY if row % 3]
    scores = made.read_table("queries.parquet").to_pylist()
    assert sorted({row["query"] for row in scores}) == judged
    assert {"training.png", "scores_of_queries.png"} <= set(made.files)
    rows = np.array([row for row in range(len(QUERY), ITEMS) if row % 3])
    for one in scores:
        asking, asked = (f"{side}_embedding" for side in one["direction"].split("_to_"))
        query, found = embedding[asking][int(one["query"])], embedding[asked][rows]
        cosine = found @ query / np.linalg.norm(found, axis=1)
        relevant = (label[rows] @ label[int(one["query"])] > 0)[np.argsort(-cosine, kind="stable")]
        ranks = np.flatnonzero(relevant) + 1
        assert one["average_precision"] == pytest.approx((np.arange(1, len(ranks) + 1) / ranks).mean())
