"""Instance Recall@K: how often the K nearest items hold the query's own other half.

A query's image is compared with the texts of all queries, its own among them, and the other way round: a
gallery of items that the model has not seen.  Only the query's own pair counts, however alike another item
may be (Hodosh, Young and Hockenmaier, Framing Image Description as a Ranking Task, JAIR 47, 2013, as R@K).

Items at the same distance are tied.  The pair of a query is equally likely at each of the ranks that its tie
takes, so the expectation over all orders of the ties is in closed form: with C items nearer than the pair and
N at its distance, itself included, P(rank ≤ K) = min(max(K − C, 0), N) / N.

Shape suffixes: Q = pairs, R = queries of a block, P = bytes of a packed code, J = numbers of ranks.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cmh.codes import hamming
from cmh.codes.hamming import Codes

KS = (1, 5, 10)
_BLOCK = 256  # queries compared at a time: 20,000 of them against each other take 50 MB


def instance_recall(query_QP: Codes, gallery_QP: Codes, ks: Sequence[int] = KS) -> NDArray[np.float64]:
    """Return (Q, J) float64 in [0, 1]: the expected hit of each query among its first k, for each k of `ks`.

    Row i of the gallery is the pair of query i.

    Raises:
        ValueError: a k below 1, or a gallery of another size.
    """
    if ks and min(ks) < 1:
        raise ValueError(f"k is the number of ranks that count, at least 1, got {min(ks)}")
    nearer_Q1, tied_Q1 = (count_Q[:, None] for count_Q in _ranks(query_QP, gallery_QP))
    hit_QJ: NDArray[np.float64] = np.clip(np.array(ks, np.int64) - nearer_Q1, 0, tied_Q1) / tied_Q1
    return hit_QJ


def _ranks(query_QP: Codes, gallery_QP: Codes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the items nearer than the pair, and items at its distance."""
    if query_QP.shape != gallery_QP.shape:
        raise ValueError(
            f"each query has its pair in the same row of the gallery, got codes {query_QP.shape} and "
            f"{gallery_QP.shape}"
        )
    total = len(query_QP)
    nearer_Q, tied_Q = np.zeros(total, np.int64), np.zeros(total, np.int64)
    for start in range(0, total, _BLOCK):
        row_R = np.arange(start, min(start + _BLOCK, total))
        distance_RQ = hamming.distances(query_QP[row_R], gallery_QP)
        own_R = distance_RQ[row_R - start, row_R][:, None]
        nearer_Q[row_R] = (distance_RQ < own_R).sum(axis=1)
        tied_Q[row_R] = (distance_RQ == own_R).sum(axis=1)
    return nearer_Q, tied_Q
