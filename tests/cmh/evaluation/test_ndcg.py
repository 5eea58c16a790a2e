"""Graded NDCG against scikit-learn, which also averages over ties, and against a hand-made case; to 1e-12."""

import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from cmh.codes import hamming
from cmh.evaluation import ndcg
from cmh.evaluation.histograms import grade_counts, numpy_histograms


def problem(seed: int) -> tuple:
    rng = np.random.default_rng(seed)
    codes = [hamming.pack(rng.random((n, 12)) < 0.5) for n in (6, 80)]
    return *codes, rng.random((6, 7)) < 0.5, rng.random((80, 7)) < 0.3


def graded(query_QP, database_NP, query_labels_QL, labels_NL, bits: int) -> np.ndarray:
    grades = ndcg.grades(query_labels_QL)
    return grade_counts(query_QP, query_labels_QL, [(database_NP, labels_NL)], bits, grades=grades)


@pytest.mark.parametrize("k", [None, 1, 10, 500])
def test_agrees_with_scikit_learn(k: int | None) -> None:
    """Shared labels as gains, ties averaged, cut at k or not."""
    query_QP, database_NP, query_labels_QL, labels_NL = problem(0)
    counts = graded(query_QP, database_NP, query_labels_QL, labels_NL, 12)
    grade_QN = query_labels_QL.astype(int) @ labels_NL.T.astype(int)
    score_QN = -hamming.distances(query_QP, database_NP).astype(float)
    for q in range(6):
        expected = ndcg_score(grade_QN[q : q + 1], score_QN[q : q + 1], k=k)
        assert ndcg.ndcg(counts, k)[q] == pytest.approx(expected, abs=1e-12)


def test_exponential_gain_weighs_shared_labels_more() -> None:
    """2^g − 1: grades 1 then 2 at distances 0 and 1 give (1 + 3/log2 3) / (3 + 1/log2 3)."""
    counts_QGD = np.zeros((1, 3, 2), np.int64)
    counts_QGD[0, 1, 0] = counts_QGD[0, 2, 1] = 1
    expected = (1 + 3 / np.log2(3)) / (3 + 1 / np.log2(3))
    assert ndcg.ndcg(counts_QGD, gain="exponential")[0] == pytest.approx(expected, abs=1e-12)


def test_query_without_any_shared_label_scores_zero_not_nan() -> None:
    """Its ideal gain is 0."""
    codes_NP = np.zeros((2, 1), np.uint8)
    counts = graded(codes_NP, codes_NP, np.zeros((2, 2)), np.ones((2, 2)), 8)
    assert ndcg.ndcg(counts).tolist() == [0.0, 0.0]
    with pytest.raises(ValueError, match="at least 1"):
        ndcg.ndcg(counts, 0)


def test_grades_add_up_to_the_plain_counts() -> None:
    """Summed over grades, and over grades above 0, they are the histograms of all and of relevant items."""
    query_QP, database_NP, query_labels_QL, labels_NL = problem(4)
    counts = graded(query_QP, database_NP, query_labels_QL, labels_NL, 12)
    plain = numpy_histograms(query_QP, database_NP, query_labels_QL, labels_NL, 12)
    assert (counts.sum(axis=1) == plain.all_QD).all()
    assert (counts[:, 1:].sum(axis=1) == plain.relevant_QD).all()
