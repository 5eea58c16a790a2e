"""Metrics of one definite order of ties: that of a stable sort by distance, which keeps the database order.

Published code mostly ranks this way (or by an unstable sort, which nobody can reproduce).  Its numbers change
when the database is reordered; `cmh.evaluation.metrics` gives those that do not.  Real-valued embeddings,
which have few ties, are ranked by cosine.

Everything follows from the ranks (1, 2, ...) of a query's relevant items, ascending.

Shape suffixes: Q = queries, N = database items, P = bytes of a packed code, K = numbers of an embedding,
L = labels, R = relevant items.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cmh.codes import hamming
from cmh.codes.hamming import Codes
from cmh.codes.threads import run
from cmh.evaluation import histograms

Ranks = NDArray[np.int64]
Measure = Callable[[Ranks], float]

_DIGITS = 6  # of a cosine that count: embeddings of equal items, in float32, may differ in the next


def evaluate(
    query_QP: Codes,
    database_NP: Codes,
    query_labels_QL: ArrayLike,
    database_labels_NL: ArrayLike,
    measures: Mapping[str, Measure],
    *,
    threads: int | None = None,
) -> dict[str, NDArray[np.float64]]:
    """Return every measure of every query, (Q,) each.

    Take the mean.  A query without relevant items measures 0.

    Raises:
        ValueError: if the two sides do not fit each other, or a side its labels. Example: `evaluate(...,
            {"map": average_precision, "map@50": lambda r: average_precision(r, 50)})`.
    """
    _check(query_QP, database_NP, query_labels_QL, database_labels_NL)

    def distances(q: int) -> NDArray[Any]:
        distance_N: NDArray[Any] = hamming.distances(query_QP[q : q + 1], database_NP)[0]
        return distance_N

    return _measured(distances, query_labels_QL, database_labels_NL, measures, threads)


def evaluate_cosine(
    query_QK: NDArray[np.float32],
    database_NK: NDArray[np.float32],
    query_labels_QL: ArrayLike,
    database_labels_NL: ArrayLike,
    measures: Mapping[str, Measure],
    *,
    threads: int | None = None,
) -> dict[str, NDArray[np.float64]]:
    """Measure embeddings as `evaluate` does codes: the highest cosine first.

    Cosines that agree to 6 digits are ties.

    An embedding of zeros has cosine 0 with all.
    """
    _check(query_QK, database_NK, query_labels_QL, database_labels_NL)
    unit_QK, unit_NK = _unit_rows(query_QK), _unit_rows(database_NK)

    def distances(q: int) -> NDArray[Any]:
        cosine_N: NDArray[np.float64] = (unit_NK @ unit_QK[q]).round(_DIGITS)
        return -cosine_N

    return _measured(distances, query_labels_QL, database_labels_NL, measures, threads)


def stable_ranks(distance_N: NDArray[Any], relevant_N: NDArray[np.bool_]) -> Ranks:
    """Return the ranks of the relevant items, ascending.

    Of two items at the same distance the first in the database ranks first.
    """
    return np.flatnonzero(relevant_N[np.argsort(distance_N, kind="stable")]) + 1


def average_precision(rank_R: Ranks, k: int | None = None) -> float:
    """Return AP of the first k ranks (of all where None), divided by min(k, R)."""
    best = len(rank_R) if k is None else min(k, len(rank_R))
    return _sum_of_precisions(rank_R if k is None else rank_R[rank_R <= k]) / max(best, 1)


def average_precision_retrieved(rank_R: Ranks, k: int) -> float:
    """Return the AP of the first k ranks, divided by the relevant items *among them*.

    DCMH's MATLAB code and DJSRH compute it so.

    It rewards finding less: one hit at rank 1 scores 1, however much else is missed.
    """
    found_R = rank_R[rank_R <= k]
    return _sum_of_precisions(found_R) / max(len(found_R), 1)


def first_k_relevant(rank_R: Ranks, k: int) -> float:
    """Return the mean precision at the first min(k, R) *relevant* items, at whatever rank.

    It is `calc_map_k` of most PyTorch repositories, published as MAP@k although it cuts no ranking.
    """
    first_R = rank_R[:k]
    return _sum_of_precisions(first_R) / max(len(first_R), 1)


def precision_at(rank_R: Ranks, k: int) -> float:
    """Return the share of relevant items among the first k ranks."""
    return float((rank_R <= k).sum() / k)


def _sum_of_precisions(rank_R: Ranks) -> float:
    return float((np.arange(1, len(rank_R) + 1) / rank_R).sum())


def _check(
    query_QX: NDArray[Any],
    database_NX: NDArray[Any],
    query_labels_QL: ArrayLike,
    database_labels_NL: ArrayLike,
) -> None:
    """Refuse sides of other widths, and labels of other items."""
    sides = {"codes or embeddings": (query_QX, database_NX), "labels": (query_labels_QL, database_labels_NL)}
    for what, (query, database) in sides.items():
        shapes = np.shape(query), np.shape(database)
        if len(shapes[0]) != 2 or len(shapes[1]) != 2 or shapes[0][1] != shapes[1][1]:
            raise ValueError(f"{what} of queries and database are rows of one width, got {shapes}")
    for side, items, labels in (
        ("query", query_QX, query_labels_QL),
        ("database", database_NX, database_labels_NL),
    ):
        histograms.check_labels(labels, side)
        if len(items) != len(np.asarray(labels)):
            raise ValueError(f"{side}: {len(items)} items but {len(np.asarray(labels))} rows of labels")


def _measured(
    distances: Callable[[int], NDArray[Any]],
    query_labels_QL: ArrayLike,
    database_labels_NL: ArrayLike,
    measures: Mapping[str, Measure],
    threads: int | None,
) -> dict[str, NDArray[np.float64]]:
    """Return every measure of every query, of which `distances` gives those to all database items."""
    query_labels_QB = histograms.pack_labels(query_labels_QL)
    labels_NB = histograms.pack_labels(database_labels_NL)

    def measure(q: int) -> list[float]:
        relevant_N = (labels_NB & query_labels_QB[q]).any(axis=1)
        rank_R = stable_ranks(distances(q), relevant_N)
        return [function(rank_R) for function in measures.values()]

    score_QM = np.array(run(measure, range(len(query_labels_QB)), threads))
    return dict(zip(measures, score_QM.T, strict=True))


def _unit_rows(x_NK: NDArray[np.float32]) -> NDArray[np.float64]:
    length_N1 = np.linalg.norm(x_NK.astype(np.float64), axis=1, keepdims=True)
    rows_NK: NDArray[np.float64] = x_NK / np.where(length_N1 == 0, 1, length_N1)
    return rows_NK
