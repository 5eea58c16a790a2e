"""What a report says of one model's codes: every metric of every direction and length, as two flat tables.

Shape suffixes: N = items of the dataset, P = bytes of a packed code, L = labels, K = bits.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cmh import hamming, histograms, metrics, ndcg, recall
from cmh.figures import Curve

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

COSINE = "cosine"  # the ranking of real-valued embeddings, in place of codes (`cmh.embedding_report`)
STORED = ("stored", COSINE)  # rankings by all that is stored: one of the two

METRICS = pa.schema(
    [
        ("direction", pa.string()),
        ("bits", pa.int32()),
        ("ranking", pa.string()),  # bits kept: stored (the prefix), a named order, or a floor; or COSINE
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("low", pa.float64()),  # 95% bootstrap interval over queries; null where there is none
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
RANKS = (1, 10, 50, 100, 500, 1000)


class Judged:
    """Codes of a dataset with what is needed to judge them: labels, query rows and database rows.

    learnt: rows of the training items; `codes` then hold their unified codes as "unified", (N, P), in which
    other rows do not count.
    """

    def __init__(
        self,
        codes: Mapping[str, hamming.Codes],
        label_NL: NDArray[np.uint8],
        query: NDArray[np.int64],
        database: NDArray[np.int64],
        learnt: NDArray[np.int64] | None = None,
    ) -> None:
        self.codes, self.label_NL, self.query, self.database = codes, label_NL, query, database
        self.learnt = learnt

    @property
    def directions(self) -> list[str]:
        """What can be measured with these codes."""
        return [*DIRECTIONS, *(UNIFIED if self.learnt is not None else ())]

    def retrieval(
        self, direction: str, bits: int, keep_K: NDArray[np.int64] | None = None
    ) -> metrics.Retrieval:
        """One direction with the first `bits` bits of every code, or with the bits `keep_K` names."""
        return metrics.evaluate(*self._sides(direction, bits, keep_K), bits)

    def graded(self, direction: str, bits: int) -> histograms.Counts:
        """Items per number of shared labels and distance, for NDCG."""
        return ndcg.graded_counts(*self._sides(direction, bits, None), bits)

    def instance_recall(self, direction: str, bits: int, ks: Sequence[int]) -> NDArray[np.float64]:
        """(queries, ks): is the query's own other half among the k nearest queries?  See `cmh.recall`."""
        query_QP, gallery_QP = (
            hamming.prefix(self.codes[side][self.query], bits) for side in DIRECTIONS[direction]
        )
        return recall.instance_recall(query_QP, gallery_QP, ks)

    def _sides(
        self, direction: str, bits: int, keep_K: NDArray[np.int64] | None
    ) -> tuple[hamming.Codes, hamming.Codes, NDArray[np.uint8], NDArray[np.uint8]]:
        """Codes of queries and database, labels of queries and database."""

        def chosen(side: str, rows: NDArray[np.int64]) -> hamming.Codes:
            codes_NP = self.codes[side][rows]
            return hamming.prefix(codes_NP, bits) if keep_K is None else hamming.permute(codes_NP, keep_K)

        query_side, database_side = {**DIRECTIONS, **UNIFIED}[direction]
        database = self.learnt if direction in UNIFIED and self.learnt is not None else self.database
        return (
            chosen(query_side, self.query),
            chosen(database_side, database),
            self.label_NL[self.query],
            self.label_NL[database],
        )


def measure(
    judged: Judged, lengths: Sequence[int], radius: int, orders: Mapping[str, NDArray[np.int64]]
) -> tuple[pa.Table, pa.Table]:
    """All metrics (`METRICS`) and curves (`CURVES`).

    Args:
        lengths: code lengths; those below the full one are prefixes of the stored codes.
        orders: name → (K,) positions of the stored bits, best first; each is cut to every length and its MAP
            measured, beside that of the stored order.
    """
    rows: list[dict[str, Any]] = []
    points: list[dict[str, Any]] = []
    for direction in judged.directions:
        for bits in lengths:
            found = judged.retrieval(direction, bits)
            where = {"direction": direction, "bits": bits, "ranking": "stored"}
            gains_QGD = judged.graded(direction, bits)
            rows += [where | row for row in [*_scores(found, radius), *_graded(gains_QGD)]]
            points += [{"direction": direction, "bits": bits} | point for point in _curves(found)]
            if direction not in CROSS_MODAL:
                continue
            rows += [where | row for row in _instances(judged, direction, bits)]
            for name, order_K in orders.items():
                kept = judged.retrieval(direction, bits, order_K[:bits])
                rows.append(where | {"ranking": name} | _map(kept))
    rows += _floor(judged, lengths)
    return pa.Table.from_pylist(rows, METRICS), pa.Table.from_pylist(points, CURVES)


def _map(found: metrics.Retrieval) -> dict[str, Any]:
    value, low, high = found.map_interval()
    return {"metric": "map", "value": value, "low": low, "high": high}


def _scores(found: metrics.Retrieval, radius: int) -> Iterable[dict[str, Any]]:
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
    return [_map(found), *({"metric": name, "value": value} for name, value in values.items())]


def _instances(judged: Judged, direction: str, bits: int) -> Iterable[dict[str, Any]]:
    """Instance recall among the queries, of the ranks that are fewer than they."""
    ks = [k for k in recall.KS if k < len(judged.query)]
    for k, hit_Q in zip(ks, judged.instance_recall(direction, bits, ks).T, strict=True):
        value, low, high = metrics.interval(hit_Q)
        yield {"metric": f"instance_recall_at_{k}", "value": value, "low": low, "high": high}


def _graded(gains_QGD: histograms.Counts) -> Iterable[dict[str, Any]]:
    """NDCG of the whole ranking and of its first 100 ranks; an item gains the labels that it shares."""
    for name, k in (("ndcg", None), ("ndcg_at_100", 100)):
        yield {"metric": name, "value": float(ndcg.ndcg(gains_QGD, k).mean())}


def _curves(found: metrics.Retrieval) -> Iterable[dict[str, Any]]:
    precision, recall = found.pr_curve
    drawn = ~np.isnan(precision)
    for x, y in zip(recall[drawn], precision[drawn], strict=True):
        yield {"curve": "pr", "x": float(x), "y": float(y)}
    database = int(found.histograms.all_QD[0].sum())
    for rank in np.unique(np.geomspace(1, database, 40).astype(int)):
        yield {"curve": "precision_at", "x": float(rank), "y": found.precision_at(int(rank))}


def _floor(judged: Judged, lengths: Sequence[int]) -> Iterable[dict[str, Any]]:
    """What codes drawn at random reach: the floor under every figure of the report."""
    rng = np.random.default_rng(0)
    items, bits = len(judged.label_NL), max(lengths)
    drawn = {side: hamming.pack(rng.standard_normal((items, bits)) > 0) for side in ("image", "text")}
    random = Judged(drawn, judged.label_NL, judged.query, judged.database)
    for direction in CROSS_MODAL:
        where = {"direction": direction, "bits": bits, "ranking": "random codes"}
        yield where | _map(random.retrieval(direction, bits))


def value(table: pa.Table, metric: str, direction: str, bits: int, ranking: str | None = None) -> float:
    """One figure of a METRICS table; without a ranking, by what is stored.

    Raises:
        ValueError: it is not there.
    """
    rankings = STORED if ranking is None else (ranking,)
    for row in select(table, metric, *rankings):
        if (row["direction"], row["bits"]) == (direction, bits):
            return float(row["value"])
    raise ValueError(f"the report has no {metric} of {direction} at {bits} bits ({' or '.join(rankings)})")


def select(table: pa.Table, metric: str, *rankings: str) -> list[dict[str, Any]]:
    """Rows of a METRICS table with this metric (and one of these rankings), as dicts."""
    rows: list[dict[str, Any]] = table.to_pylist()
    return [r for r in rows if r["metric"] == metric and (not rankings or r["ranking"] in rankings)]


def panels(
    curves: pa.Table, curve: str, directions: Sequence[str], unit: str = "bits"
) -> dict[str, dict[str, Curve]]:
    """One curve of a CURVES table in the form that `cmh.figures.curves` draws; `unit` names lengths."""
    rows = [r for r in curves.to_pylist() if r["curve"] == curve]
    return {
        direction: {
            f"{bits} {unit}": tuple(
                np.array(
                    [[r["x"], r["y"]] for r in rows if (r["direction"], r["bits"]) == (direction, bits)]
                ).T
            )
            for bits in sorted({r["bits"] for r in rows})
        }
        for direction in directions
    }
