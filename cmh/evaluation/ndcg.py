"""NDCG with graded relevance, the grade of an item being the number of labels it shares with the query.

Ties are treated by expectation: every item of a tie group gets the mean gain of the group.

Shape suffixes: Q = queries, L = labels, D = bits + 1 distances, G = grades 0, 1, ... up to the most labels a
query has, J = groups in the order of a ranking.
"""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cmh.evaluation.histograms import Counts


def grades(query_labels_QL: ArrayLike) -> int:
    """Return G: how many labels an item can share with one of these queries, none included.

    Three at least: two would mean "any label" to `cmh.evaluation.histograms.grade_counts`.
    """
    return max(3, 1 + int((np.asarray(query_labels_QL) > 0).sum(axis=1).max(initial=0)))


def ndcg(
    counts_QGD: Counts, k: int | None = None, *, gain: Literal["linear", "exponential"] = "linear"
) -> NDArray[np.float64]:
    """Return NDCG (Q,) of the first k ranks; None takes all.

    A query that shares no label with any item scores 0.

    counts_QGD: of `cmh.evaluation.histograms.grade_counts`.
    DCG = Σ_rank gain / log2(1 + rank), over that of the best ranking.
    gain: of grade g, "linear" g or "exponential" 2^g − 1.
    """
    if k is not None and k < 1:
        raise ValueError(f"k is the number of ranks that count, at least 1, got {k}; None counts all")
    items = int(counts_QGD[0].sum())
    limit = items if k is None else min(k, items)
    grade_G = np.arange(counts_QGD.shape[1], dtype=np.float64)
    gain_G = grade_G if gain == "linear" else np.exp2(grade_G) - 1
    discount = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, limit + 2)))])

    def dcg(count_QJ: Counts, gain_QJ: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the gain of groups, each with its number of items and their mean gain."""
        last_QJ = count_QJ.cumsum(axis=1)
        step_QJ = discount[np.minimum(last_QJ, limit)] - discount[np.minimum(last_QJ - count_QJ, limit)]
        return np.asarray((gain_QJ * step_QJ).sum(axis=1))

    all_QD = counts_QGD.sum(axis=1)
    mean_gain_QD = np.einsum("qgd,g->qd", counts_QGD, gain_G) / np.maximum(all_QD, 1)
    best_first_QG = counts_QGD.sum(axis=2)[:, ::-1]
    ideal_Q = dcg(best_first_QG, np.broadcast_to(gain_G[::-1], best_first_QG.shape))
    return dcg(all_QD, mean_gain_QD) / np.where(ideal_Q > 0, ideal_Q, 1)
