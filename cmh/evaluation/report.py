"""Measure a model: every metric of every direction and length, as flat tables.

`measure_codes` takes counts over Hamming distances.  `measure_embeddings` takes the embeddings of a
real-valued method and ranks by cosine, ties in database order (`cmh.evaluation.stable_metrics`): it gives the
figures that need no codes, so no curves by radius, no lookup and no prefixes.

Shape suffixes: Q = queries, N = items of the dataset, K = numbers of an embedding, L = labels, G = grades
(numbers of shared labels), D = bits + 1 distances.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cmh.evaluation import bootstrap, metrics, ndcg, stable_metrics
from cmh.evaluation.counts import CodedItems, RankingCounts, RankingSpec
from cmh.evaluation.histograms import Counts, Histograms

Scores = Mapping[str, NDArray[np.float64]]

REVISION = 9  # raise it when any figure or page of a report comes out otherwise: metrics, NDCG, recall, page

DIRECTIONS: Mapping[str, tuple[str, str]] = {
    "image_to_text": ("image", "text"),
    "text_to_image": ("text", "image"),
    "image_to_image": ("image", "image"),
    "text_to_text": ("text", "text"),
}
"""Name → modality of the query, modality of the database."""

UNIFIED: Mapping[str, tuple[str, str]] = {
    "image_to_unified": ("image", "unified"),
    "text_to_unified": ("text", "unified"),
}
"""Against the training items alone, each coded from both of its modalities, as some methods learn to."""

CROSS_MODAL = ("image_to_text", "text_to_image")

COSINE = "cosine"  # the ranking of real-valued embeddings, in place of codes
STORED = ("stored", COSINE)  # rankings by all that is stored: one of the two
RANDOM = "random ranking"  # in expectation over all orders: the floor under every figure

METRICS = pa.schema(
    [
        ("direction", pa.string()),
        ("bits", pa.int32()),
        ("ranking", pa.string()),  # bits kept: stored (the prefix) or a named order; or RANDOM, COSINE
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("low", pa.float64()),  # 95% bootstrap interval over groups of queries; null where there is none
        ("high", pa.float64()),
    ]
)
CURVES = pa.schema(
    [
        ("direction", pa.string()),
        ("bits", pa.int32()),
        ("curve", pa.string()),  # pr (by radius) or precision_at
        ("x", pa.float64()),  # recall, or rank
        ("y", pa.float64()),  # precision
    ]
)
QUERIES = pa.schema(
    [
        ("query", pa.string()),  # id of the item
        ("group", pa.string()),
        ("direction", pa.string()),  # across modalities only
        ("bits", pa.int32()),
        ("ranking", pa.string()),  # as in METRICS
        ("average_precision", pa.float32()),  # whose mean is that ranking's MAP
    ]
)
PAIRS = pa.schema(
    [
        ("query", pa.string()),  # id of the item that asks: of several texts of an image, the first
        ("group", pa.string()),
        ("direction", pa.string()),
        ("bits", pa.int32()),
        ("ranking", pa.string()),  # stored: by prefixes
        ("reciprocal_rank", pa.float32()),  # of the own pair, as all of these in expectation over ties
        ("recall_at_10", pa.float32()),  # whether it is among ten; null where there are no more queries
    ]
)
RANKS = (1, 10, 50, 100, 500, 1000)


class Tables(NamedTuple):
    """What is measured: tables of the schemas METRICS, CURVES, QUERIES and PAIRS."""

    metrics: pa.Table
    curves: pa.Table
    queries: pa.Table
    pairs: pa.Table


def rankings(directions: Iterable[str], lengths: Sequence[int], orders: Iterable[str]) -> list[RankingSpec]:
    """Return the rankings that a report measures.

    These are every direction at every length, and across modalities every order of bits.
    """
    sides = {**DIRECTIONS, **UNIFIED}
    kept = list(orders)
    return [
        RankingSpec(*sides[direction], bits, order)
        for direction in directions
        for bits in lengths
        for order in (None, *(kept if direction in CROSS_MODAL else ()))
    ]


def measure_codes(counted: RankingCounts, queries: CodedItems, radius: int) -> Tables:
    """Return all metrics, curves and scores of queries of these rankings, in their order."""
    rows: list[dict[str, Any]] = []
    points: list[dict[str, Any]] = []
    scored: list[pa.Table] = []
    for ranking, counts_QGD in counted.items():
        found = metrics.RetrievalScores(Histograms.of_grades(counts_QGD))
        direction = f"{ranking.query}_to_{ranking.database}"
        place = {"direction": direction, "bits": ranking.bits}
        where = place | {"ranking": ranking.order or STORED[0]}
        score_Q = metrics.average_precision(found.histograms)
        if direction in CROSS_MODAL:
            scored.append(_queries(where, score_Q, queries.id_N, queries.group_N))
        rows.append(where | _map(score_Q, queries.group_N))
        if ranking.order is not None:
            continue
        rows += [where | row for row in [*_code_scores(found, radius), *_graded(counts_QGD)]]
        points += [place | point for point in _curves(found)]
        if direction in CROSS_MODAL:
            floor_Q = metrics.average_precision(found.all_tied.histograms)
            rows.append(where | {"ranking": RANDOM} | _map(floor_Q, queries.group_N))
    return _tables(rows, points, scored)


def with_pairs(tables: Tables | None, rows: Sequence[Mapping[str, Any]], pairs: pa.Table) -> Tables:
    """Return the tables with what `cmh.evaluation.pair_metrics` measured; None: there are no others.

    Args:
        tables: those by label.
        rows: of METRICS.
        pairs: a table of PAIRS.
    """
    measured = tables or _tables([], [], [])
    more = pa.Table.from_pylist(list(rows), METRICS)
    return measured._replace(metrics=pa.concat_tables([measured.metrics, more]), pairs=pairs)


def _tables(
    rows: Sequence[Mapping[str, Any]], points: Sequence[Mapping[str, Any]], scored: Sequence[pa.Table]
) -> Tables:
    return Tables(
        pa.Table.from_pylist(rows, METRICS),
        pa.Table.from_pylist(points, CURVES),
        pa.concat_tables([QUERIES.empty_table(), *scored]),
        PAIRS.empty_table(),
    )


def _map(score_Q: NDArray[np.float64], group_Q: NDArray[Any] | None) -> dict[str, Any]:
    value, low, high = bootstrap.interval(score_Q, group_Q)
    return {"metric": "map", "value": value, "low": low, "high": high}


def _queries(
    where: Mapping[str, Any],
    score_Q: NDArray[np.float64],
    id_Q: NDArray[Any] | None,
    group_Q: NDArray[Any] | None,
) -> pa.Table:
    """Return QUERIES of one ranking; queries without ids go by position, and without groups by their ids."""
    ids = np.arange(len(score_Q)) if id_Q is None else id_Q
    groups = ids if group_Q is None else group_Q
    columns = {"query": ids.astype(str), "group": groups.astype(str)}
    columns |= {name: np.full(len(ids), value) for name, value in where.items()}
    return pa.table(columns | {"average_precision": score_Q.astype(np.float32)}, QUERIES)


def _code_scores(found: metrics.RetrievalScores, radius: int) -> Iterable[dict[str, Any]]:
    lookup = found.lookup(min(radius, found.histograms.bits))
    values = {
        "map_worst_ties": found.map_at(None, "worst"),
        "map_best_ties": found.map_at(None, "best"),
        "r_precision": found.r_precision,
        f"lookup_precision_radius_{radius}": lookup.precision,
        f"lookup_recall_radius_{radius}": lookup.recall,
        f"lookup_nothing_radius_{radius}": lookup.nothing,
        "queries_without_relevant": float(found.without_relevant),
        "chance": found.chance,
    }
    database = int(found.histograms.all_QD[0].sum())
    ranks = [k for k in RANKS if k <= database]
    values |= {f"map_at_{k}": found.map_at(k) for k in ranks if k >= 50}
    values |= {f"precision_at_{k}": found.precision_at(k) for k in ranks}
    return [{"metric": name, "value": value} for name, value in values.items()]


def _graded(gains_QGD: Counts) -> Iterable[dict[str, Any]]:
    """Return NDCG of the whole ranking and of its first 100 ranks.

    An item gains the labels that it shares.
    """
    for name, k in (("ndcg", None), ("ndcg_at_100", 100)):
        yield {"metric": name, "value": float(ndcg.ndcg(gains_QGD, k).mean())}


def _curves(found: metrics.RetrievalScores) -> Iterable[dict[str, Any]]:
    precision, recall = found.pr_curve
    drawn = ~np.isnan(precision)
    for x, y in zip(recall[drawn], precision[drawn], strict=True):
        yield {"curve": "pr", "x": float(x), "y": float(y)}
    database = int(found.histograms.all_QD[0].sum())
    for rank in np.unique(np.geomspace(1, database, 40).astype(int)):
        yield {"curve": "precision_at", "x": float(rank), "y": found.precision_at(int(rank))}


def measure_embeddings(
    embedding: Mapping[str, NDArray[np.float32]],
    label_NL: NDArray[np.uint8],
    query: NDArray[np.int64],
    database: NDArray[np.int64],
    group_Q: NDArray[Any] | None = None,
    id_Q: NDArray[Any] | None = None,
) -> Tables:
    """Return the tables of the embeddings (N, K) of "image" and "text"; the column bits has K.

    group_Q: the group of each query, which intervals respect; None: each query is its own.
    id_Q: the id of each query; None: its position.
    """
    rows: list[dict[str, Any]] = []
    points: list[dict[str, Any]] = []
    scored: list[pa.Table] = []
    labels = label_NL[query], label_NL[database]
    drawn = np.unique(np.geomspace(1, len(database), 40).astype(int))
    for direction, (asking, asked) in DIRECTIONS.items():
        sides = embedding[asking][query], embedding[asked][database]
        found = stable_metrics.evaluate_cosine(*sides, *labels, _rank_measures(len(database), drawn))
        place = {"direction": direction, "bits": sides[0].shape[1]}
        where = place | {"ranking": COSINE}
        rows += [where | row for row in _embedding_scores(found, len(database), group_Q)]
        if direction in CROSS_MODAL:
            scored.append(_queries(where, found["map"], id_Q, group_Q))
        points += [
            place | {"curve": "precision_at", "x": float(k), "y": float(found[f"precision_at_{k}"].mean())}
            for k in drawn
        ]
    return _tables(rows, points, scored)


def _rank_measures(database: int, drawn: NDArray[np.int64]) -> dict[str, stable_metrics.Measure]:
    ranks = [k for k in RANKS if k <= database]
    precisions = {
        f"precision_at_{k}": partial(stable_metrics.precision_at, k=k) for k in {*ranks, *drawn.tolist()}
    }
    limited = {f"map_at_{k}": partial(stable_metrics.average_precision, k=k) for k in ranks if k >= 50}
    return {
        "map": stable_metrics.average_precision,
        "r_precision": lambda rank_R: stable_metrics.precision_at(rank_R, max(len(rank_R), 1)),
        "relevant": lambda rank_R: float(len(rank_R)),
        **limited,
        **precisions,
    }


def _embedding_scores(found: Scores, database: int, group_Q: NDArray[Any] | None) -> Iterable[dict[str, Any]]:
    """Return one row per figure, as `cmh.evaluation.report` names them."""
    yield _map(found["map"], group_Q)
    relevant_Q = found["relevant"]
    yield {"metric": "queries_without_relevant", "value": float((relevant_Q == 0).sum())}
    yield {"metric": "chance", "value": float((relevant_Q / database).mean())}
    kept = {f"{name}_at_{k}" for name in ("map", "precision") for k in RANKS} | {"r_precision"}
    yield from ({"metric": name, "value": float(x_Q.mean())} for name, x_Q in found.items() if name in kept)


def value(table: pa.Table, metric: str, direction: str, bits: int, ranking: str | None = None) -> float:
    """Return one figure of a METRICS table; without a ranking, by what is stored.

    Raises:
        ValueError: it is not there.
    """
    rankings = STORED if ranking is None else (ranking,)
    for row in select(table, metric, *rankings):
        if (row["direction"], row["bits"]) == (direction, bits):
            return float(row["value"])
    raise ValueError(f"the report has no {metric} of {direction} at {bits} bits ({' or '.join(rankings)})")


def select(table: pa.Table, metric: str, *rankings: str) -> list[dict[str, Any]]:
    """Return rows of a METRICS table with this metric (and one of these rankings), as dicts."""
    rows: list[dict[str, Any]] = table.to_pylist()
    return [r for r in rows if r["metric"] == metric and (not rankings or r["ranking"] in rankings)]
