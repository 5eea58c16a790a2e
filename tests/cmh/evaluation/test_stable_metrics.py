"""Measures of a stable ranking against a slow argsort loop and the published definitions, equal to 1e-12."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from cmh.codes import hamming
from cmh.evaluation import metrics, stable_metrics

RANKING = st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=1, max_size=60)


def slow_average_precision(distance_N: np.ndarray, relevant_N: np.ndarray) -> float:
    """As the field's repositories write it: argsort (here stable), then a loop over ranks."""
    hits, total = 0, 0.0
    for rank, n in enumerate(np.argsort(distance_N, kind="stable"), start=1):
        if relevant_N[n]:
            hits += 1
            total += hits / rank
    return total / hits if hits else 0.0


def calc_map_k(distance_N: np.ndarray, relevant_N: np.ndarray, k: int) -> float:
    """One query of torchcmh's `calc_map_k`, with a stable sort."""
    gnd = relevant_N[np.argsort(distance_N, kind="stable")]
    total = min(k, int(gnd.sum()))
    if total == 0:
        return 0.0
    count = np.arange(1, total + 1)
    tindex = np.nonzero(gnd)[0][:total] + 1.0
    return float(np.mean(count / tindex))


@settings(max_examples=2000, deadline=None)
@given(RANKING, st.integers(1, 70))
def test_stable_measures_equal_slow_loops(rank: list[tuple[int, bool]], k: int) -> None:
    """AP over everything and the first-k-relevant variant equal the loops they stand for."""
    distance_N, relevant_N = np.array([d for d, _ in rank]), np.array([r for _, r in rank])
    rank_R = stable_metrics.stable_ranks(distance_N, relevant_N)
    expected = slow_average_precision(distance_N, relevant_N)
    assert stable_metrics.average_precision(rank_R) == pytest.approx(expected, abs=1e-12)
    assert stable_metrics.first_k_relevant(rank_R, k) == pytest.approx(
        calc_map_k(distance_N, relevant_N, k), abs=1e-12
    )
    sorted_N = relevant_N[np.argsort(distance_N, kind="stable")]
    assert stable_metrics.precision_at(rank_R, k) == sorted_N[:k].sum() / k


def test_equals_the_tie_aware_metric_where_nothing_is_tied() -> None:
    """Distinct distances leave nothing to average over: stable, expected and scikit-learn's AP agree."""
    codes_NK = np.tri(65, 64, -1) > 0
    relevant_N = np.random.default_rng(2).random(65) < 0.3
    query_QP, database_NP = hamming.pack(np.zeros((1, 64), bool)), hamming.pack(codes_NK)
    labels = np.ones((1, 1), bool), relevant_N[:, None]
    stable = stable_metrics.evaluate(
        query_QP, database_NP, *labels, {"map": stable_metrics.average_precision}
    )["map"]
    expected = average_precision_score(relevant_N, -np.arange(65))
    assert stable[0] == pytest.approx(expected, abs=1e-12)
    assert metrics.evaluate(query_QP, database_NP, *labels, 64).map == pytest.approx(expected, abs=1e-12)


def test_three_meanings_of_map_at_k_differ() -> None:
    """By rank, by rank over what was retrieved, first k relevant: relevant items at ranks 1, 4, 5."""
    rank_R = np.array([1, 4, 5])
    assert stable_metrics.average_precision(rank_R, 2) == pytest.approx(1 / 2)
    assert stable_metrics.average_precision_retrieved(rank_R, 2) == 1.0
    assert stable_metrics.first_k_relevant(rank_R, 2) == pytest.approx((1 + 2 / 4) / 2)
    assert stable_metrics.average_precision(rank_R, 5) == pytest.approx((1 + 2 / 4 + 3 / 5) / 3)
    assert stable_metrics.first_k_relevant(rank_R, 3) == stable_metrics.average_precision(rank_R)


def test_database_order_decides_ties_and_distances_001_show_it() -> None:
    """Distances 0, 0, 1: AP .833 with the relevant item of the tie first, .583 with it second."""
    distance_N = np.array([0, 0, 1])
    first = stable_metrics.stable_ranks(distance_N, np.array([True, False, True]))
    second = stable_metrics.stable_ranks(distance_N, np.array([False, True, True]))
    assert stable_metrics.average_precision(first) == pytest.approx(5 / 6)
    assert stable_metrics.average_precision(second) == pytest.approx(7 / 12)


def test_every_measure_of_a_query_without_relevant_items_is_zero() -> None:
    """No 0/0, and no NaN in the mean."""
    none = np.array([], np.int64)
    assert stable_metrics.average_precision(none) == stable_metrics.average_precision(none, 5) == 0
    assert (
        stable_metrics.average_precision_retrieved(none, 5) == stable_metrics.first_k_relevant(none, 5) == 0
    )
    assert stable_metrics.precision_at(none, 5) == 0


def test_stable_map_lies_between_worst_and_best_order() -> None:
    """On heavily tied codes the database order is one of the orders that best and worst bound."""
    rng = np.random.default_rng(0)
    query_QP, database_NP = hamming.pack(rng.random((20, 6)) < 0.5), hamming.pack(rng.random((500, 6)) < 0.5)
    labels = rng.random((20, 4)) < 0.4, rng.random((500, 4)) < 0.4
    stable = stable_metrics.evaluate(
        query_QP, database_NP, *labels, {"map": stable_metrics.average_precision}, threads=2
    )["map"]
    bounds = metrics.evaluate(query_QP, database_NP, *labels, 6)
    assert bounds.map_at(None, "worst") < stable.mean() < bounds.map_at(None, "best")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({0: np.zeros((3, 2), np.uint8)}, "rows of one width"),
        ({2: np.ones((2, 4))}, "query: 3 items but 2 rows of labels"),
        ({3: np.ones((9, 4))}, "database: 5 items but 9 rows of labels"),
        ({3: np.ones((5, 6))}, "labels of queries and database are rows of one width"),
    ],
)
def test_sides_that_do_not_fit_are_refused(change: dict[int, np.ndarray], message: str) -> None:
    """Of codes and of embeddings alike: a figure of what does not belong together is none."""
    sides = [np.zeros((3, 1), np.uint8), np.zeros((5, 1), bool), np.ones((3, 4)), np.ones((5, 4))]
    given = [change.get(place, side) for place, side in enumerate(sides)]
    for evaluate in (stable_metrics.evaluate, stable_metrics.evaluate_cosine):
        with pytest.raises(ValueError, match=message):
            evaluate(*given, {"map": stable_metrics.average_precision})


def test_cosine_ranks_by_angle_and_keeps_ties_in_database_order() -> None:
    """Length does not count; directions that differ by rounding keep their order; zero is a right angle."""
    query_QK = np.array([[2.0, 0.0]], np.float32)
    third = np.float32(1 / 3)
    database_NK = np.array([[-1, 0], [0, 0], [third, third], [3, 3 + 1e-6], [5, 0.1]], np.float32)
    measures = {"rank": lambda rank_R: float(rank_R[0])}
    ranks = []
    for n in range(5):
        labels_NL = np.zeros((5, 1), bool)
        labels_NL[n] = 1
        found = stable_metrics.evaluate_cosine(
            query_QK, database_NK, np.ones((1, 1), bool), labels_NL, measures
        )
        ranks.append(found["rank"][0])
    assert ranks == [5, 4, 2, 3, 1]
