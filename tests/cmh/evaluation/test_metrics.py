"""Metrics from histograms against enumeration, slow loops and outside programs.

The expectation over ties is compared with the mean over *all* orders of small rankings; equal to 1e-12, since
both are sums of a few fractions.  What cannot depend on ties is compared with scikit-learn.
"""

from fractions import Fraction
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from cmh.codes import hamming
from cmh.evaluation import bootstrap, metrics
from cmh.evaluation.histograms import Histograms

TINY = st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=6)
"""A ranking as (distance, relevant) per database item: small enough to try every order."""


def counts_of(ranking: list[tuple[int, bool]], bits: int = 3) -> Histograms:
    distance_N = np.array([d for d, _ in ranking])
    relevant_N = np.array([r for _, r in ranking])
    return Histograms(
        np.bincount(distance_N, minlength=bits + 1)[None],
        np.bincount(distance_N[relevant_N], minlength=bits + 1)[None],
    )


def orders(ranking: list[tuple[int, bool]]) -> list[list[bool]]:
    """Relevance by rank, for every order of the database, sorted stably by distance."""
    return [[r for _, r in sorted(p, key=lambda item: item[0])] for p in permutations(ranking)]


def slow_ap(relevant: list[bool], k: int | None = None) -> Fraction:
    """Average precision of one ranking, by its definition."""
    found, total = 0, Fraction(0)
    for rank, hit in enumerate(relevant[:k], start=1):
        if hit:
            found += 1
            total += Fraction(found, rank)
    return total / max(min(sum(relevant), k or len(relevant)), 1)


@settings(deadline=None)
@given(TINY, st.one_of(st.none(), st.integers(1, 8)))
def test_average_precision_is_the_mean_over_all_orders_of_ties(
    ranking: list[tuple[int, bool]], k: int | None
) -> None:
    """Expected, best and worst AP (also AP@k) equal mean, maximum and minimum over every tie order."""
    every = [slow_ap(order, k) for order in orders(ranking)]
    counts = counts_of(ranking)
    expected = float(sum(every, Fraction(0)) / len(every))
    assert metrics.average_precision(counts, k)[0] == pytest.approx(expected, abs=1e-12)
    assert metrics.average_precision(counts, k, "best")[0] == pytest.approx(float(max(every)), abs=1e-12)
    assert metrics.average_precision(counts, k, "worst")[0] == pytest.approx(float(min(every)), abs=1e-12)


@settings(deadline=None)
@given(TINY, st.integers(1, 8))
def test_precision_and_recall_at_k_are_means_over_all_orders_of_ties(
    ranking: list[tuple[int, bool]], k: int
) -> None:
    """Hits among the first k ranks, averaged over every tie order, over k or over all relevant items."""
    every = orders(ranking)
    hits = float(np.mean([sum(order[:k]) for order in every]))
    relevant = max(sum(every[0]), 1)
    assert metrics.precision_at(counts_of(ranking), k)[0] == pytest.approx(hits / k, abs=1e-12)
    assert metrics.recall_at(counts_of(ranking), k)[0] == pytest.approx(hits / relevant, abs=1e-12)


def random_problem(seed: int, bits: int = 16, labels: int = 5, queries: int = 12, items: int = 300) -> tuple:
    rng = np.random.default_rng(seed)
    codes = [hamming.pack(rng.random((n, bits)) < 0.5) for n in (queries, items)]
    return *codes, rng.random((queries, labels)) < 0.3, rng.random((items, labels)) < 0.3


def test_agrees_with_scikit_learn_where_nothing_is_tied() -> None:
    """On distinct distances AP is the same number whoever computes it."""
    rng = np.random.default_rng(3)
    for _ in range(20):
        distance_N = rng.permutation(100)
        relevant_N = rng.random(100) < 0.2
        counts = counts_of(list(zip(distance_N, relevant_N, strict=True)), bits=99)
        expected = average_precision_score(relevant_N, -distance_N)
        assert metrics.average_precision(counts)[0] == pytest.approx(expected, abs=1e-12)


def test_does_not_depend_on_the_order_of_the_database() -> None:
    """A database sorted by label scores the same as a shuffled one (a stable argsort favours the former)."""
    query_QP, database_NP, query_labels_QL, labels_NL = random_problem(0)
    by_label = np.lexsort(labels_NL.T)
    one = metrics.evaluate(query_QP, database_NP, query_labels_QL, labels_NL, 16)
    two = metrics.evaluate(query_QP, database_NP[by_label], query_labels_QL, labels_NL[by_label], 16)
    assert (one.histograms.all_QD == two.histograms.all_QD).all()
    assert one.map == two.map
    assert one.map_at(None, "worst") < one.map < one.map_at(None, "best")


def test_queries_without_relevant_items_count_zero_and_are_reported() -> None:
    """They lower the mean, are counted, and can be skipped; they never give NaN."""
    codes_NP = hamming.pack(np.array([[1, 1], [1, -1]]))
    labels_NL = np.array([[1, 0], [1, 0]])
    queries = np.array([[1, 0], [0, 1], [0, 0]])
    query_QP = codes_NP[[0, 0, 0]]
    counted = metrics.evaluate(query_QP, codes_NP, queries, labels_NL, 2)
    skipped = metrics.evaluate(query_QP, codes_NP, queries, labels_NL, 2, zero="skip")
    assert counted.without_relevant == skipped.without_relevant == 2
    assert counted.map == pytest.approx(1 / 3)
    assert skipped.map == skipped.precision_at(2) == skipped.r_precision == 1.0
    assert counted.interpolated_pr_curve().precision == pytest.approx(np.full(11, 1 / 3))
    with pytest.raises(ValueError, match="no query has a relevant item"):
        _ = metrics.evaluate(query_QP, codes_NP, queries * 0, labels_NL, 2, zero="skip").map


def test_mean_divides_by_the_number_of_queries_and_nothing_else() -> None:
    """Perfect codes score exactly 1 (published copies that start their query count at 10 give 2/12)."""
    codes_NP = hamming.pack(np.array([[1, 1], [-1, -1]]))
    assert metrics.evaluate(codes_NP, codes_NP, np.eye(2), np.eye(2), 2).map == 1.0


def test_radius_metrics_count_everything_within_the_radius() -> None:
    """Precision, recall and empty lookups per radius, by hand: distances 1, 1, 3 with one relevant at 1."""
    counts = counts_of([(1, True), (1, False), (3, True)])
    assert metrics.lookup(counts, 0) == metrics.Lookup(0.0, 0.0, 1.0)
    assert metrics.lookup(counts, 2) == metrics.Lookup(0.5, 0.5, 0.0)
    curve = metrics.pr_by_radius(counts)
    assert curve.precision == pytest.approx([np.nan, 0.5, 0.5, 2 / 3], nan_ok=True)
    assert curve.recall == pytest.approx([0, 0.5, 0.5, 1])
    interpolated = metrics.pr_interpolated(counts, 3)
    assert interpolated.precision == pytest.approx([2 / 3, 2 / 3, 2 / 3])
    with pytest.raises(ValueError, match="0 to 3 bits"):
        metrics.lookup(counts, 4)


def test_undefined_precision_is_left_out_of_the_curve_but_not_of_the_lookup() -> None:
    """A query that finds nothing has no precision; a lookup scores it 0, the curve averages the others."""
    near, far = counts_of([(0, True)]), counts_of([(3, True)])
    both = Histograms(np.vstack([near.all_QD, far.all_QD]), np.vstack([near.relevant_QD, far.relevant_QD]))
    assert metrics.pr_by_radius(both).precision[0] == 1.0
    assert metrics.lookup(both, 0) == metrics.Lookup(0.5, 0.5, 0.5)


def test_r_precision_cuts_each_query_at_its_own_number_of_relevant_items() -> None:
    """Two relevant items, one of them within the first two ranks whatever the ties: 1/2."""
    retrieval = metrics.RetrievalScores(counts_of([(0, True), (1, False), (2, True)]))
    assert retrieval.r_precision == 0.5


def test_precision_beyond_the_database_still_divides_by_k() -> None:
    """Three items, two relevant, k = 10: 2/10, as trec_eval has it."""
    assert metrics.precision_at(counts_of([(0, True), (1, True), (1, False)]), 10)[0] == pytest.approx(0.2)


def test_bootstrap_interval_is_seeded_and_covers_the_mean() -> None:
    """Same seed, same interval; its width is near 2 · 1.96 standard errors."""
    score_Q = np.random.default_rng(1).random(400)
    one, two = bootstrap.interval(score_Q, seed=5), bootstrap.interval(score_Q, seed=5)
    assert one == two
    assert one.low < one.mean == score_Q.mean() < one.high
    assert one.high - one.low == pytest.approx(2 * 1.96 * score_Q.std() / 20, rel=0.15)


@pytest.mark.parametrize("k", [0, -1])
def test_impossible_cut_offs_are_refused(k: int) -> None:
    """k counts ranks: at least one."""
    with pytest.raises(ValueError, match="at least 1"):
        metrics.precision_at(counts_of([(0, True)]), k)
    with pytest.raises(ValueError, match="at least 1"):
        metrics.average_precision(counts_of([(0, True)]), k)


def test_interval_draws_whole_groups():
    """Ten equal scores of one concept are one vote: as wide as an interval over the concepts' own means."""
    rng = np.random.default_rng(0)
    concept_G = rng.random(30)
    score_Q, group_Q = np.repeat(concept_G, 10), np.repeat(np.arange(30), 10).astype(str)
    by_query, by_group = bootstrap.interval(score_Q), bootstrap.interval(score_Q, group_Q)
    alone = bootstrap.interval(concept_G)
    assert by_group.mean == pytest.approx(alone.mean)
    assert by_group.high - by_group.low == pytest.approx(alone.high - alone.low, rel=0.1)
    assert by_group.high - by_group.low > 2.5 * (by_query.high - by_query.low)
    assert bootstrap.interval(score_Q, np.arange(300)) == by_query
    with pytest.raises(ValueError, match="as many groups"):
        bootstrap.interval(score_Q, group_Q[:-1])


def test_interval_over_groups_equals_a_slow_loop():
    """Mean = sum over the drawn groups' scores / sum of their sizes."""
    rng = np.random.default_rng(1)
    score_Q, group_Q = rng.random(40), rng.integers(0, 7, 40)
    draws, names = np.random.default_rng(3), np.unique(group_Q)
    means = [
        np.concatenate(
            [score_Q[group_Q == names[g]] for g in draws.integers(len(names), size=len(names))]
        ).mean()
        for _ in range(1000)
    ]
    found = bootstrap.interval(score_Q, group_Q, seed=3)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])))


def test_interval_over_groups_where_queries_are_skipped():
    """The groups of the queries that are left out go with them."""
    codes, labels = np.zeros((4, 1), np.uint8), np.eye(4, dtype=bool)
    found = metrics.evaluate(codes[:3], codes[:2], labels[:3], labels[:2], 8, zero="skip")
    assert found.map_interval(group_Q=["a", "b", "c"]).mean == pytest.approx(found.map)
