"""What a report shows of a run besides its figures: how it learnt, and queries with what they find."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import zarr

from cmh.codes.search import Index
from cmh.data import schema
from cmh.evaluation import examples, figures, report
from cmh.evaluation.examples import Example
from flows.stages.counting import rows_of
from infra import artifacts
from infra.artifacts import Draft, Reading
from infra.storage import Store

if TYPE_CHECKING:  # half a second, which runs that draw nothing go without
    from matplotlib.figure import Figure


def training(store: Store, model: str) -> dict[str, Figure]:
    """Return loss and validation by epoch; nothing of a method without epochs."""
    reading = artifacts.open_artifact(store, model)
    if "metrics.jsonl" not in reading.files:
        return {}
    epochs = [json.loads(line) for line in reading.read_bytes("metrics.jsonl").decode().splitlines()]
    if not epochs:
        return {}
    lines = (
        {name: [e[kind].get(name) for e in epochs] for name in epochs[-1][kind]}
        for kind in ("terms", "validation")
    )
    return {"training": figures.training([epoch["number"] for epoch in epochs], *lines)}


def noise(dataset: Reading) -> list[str]:
    """Return the paragraph on wrong labels in training; nothing where there are none."""
    if "quality.json" not in dataset.files:
        return []
    wrong = dataset.read_json("quality.json").get("label_noise")
    if wrong is None:
        return []
    return [
        f"**Wrong labels in training**: {wrong['items']} training items have one label exchanged, on "
        f"purpose (rate {wrong['rate']:g}, {wrong['kind']}, seed {wrong['seed']}). What is measured here is "
        "judged by the right ones."
    ]


def queries(
    store: Store, draft: Draft, codes: Reading, dataset: Reading, measured: report.Tables, threads: int
) -> list[str]:
    """Draw the best, median and worst queries across modalities, and return the section about them.

    Nothing is drawn of a dataset that brings features, or where there is nothing to rank by.
    """
    facts = codes.read_json("codes.json")
    labelled = measured.queries.num_rows > 0
    scored = measured.queries if labelled else measured.pairs
    score = "average_precision" if labelled else "reciprocal_rank"
    if "images" not in facts or not scored.num_rows:
        return []
    items = zarr.open_group(dataset.zarr("dataset.zarr"), mode="r")
    table = dataset.read_table("items.parquet")
    row_of = {name: row for row, name in enumerate(table["id"].to_pylist())}
    gallery = rows_of(items, "database") if labelled else schema.array(items, "split/query")[:]
    packed = zarr.open_group(codes.zarr("codes.zarr"), mode="r")
    images = zarr.open_group(artifacts.open_artifact(store, facts["images"]).zarr("images.zarr"), mode="r")
    image_row = schema.array(items, "image_row")[:]
    shown: list[str] = []
    for direction in report.CROSS_MODAL:
        asking, asked = report.DIRECTIONS[direction]
        mine = scored.filter(
            (pc.field("direction") == direction)
            & (pc.field("bits") == facts["bits"])
            & (pc.field("ranking") == report.STORED[0])
        )
        chosen = examples.choose(mine[score].to_numpy().astype(np.float64))
        query = np.array([row_of[mine["query"][place].as_py()] for _, place in chosen])
        index = Index(schema.array(packed, asked).oindex[gallery], facts["bits"])
        found = index.search(
            schema.array(packed, asking).oindex[query], min(examples.NEAREST, len(gallery)), threads=threads
        )
        hits = gallery[found.row]
        drawn = [
            Example(
                kind,
                mine[score][place].as_py(),
                int(row),
                tuple(map(int, near)),
                _right(items, image_row, int(row), near, labelled),
            )
            for (kind, place), row, near in zip(chosen, query, hits, strict=True)
        ]
        pictures = [
            [schema.array(images, "image")[image_row[row]] for row in (one.query, *one.hits)] for one in drawn
        ]
        draft.write_bytes(f"queries_{direction}.png", examples.sheet(drawn, pictures))
        texts = {row: table["text"][row].as_py() for one in drawn for row in (one.query, *one.hits)}
        shown += examples.section(direction, score.replace("_", " "), drawn, texts)
    what = "relevant" if labelled else "its own pair"
    return [
        "## Queries, best, median and worst",
        f"Each row: the item that asks (black frame), then its {examples.NEAREST} nearest; in green what is "
        f"{what}. Items are shown by their pictures and their texts, whichever of the two was searched.",
        *shown,
    ]


def _right(
    items: zarr.Group, image_row: Any, query: int, hits: Sequence[int], labelled: bool
) -> tuple[bool, ...]:
    if not labelled:
        return tuple(bool(image_row[row] == image_row[query]) for row in hits)
    label = schema.array(items, "label")
    return tuple(bool((label[query] & label[int(row)]).any()) for row in hits)


def distribution(measured: report.Tables, bits: int) -> dict[str, Figure]:
    """Return how average precision, or reciprocal rank without labels, spreads over the queries."""
    labelled = measured.queries.num_rows > 0
    table, score = (
        (measured.queries, "average_precision") if labelled else (measured.pairs, "reciprocal_rank")
    )
    stored = pc.field("ranking").isin(list(report.STORED)) & (pc.field("bits") == bits)
    panels: Mapping[str, Any] = {
        direction: table.filter(stored & (pc.field("direction") == direction))[score].to_numpy()
        for direction in report.CROSS_MODAL
    }
    if not any(len(values) for values in panels.values()):
        return {}
    name = "average precision" if labelled else "reciprocal rank of the own pair"
    return {"scores_of_queries": figures.histogram(panels, name)}


def recall_by_bits(metrics: pa.Table) -> dict[str, Figure]:
    """Return R@10 by length, of data without labels; nothing of fewer than eleven queries."""
    lines: dict[str, dict[str, dict[int, tuple[float, float, float]]]] = {}
    for row in report.select(metrics, "instance_recall_at_10", report.STORED[0]):
        line = lines.setdefault(row["direction"], {"own pair": {}})["own pair"]
        line[row["bits"]] = (row["value"], row["low"], row["high"])
    return {"recall_by_bits": figures.map_by_bits(lines, measure="R@10")} if lines else {}
