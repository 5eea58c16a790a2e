"""Paired tests against enumeration, scipy and printed corrections; their p-values where nothing differs."""

from itertools import product

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from cmh.evaluation import comparison, paired_tests
from cmh.evaluation.paired_tests import ScoredQueries, holm, pairs, randomisation_test


def slow_p(difference_G: np.ndarray) -> float:
    """Every choice of signs, one after the other."""
    measured = abs(sum(difference_G))
    choices = list(product((1, -1), repeat=len(difference_G)))
    extreme = [
        abs(sum(s * d for s, d in zip(signs, difference_G, strict=True))) >= measured - 1e-9
        for signs in choices
    ]
    return sum(extreme) / len(choices)


def test_few_groups_are_enumerated() -> None:
    """All choices of signs, one by one, give the same p-value, and so does scipy."""
    rng = np.random.default_rng(0)
    for groups in (1, 2, 7, 12):
        difference_GP = rng.normal(0.3, 1, (groups, 3))
        p_P = randomisation_test(difference_GP)
        assert p_P == pytest.approx([slow_p(column) for column in difference_GP.T])
        if groups < 7:
            continue
        for column, p in zip(difference_GP.T, p_P, strict=True):
            theirs = stats.permutation_test((column,), np.sum, permutation_type="samples", n_resamples=np.inf)
            assert p == pytest.approx(theirs.pvalue)


def test_equal_sums_are_as_extreme() -> None:
    """Differences that are all the same number: of 2^12 choices only the two of one sign are as extreme."""
    assert randomisation_test(np.full((12, 1), 0.1)) == pytest.approx([2 / 2**12])
    assert randomisation_test(np.zeros((12, 1))) == [1]
    assert randomisation_test(np.zeros((40, 1))) == [1]


def test_drawn_signs_come_near_the_enumeration(monkeypatch: pytest.MonkeyPatch) -> None:
    """10,000 draws of the signs of twelve groups, within four standard errors; the same seed, the same p."""
    difference_GP = np.random.default_rng(2).normal(0.3, 1, (12, 20))
    exact_P = randomisation_test(difference_GP)
    monkeypatch.setattr(paired_tests, "EXACT_GROUPS", 0)
    drawn_P = randomisation_test(difference_GP, seed=1)
    assert np.all(np.abs(drawn_P - exact_P) < 4 * np.sqrt(exact_P * (1 - exact_P) / 10_000) + 2e-4)
    assert np.array_equal(drawn_P, randomisation_test(difference_GP, seed=1))
    assert randomisation_test(np.ones((60, 1))) == pytest.approx([1 / 10_001])  # never 0


def test_p_values_are_uniform_where_nothing_differs() -> None:
    """Two thousand pairs of alike methods, 30 groups of unlike sizes: by Kolmogorov-Smirnov, and at .05."""
    rng = np.random.default_rng(3)
    size_G = rng.integers(1, 20, 30)
    difference_GP = np.stack([rng.standard_t(4, (size, 2000)).sum(0) for size in size_G])
    p_P = randomisation_test(difference_GP, flips=2000)
    assert stats.kstest(p_P, "uniform").pvalue > 0.01
    assert (p_P < 0.05).mean() == pytest.approx(0.05, abs=0.015)


def test_one_concept_of_many_queries_does_not_decide() -> None:
    """A hundred queries of one group and two others: nothing holds by groups; it would by queries."""
    difference_Q = np.r_[np.full(100, 0.2), -0.1, 0.1]
    group_Q = np.r_[np.zeros(100, int), 1, 2]
    by_group, by_query = (
        row["p"]
        for groups in (group_Q, np.arange(102))
        for row in pairs(
            [scored("a", difference_Q, groups), scored("b", 0 * difference_Q, groups)]
        ).to_pylist()
    )
    assert by_group == 6 / 8  # 20, 20.2 and 20 of the four choices with 20 > 0, and their opposites
    assert by_query < 0.001


def scored(method: str, score_Q: np.ndarray, group_Q: np.ndarray | None = None, **changes) -> ScoredQueries:
    query_Q = np.array([f"query {number}" for number in range(len(score_Q))])
    group_Q = query_Q if group_Q is None else group_Q.astype(str)
    place = {"dataset": "toy", "bits": 16, "direction": "image_to_text", "query_Q": query_Q}
    return ScoredQueries(**(place | {"method": method, "group_Q": group_Q, "score_Q": score_Q} | changes))


def test_holm_by_hand() -> None:
    """Holm (1979): 3 · .01, 2 · .03, 1 · .04, which may not fall below the one before; at most 1."""
    assert holm(np.array([0.01, 0.04, 0.03])) == pytest.approx([0.03, 0.06, 0.06])
    assert holm(np.array([0.0001, 0.9, 0.6, 0.02])) == pytest.approx([0.0004, 1, 1, 0.06])
    p_P = np.random.default_rng(4).random(9)
    by_definition = [
        max(min(1, (9 - sum(p_P < q)) * q) for q in p_P if q <= p) for p in p_P
    ]  # of the j-th smallest, j - 1 are smaller
    assert holm(p_P) == pytest.approx(by_definition)


def test_pairs_are_those_of_means_over_seeds_in_any_order() -> None:
    """Three seeds of one method, shuffled queries in the other: the difference is that of their MAPs."""
    rng = np.random.default_rng(5)
    group_Q = np.repeat(np.arange(20), 3)
    seeds = [rng.random(60) for _ in range(3)]
    other_Q, shuffled = rng.random(60) * 0.2, rng.permutation(60)
    b = scored("b", other_Q, group_Q)
    b = b._replace(query_Q=b.query_Q[shuffled], group_Q=b.group_Q[shuffled], score_Q=b.score_Q[shuffled])
    found = pairs([*(scored("a", seed, group_Q) for seed in seeds), b])
    (row,) = found.to_pylist()
    mean_Q = np.mean(seeds, axis=0)
    assert row["difference"] == pytest.approx(mean_Q.mean() - other_Q.mean())
    sum_G = [(mean_Q - other_Q)[group_Q == group].sum() for group in range(20)]
    assert row["p"] == pytest.approx(randomisation_test(np.array(sum_G)[:, None])[0], abs=1e-3)
    assert (row["queries"], row["groups"], row["holds"], row["not_tested"]) == (60, 20, True, None)
    assert row["p_holm"] == row["p"]  # a single pair


def test_every_direction_and_length_is_corrected_by_itself() -> None:
    """Three methods make three pairs in each place; other datasets do not count."""
    rng = np.random.default_rng(6)
    runs = [
        scored(name, rng.random(30) + shift, dataset=dataset, bits=bits)
        for dataset in ("toy", "other")
        for bits in (16, 32)
        for name, shift in (("a", 0.5), ("b", 0.48), ("c", 0.0))
    ]
    rows = pairs(runs).to_pylist()
    assert len(rows) == 2 * 2 * 3
    for place in {(row["dataset"], row["bits"]) for row in rows}:
        mine = [row for row in rows if (row["dataset"], row["bits"]) == place]
        assert [r["p_holm"] for r in mine] == pytest.approx(holm(np.array([r["p"] for r in mine])).tolist())
    assert pairs([scored("a", rng.random(5))]).num_rows == 0
    assert pairs([]).schema == paired_tests.PAIRS


def test_scores_that_are_not_defined_are_not_tested() -> None:
    """Recall at 10 of ten items is none: no difference holds, and other pairs are corrected without it."""
    rng = np.random.default_rng(8)
    runs = [scored("a", rng.random(20)), scored("b", rng.random(20)), scored("c", np.full(20, np.nan))]
    rows = {(row["first"], row["second"]): row for row in pairs(runs).to_pylist()}
    assert rows["a", "b"]["p_holm"] == rows["a", "b"]["p"]
    for pair in (("a", "c"), ("b", "c")):
        assert "recall at 10 of ten items" in rows[pair]["not_tested"]
        assert (rows[pair]["p"], rows[pair]["holds"]) == (None, None)


def test_other_queries_are_not_compared() -> None:
    """A method asked other queries, and one whose seeds were, are listed with the reason, not tested."""
    rng = np.random.default_rng(7)
    elsewhere = scored("b", rng.random(20))._replace(query_Q=np.array([f"other {n}" for n in range(20)]))
    runs = [
        scored("a", rng.random(20)), elsewhere, scored("c", rng.random(20)),
        scored("d", rng.random(20)), scored("d", rng.random(19)),
    ]  # fmt: skip
    rows = {(row["first"], row["second"]): row for row in pairs(runs).to_pylist()}
    assert len(rows) == 6
    assert rows["a", "c"]["not_tested"] is None
    for pair in (("a", "b"), ("b", "c"), ("a", "d"), ("b", "d"), ("c", "d")):
        assert rows[pair]["not_tested"] == "their reports have other queries"
        assert rows[pair]["p"] is None
    ordered = summed({"a": 0.9, "b": 0.8, "c": 0.7, "d": 0.6})
    (a, *_) = paired_tests.table(pairs(runs), ordered, "toy", "image_to_text")
    assert a == {"method": "a", "16 bits": "c; not tested: b, d"}


def summed(maps: dict[str, float]) -> pa.Table:
    """MAP of each method at 16 bits, and what a paper prints for one of them."""
    place = {"dataset": "toy", "bits": 16, "direction": "image_to_text", "metric": "map"}
    rows = [place | {"method": method, "value": value} for method, value in maps.items()]
    return pa.Table.from_pylist(
        [*rows, place | {"method": "b", "value": 1.0, "source": "a paper"}], comparison.SUMMARY
    )


def test_the_table_names_what_is_not_told_apart() -> None:
    """Two methods that are alike name each other, a third that differs from both has a dash."""
    rng = np.random.default_rng(8)
    score_Q = rng.random(40)
    runs = [
        scored("a", score_Q), scored("b", score_Q + rng.normal(0, 0.01, 40)), scored("c", score_Q + 0.5),
    ]  # fmt: skip
    runs += [scored("a", score_Q, bits=32), scored("c", score_Q, bits=32)]
    tested = pairs(runs)
    ordered = summed({"a": 0.5, "b": 0.4, "c": 0.9})
    rows = paired_tests.table(tested, ordered, "toy", "image_to_text", names={"c": "C"})
    assert rows == [
        {"method": "C", "16 bits": "–", "32 bits": "a"},
        {"method": "a", "16 bits": "b", "32 bits": "C"},
        {"method": "b", "16 bits": "a", "32 bits": ""},
    ]
    assert paired_tests.table(tested, ordered, "toy", "text_to_image") == []
