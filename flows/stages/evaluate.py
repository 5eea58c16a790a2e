"""Measure a model's codes: codes in, report out.

Reads:  codes (codes.zarr, codes.json), dataset (labels, splits); for attention, model and images
Writes: metrics.parquet, curves.parquet, queries.parquet (average precision of each query), labels.parquet
        (MAP by label), database.parquet (MAP on items that training saw, and on others), codes.parquet and
        bits.parquet (statistics of the codes), pairs.parquet (how each query finds its own pair), README.md;
        as PNG and SVG map_by_bits / pr_curves / precision_at_n, without labels recall_by_bits,
        scores_of_queries, training, attention where a method chooses places of an image; queries_<direction>
        as PNG; of real-valued embeddings, only what does not need codes
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch
import zarr
from numpy.typing import NDArray
from safetensors.numpy import load

from cmh import methods
from cmh import model as models
from cmh.data import schema
from cmh.evaluation import counts, diagnostics_page, figures, ndcg, pair_metrics, report
from cmh.evaluation.counts import CodedItems
from cmh.evaluation.report_page import embedding_page, report_page
from cmh.hashing import bit_order
from cmh.hashing.method import Method
from flows.experiment import EvaluationSettings
from flows.resources import Resources
from flows.stages import counting, diagnose, illustrate
from flows.stages.artifact_task import artifact_task
from infra import artifacts
from infra.artifacts import Draft, Reading, Ref, Target
from infra.storage import Store

if TYPE_CHECKING:  # matplotlib is loaded by what draws
    from matplotlib.figure import Figure

SHOWN = 8  # images, in the figure of attention


def target(codes: Ref, dataset: Ref, evaluation: EvaluationSettings) -> Target:
    """Return the report of these codes."""
    return Target(
        "report",
        codes.name,
        config=evaluation.model_dump(mode="json"),
        inputs={"codes": codes.content, "dataset": dataset.content},
        revision=report.REVISION,
    )


@artifact_task(name="evaluate")
def make(
    store: Store, draft: Draft, codes: Ref, dataset: Ref, evaluation: EvaluationSettings, resources: Resources
) -> None:
    """Compare every query with the whole database, in all four directions, at every length."""
    read, items = (artifacts.open_artifact(store, ref) for ref in (codes, dataset))
    facts = read.read_json("codes.json")
    packed = zarr.open_group(read.zarr("codes.zarr"), mode="r")
    if "image_embedding" in packed:
        tables = _measure_embeddings(packed, items)
        by_label = diagnose.by_label(items, tables.queries, facts["bits"])
        extra, more = {"labels": by_label}, diagnostics_page.labels(by_label)
        drawn = _precision(tables.curves, tables.metrics, "numbers")
        page = embedding_page
    else:
        lengths = _lengths(evaluation.bits, facts["bits"])
        measured, drawn = None, {}
        if _is_labelled(items):
            measured, queries = _measure_codes(read, items, evaluation, resources)
            found = diagnose.codes(read, items, queries, measured.queries, lengths, resources)
            extra, more = found._asdict(), diagnostics_page.sections(found, measured.metrics, facts["bits"])
            drawn = _figures(measured.metrics, measured.curves)
        else:
            every = schema.array(zarr.open_group(items.zarr("dataset.zarr"), mode="r"), "split/database")[:]
            statistics, per_bit = diagnose.statistics(packed, every, lengths)
            extra = {"codes": statistics, "bits": per_bit}
            more = diagnostics_page.codes(statistics, facts["bits"])
        tables = report.with_pairs(measured, *pair_metrics.measure(_queries(read, items), lengths))
        drawn |= {} if measured else illustrate.recall_by_bits(tables.metrics)
        drawn |= _attention(store, facts, items)
        page = report_page
        more = illustrate.queries(store, draft, read, items, tables, resources.threads) + more
    drawn |= illustrate.distribution(tables, facts["bits"]) | illustrate.training(store, facts["model"])
    names = _draw(draft, drawn)
    for name, table in (tables._asdict() | extra).items():
        draft.write_table(f"{name}.parquet", table)
    more = illustrate.noise(items) + more
    text = page(codes.name, codes.address, facts, tables.metrics, names, more)
    draft.write_bytes("README.md", text.encode())


def _is_labelled(dataset: Reading) -> bool:
    """Return whether figures by label have a meaning: some query shares a label with the database."""
    opened = zarr.open_group(dataset.zarr("dataset.zarr"), mode="r")
    label_NL = schema.array(opened, "label")[:]
    query, database = (counting.rows_of(opened, name) for name in ("query", "database"))
    return label_NL.shape[1] > 1 and bool((label_NL[query] & label_NL[database].any(axis=0)).any())


def _queries(codes: Reading, dataset: Reading) -> CodedItems:
    """Return all queries, with labels or without, with the codes of both modalities."""
    packed = zarr.open_group(codes.zarr("codes.zarr"), mode="r")
    opened = zarr.open_group(dataset.zarr("dataset.zarr"), mode="r")
    query = schema.array(opened, "split/query")[:]
    group_Q, id_Q = _named(dataset, query)
    return CodedItems(
        {side: schema.array(packed, side).oindex[query] for side in ("image", "text")},
        np.empty((len(query), 0), np.uint8),
        group_N=group_Q,
        image_N=schema.array(opened, "image_row")[:][query],
        id_N=id_Q,
    )


def _measure_embeddings(packed: zarr.Group, items: Reading) -> report.Tables:
    schema.validate(packed, schema.EMBEDDINGS)
    dataset = zarr.open_group(items.zarr("dataset.zarr"), mode="r")
    embedding = {side: schema.array(packed, f"{side}_embedding")[:] for side in ("image", "text")}
    label_NL = schema.array(dataset, "label")[:]
    query, database = (counting.rows_of(dataset, name) for name in ("query", "database"))
    group_Q, id_Q = _named(items, query)
    return report.measure_embeddings(embedding, label_NL, query, database, group_Q, id_Q)


def _named(items: Reading, query: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return group and id of each query: queries of one group do not vote independently."""
    table = items.read_table("items.parquet")
    group_Q, id_Q = (np.asarray(table.column(name).to_pylist())[query] for name in ("group", "id"))
    return group_Q, id_Q


def _measure_codes(
    codes: Reading, dataset: Reading, evaluation: EvaluationSettings, resources: Resources
) -> tuple[report.Tables, CodedItems]:
    """Return the tables, and the queries that they are about."""
    facts = codes.read_json("codes.json")
    lengths, orders = _lengths(evaluation.bits, facts["bits"]), _orders(facts)
    wanted = report.rankings(report.DIRECTIONS, lengths, orders)
    places = codes.zarr("codes.zarr"), dataset.zarr("dataset.zarr")
    counted, queries = counting.count_in_blocks(*places, wanted, orders, resources)
    opened = zarr.open_group(places[1], mode="r")
    query = counting.rows_of(opened, "query")
    image_row = schema.array(opened, "image_row")[:]
    group_Q, id_Q = _named(dataset, query)
    queries = replace(queries, group_N=group_Q, id_N=id_Q, image_N=image_row[query])
    if "unified.safetensors" in codes.files:
        unified = load(codes.read_bytes("unified.safetensors"))
        label_NL = schema.array(opened, "label")
        learnt = CodedItems({"unified": unified["code"]}, label_NL.oindex[unified["row"]])
        wanted = report.rankings(report.UNIFIED, lengths, ())
        counted = {
            **counted,
            **counts.count_rankings(queries, [learnt], wanted, {}, ndcg.grades(queries.label_NL)),
        }
    return report.measure_codes(counted, queries, evaluation.radius), queries


def _lengths(wanted: tuple[int, ...], bits: int) -> list[int]:
    """Return the lengths asked for that these codes have, and always the full one."""
    return sorted({b for b in wanted if b <= bits} | {bits})


def _orders(facts: Mapping[str, Any]) -> dict[str, NDArray[np.int64]]:
    """Return the orders of bits to measure, for methods that rank theirs.

    An order holds positions in the stored codes.
    """
    if facts["significance"] is None:
        return {}
    # significance is by bit of the model; the codes are stored in another order
    stored_K = torch.tensor(facts["significance"])[facts["order"]]
    ways: tuple[bit_order.Criterion, ...] = ("most", "least", "absolute", "random")
    return {how: np.array(bit_order.order_bits(stored_K, how)) for how in ways}


def _figures(metrics: pa.Table, curves: pa.Table) -> dict[str, "Figure"]:
    floor = report.select(metrics, "chance")[0]["value"]
    by_bits: dict[str, dict[str, dict[int, tuple[float, float, float]]]] = {
        direction: {} for direction in report.CROSS_MODAL
    }
    for row in report.select(metrics, "map"):
        if row["direction"] in by_bits and row["ranking"] != report.RANDOM:
            line = by_bits[row["direction"]].setdefault(row["ranking"], {})
            line[row["bits"]] = (row["value"], row["low"], row["high"])
    panels = figures.panels(curves, "pr", _directions(curves))
    return {
        "map_by_bits": figures.map_by_bits(by_bits, floor),
        "pr_curves": figures.curves(panels, x="recall", y="precision", floor=floor),
    } | _precision(curves, metrics, "bits")


def _attention(store: Store, facts: Mapping[str, Any], dataset: Reading) -> dict[str, "Figure"]:
    """Return some queries and where the method looked at them, of methods that choose places of an image."""
    if methods.load(facts["method"]).attended is Method.attended:
        return {}
    trained = models.load(artifacts.open_artifact(store, facts["model"]).local())
    images = zarr.open_group(artifacts.open_artifact(store, facts["images"]).zarr("images.zarr"), mode="r")
    items = zarr.open_group(dataset.zarr("dataset.zarr"), mode="r")
    query = schema.array(items, "split/query")[:]
    some = query[:: -(-len(query) // SHOWN)]  # spread over the split
    pictures = np.stack(
        [schema.array(images, "image")[row] for row in schema.array(items, "image_row")[:][some]]
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as of codes: what is drawn must not depend on the number of cores
    try:
        weight = trained.attended(pictures)
    finally:
        torch.set_num_threads(threads)
    return {} if weight is None else {"attention": figures.attention(pictures, weight)}


def _precision(curves: pa.Table, metrics: pa.Table, unit: str) -> dict[str, "Figure"]:
    panels = figures.panels(curves, "precision_at", _directions(curves), unit)
    floor = report.select(metrics, "chance")[0]["value"]
    drawn = figures.curves(panels, x="N", y="precision@N", logarithmic=True, floor=floor)
    return {"precision_at_n": drawn}


def _directions(curves: pa.Table) -> list[str]:
    return list(dict.fromkeys(row["direction"] for row in curves.to_pylist()))


def _draw(draft: Draft, drawn: Mapping[str, "Figure"]) -> list[str]:
    """Write every figure as PNG and SVG; returns the PNGs' names."""
    for name, figure in drawn.items():
        draft.write_bytes(f"{name}.png", figures.render(figure, "png"))
        draft.write_bytes(f"{name}.svg", figures.render(figure, "svg"))
    return [f"{name}.png" for name in drawn]
