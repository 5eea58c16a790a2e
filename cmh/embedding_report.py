"""What a report says of real-valued embeddings: the figures of `cmh.report` that do not need codes.

Ranked by cosine, ties in database order (`cmh.ranking`).  There are no distances in whole bits, so no curves
by radius, no lookup and no prefixes.

Shape suffixes: N = items of the dataset, K = numbers of an embedding, L = labels, Q = queries.
"""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cmh import metrics, ranking
from cmh.report import COSINE, CURVES, DIRECTIONS, METRICS, RANKS

Scores = Mapping[str, NDArray[np.float64]]


def measure(
    embedding: Mapping[str, NDArray[np.float32]],
    label_NL: NDArray[np.uint8],
    query: NDArray[np.int64],
    database: NDArray[np.int64],
) -> tuple[pa.Table, pa.Table]:
    """`METRICS` and `CURVES` of the embeddings (N, K) of "image" and "text"; the column bits has K."""
    rows: list[dict[str, Any]] = []
    points: list[dict[str, Any]] = []
    labels = label_NL[query], label_NL[database]
    drawn = np.unique(np.geomspace(1, len(database), 40).astype(int))
    for direction, (asking, asked) in DIRECTIONS.items():
        sides = embedding[asking][query], embedding[asked][database]
        found = ranking.evaluate_cosine(*sides, *labels, _measures(len(database), drawn))
        where = {"direction": direction, "bits": sides[0].shape[1]}
        rows += [where | {"ranking": COSINE} | row for row in _scores(found, len(database))]
        points += [
            where | {"curve": "precision_at", "x": float(k), "y": float(found[f"precision_at_{k}"].mean())}
            for k in drawn
        ]
    return pa.Table.from_pylist(rows, METRICS), pa.Table.from_pylist(points, CURVES)


def _measures(database: int, drawn: NDArray[np.int64]) -> dict[str, ranking.Measure]:
    ranks = [k for k in RANKS if k <= database]
    precisions = {f"precision_at_{k}": partial(ranking.precision_at, k=k) for k in {*ranks, *drawn.tolist()}}
    limited = {f"map_at_{k}": partial(ranking.average_precision, k=k) for k in ranks if k >= 50}
    return {
        "map": ranking.average_precision,
        "r_precision": lambda rank_R: ranking.precision_at(rank_R, max(len(rank_R), 1)),
        "relevant": lambda rank_R: float(len(rank_R)),
        **limited,
        **precisions,
    }


def _scores(found: Scores, database: int) -> Iterable[dict[str, Any]]:
    """One row per figure, as `cmh.report` names them."""
    value, low, high = metrics.interval(found["map"])
    yield {"metric": "map", "value": value, "low": low, "high": high}
    relevant_Q = found["relevant"]
    yield {"metric": "queries_without_relevant", "value": float((relevant_Q == 0).sum())}
    yield {"metric": "chance", "value": float((relevant_Q / database).mean())}
    kept = {f"{name}_at_{k}" for name in ("map", "precision") for k in RANKS} | {"r_precision"}
    yield from ({"metric": name, "value": float(x_Q.mean())} for name, x_Q in found.items() if name in kept)
