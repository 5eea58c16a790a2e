"""Retrieval metrics, all computed from counts per Hamming distance (`cmh.evaluation.histograms`).

Items at the same distance are tied.  What depends on their order (average precision, precision@k, NDCG) is
given as the *expectation over all orders of the ties*, so it does not depend on the order of the database;
best and worst order are there too.  Database order, as a stable sort gives it, is in
`cmh.evaluation.stable_metrics`.

A query with no relevant item scores 0 in every metric; `RetrievalScores.without_relevant` says how many there
are, and `evaluate(..., zero="skip")` leaves them out of the means.

Source of the expectations: McSherry and Najork, Computing Information Retrieval Performance Measures
Efficiently in the Presence of Tied Scores, ECIR 2008.

Shape suffixes: Q = queries, N = database, P = bytes of a packed code, L = labels, D = bits + 1 distances.
C = items nearer than a tie group, c = relevant ones among them; the group has N items, n of them relevant.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import digamma

from cmh.codes.hamming import Codes
from cmh.evaluation.bootstrap import Interval, interval
from cmh.evaluation.histograms import Histograms, distance_histograms

Scores = NDArray[np.float64]
Order = Literal["expected", "best", "worst"]


class Curve(NamedTuple):
    """Precision against recall, means over queries, point by point."""

    precision: Scores
    recall: Scores


class Lookup(NamedTuple):
    """A hash lookup within a radius: means over queries, and the share of queries that find nothing."""

    precision: float
    recall: float
    nothing: float


def evaluate(
    query_QP: Codes,
    database_NP: Codes,
    query_labels_QL: ArrayLike,
    database_labels_NL: ArrayLike,
    bits: int,
    *,
    zero: Literal["count", "skip"] = "count",
    threads: int | None = None,
    device: str = "cpu",
) -> "RetrievalScores":
    """Compare every query with the whole database once; the result answers all questions of this module.

    zero: queries without relevant items are counted as 0 ("count") or left out of the means ("skip").
    threads: None takes what `cmh.codes.threads` finds.
    device: where torch counts instead of the compiled kernel, such as "cuda".
    A database larger than memory: `RetrievalScores(histograms.stream_histograms(...))`.

    Raises:
        ValueError: as `cmh.evaluation.histograms.distance_histograms`.
    """
    if device == "cpu":
        sides = query_QP, database_NP, query_labels_QL, database_labels_NL
        return RetrievalScores(distance_histograms(*sides, bits, threads=threads), zero)
    from cmh.evaluation import histograms_gpu  # loads torch, which nothing else here needs

    blocks = [(database_NP, database_labels_NL)]
    counts = histograms_gpu.stream_histograms(query_QP, query_labels_QL, blocks, bits, device)
    return RetrievalScores(counts, zero)


@dataclass(frozen=True)
class RetrievalScores:
    """One direction of retrieval, such as image → text.  Numbers are means over the queries."""

    histograms: Histograms
    zero: Literal["count", "skip"] = "count"

    @cached_property
    def _used(self) -> Histograms:
        if self.zero == "count":
            return self.histograms
        some_Q = self.histograms.relevant_Q > 0
        if not some_Q.any():
            raise ValueError(
                "no query has a relevant item; check that queries and database use the same labels"
            )
        return Histograms(self.histograms.all_QD[some_Q], self.histograms.relevant_QD[some_Q])

    @property
    def without_relevant(self) -> int:
        """Queries that have no relevant item in the database."""
        return int((self.histograms.relevant_Q == 0).sum())

    @property
    def chance(self) -> float:
        """Share of relevant items in the database: the precision, and nearly the MAP, of a random ranking."""
        return float((self._used.relevant_Q / self._used.all_QD.sum(axis=1)).mean())

    @property
    def all_tied(self) -> "RetrievalScores":
        """By codes that tell nothing apart, all items in one tie: what random codes reach in expectation."""
        counts = self.histograms
        one_tie = (part.sum(axis=1, keepdims=True) for part in (counts.all_QD, counts.relevant_QD))
        return RetrievalScores(Histograms(*one_tie), self.zero)

    @cached_property
    def map(self) -> float:
        """Mean average precision over the whole ranking, ties by expectation."""
        return self.map_at(None)

    def map_at(self, k: int | None, order: Order = "expected") -> float:
        """Return the MAP of the first k ranks, divided by min(k, relevant items).

        None takes all ranks.
        """
        return float(average_precision(self._used, k, order).mean())

    def map_interval(
        self, k: int | None = None, *, group_Q: ArrayLike | None = None, seed: int = 0
    ) -> Interval:
        """Return MAP with a 95% interval over queries, or over groups; see `cmh.evaluation.bootstrap`."""
        if group_Q is not None and self.zero == "skip":
            group_Q = np.asarray(group_Q)[self.histograms.relevant_Q > 0]
        return interval(average_precision(self._used, k), group_Q, seed=seed)

    def precision_at(self, k: int) -> float:
        """Return the share of relevant items among the first k ranks, of k even in a smaller database."""
        return float(precision_at(self._used, k).mean())

    def recall_at(self, k: int) -> float:
        """Return the share of the relevant items that is among the first k ranks."""
        return float(recall_at(self._used, k).mean())

    @cached_property
    def r_precision(self) -> float:
        """Precision at as many ranks as the query has relevant items."""
        return float(precision_at(self._used, self._used.relevant_Q).mean())

    @cached_property
    def pr_curve(self) -> Curve:
        """One point per radius 0...bits; see `pr_by_radius`."""
        return pr_by_radius(self._used)

    def interpolated_pr_curve(self, levels: int = 11) -> Curve:
        """Return one point per recall level 0...1; see `pr_interpolated`."""
        return pr_interpolated(self._used, levels)

    def lookup(self, radius: int = 2) -> Lookup:
        """Return everything within `radius`; a query that finds nothing has precision 0."""
        return lookup(self._used, radius)


def average_precision(counts: Histograms, k: int | None = None, order: Order = "expected") -> Scores:
    """Average precision (Q,) of the first k ranks (of all where None), divided by min(k, relevant).

    expected: AP = (1/R) Σ_d (n/N) [βm + (c + 1 − β − βC) (H(C + m) − H(C))], where β = (n − 1)/(N − 1) (0 for
    N = 1), H are the harmonic numbers and m of the group's ranks are ≤ k.
    best, worst: the n relevant items of a group come first or last in it, at ranks C + e + j, e = 0 or N − n:
    AP = (1/R) Σ_d Σ_{j ≤ m} (c + j)/(C + e + j) = (1/R) Σ_d [m + (c − C − e) (H(C + e + m) − H(C + e))].
    """
    all_QD, relevant_QD = counts.all_QD, counts.relevant_QD
    limit = _rank_limit(counts, k)
    before_QD, relevant_before_QD = _before(all_QD), _before(relevant_QD)
    if order == "expected":
        ranks_QD = np.clip(limit - before_QD, 0, all_QD)
        beta_QD = np.maximum(relevant_QD - 1, 0) / np.maximum(all_QD - 1, 1)
        first_QD = relevant_before_QD + 1 - beta_QD * (1 + before_QD)
        share_QD = relevant_QD / np.maximum(all_QD, 1)
        sum_QD = share_QD * (beta_QD * ranks_QD + first_QD * _harmonic_step(before_QD, ranks_QD))
    else:
        start_QD = before_QD if order == "best" else before_QD + all_QD - relevant_QD
        ranks_QD = np.clip(limit - start_QD, 0, relevant_QD)
        sum_QD = ranks_QD + (relevant_before_QD - start_QD) * _harmonic_step(start_QD, ranks_QD)
    found_Q: Scores = sum_QD.sum(axis=1)
    return found_Q / np.maximum(np.minimum(counts.relevant_Q, limit), 1)


def precision_at(counts: Histograms, k: int | NDArray[np.int64]) -> Scores:
    """Return the expected precision (Q,) of the first k ranks.

    `k` may differ by query; 0 ranks have precision 0.
    """
    k_Q = np.broadcast_to(np.asarray(k, np.int64), len(counts.all_QD))
    if np.ndim(k) == 0:
        _rank_limit(counts, int(k))
    return _relevant_within(counts, k_Q) / np.maximum(k_Q, 1)


def recall_at(counts: Histograms, k: int) -> Scores:
    """Return the expected recall (Q,) of the first k ranks."""
    limit = _rank_limit(counts, k)
    return _relevant_within(counts, np.full(len(counts.all_QD), limit)) / np.maximum(counts.relevant_Q, 1)


def radius_precision_recall(counts: Histograms) -> tuple[Scores, Scores]:
    """Return precision and recall (Q, D) of all items within each radius.

    Precision is NaN where there are none.
    """
    within_QD, relevant_within_QD = counts.all_QD.cumsum(axis=1), counts.relevant_QD.cumsum(axis=1)
    precision_QD = np.full(within_QD.shape, np.nan)
    np.divide(relevant_within_QD, within_QD, out=precision_QD, where=within_QD > 0)
    return precision_QD, relevant_within_QD / np.maximum(counts.relevant_Q, 1)[:, None]


def pr_by_radius(counts: Histograms) -> Curve:
    """Return the mean precision and recall within each radius, (D,) each.

    Precision is the mean over the queries that find anything within the radius (it is undefined for the
    others; `lookup` tells how many those are), and NaN where no query does.
    """
    precision_QD, recall_QD = radius_precision_recall(counts)
    found_QD = ~np.isnan(precision_QD)
    precision_D = np.full(counts.bits + 1, np.nan)
    np.divide(
        np.nansum(precision_QD, axis=0), found_QD.sum(axis=0), out=precision_D, where=found_QD.any(axis=0)
    )
    return Curve(precision_D, recall_QD.mean(axis=0))


def pr_interpolated(counts: Histograms, levels: int = 11) -> Curve:
    """Return the mean over queries of the best precision at a radius that reaches each recall.

    Both arrays have shape (levels,).
    """
    precision_QD, recall_QD = radius_precision_recall(counts)
    reachable_QD = np.maximum.accumulate(np.nan_to_num(precision_QD)[:, ::-1], axis=1)[:, ::-1]
    level_E = np.linspace(0, 1, levels)
    query_Q = np.arange(len(recall_QD))
    # A query without relevant items has precision 0 everywhere, wherever it is read.
    precision_E = [reachable_QD[query_Q, (recall_QD >= e - 1e-12).argmax(axis=1)].mean() for e in level_E]
    return Curve(np.array(precision_E), level_E)


def lookup(counts: Histograms, radius: int) -> Lookup:
    """Return precision and recall of all items within `radius`.

    A query that finds nothing has precision 0.
    """
    if not 0 <= radius <= counts.bits:
        raise ValueError(f"the radius of a lookup is 0 to {counts.bits} bits, got {radius}")
    precision_QD, recall_QD = radius_precision_recall(counts)
    precision_Q = precision_QD[:, radius]
    nothing = float(np.isnan(precision_Q).mean())
    return Lookup(float(np.nan_to_num(precision_Q).mean()), float(recall_QD[:, radius].mean()), nothing)


def _rank_limit(counts: Histograms, k: int | None) -> int:
    if k is None:
        return int(counts.all_QD[0].sum())
    if k < 1:
        raise ValueError(f"k is the number of ranks that count, at least 1, got {k}; None counts all")
    return int(k)


def _before(counts_QD: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the items nearer than each distance."""
    return counts_QD.cumsum(axis=1) - counts_QD


def _harmonic_step(start_QD: NDArray[np.int64], step_QD: NDArray[np.int64]) -> Scores:
    """Return H(start + step) − H(start), with H(n) = ψ(n + 1) + γ."""
    change_QD = np.zeros(start_QD.shape)
    some_QD = step_QD > 0
    start = start_QD[some_QD]
    change_QD[some_QD] = digamma(start + step_QD[some_QD] + 1) - digamma(start + 1)
    return change_QD


def _relevant_within(counts: Histograms, k_Q: NDArray[np.int64]) -> Scores:
    """Return the expected number of relevant items among the first k ranks."""
    ranks_QD = np.clip(k_Q[:, None] - _before(counts.all_QD), 0, counts.all_QD)
    expected_Q: Scores = (counts.relevant_QD * (ranks_QD / np.maximum(counts.all_QD, 1))).sum(axis=1)
    return expected_Q
