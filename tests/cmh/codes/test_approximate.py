"""Inverted lists against the exact index: nothing is missed with all lists probed; recall is right."""

import sys

import numpy as np
import pytest

from cmh.codes import hamming
from cmh.codes.approximate import ApproximateIndex
from cmh.codes.search import Index


@pytest.fixture(scope="module")
def lists() -> ApproximateIndex:
    """Clustered codes, as learnt codes are."""
    pytest.importorskip("faiss")
    rng = np.random.default_rng(0)
    centre_NK = rng.random((40, 64))[rng.integers(40, size=6000)]
    return ApproximateIndex(
        Index(hamming.pack(rng.random((6000, 64)) < centre_NK.round(1)), 64), lists=32, probes=2
    )


def test_probing_all_lists_is_exact(lists: ApproximateIndex) -> None:
    """Then nothing can be missed: distances equal, recall 1."""
    query_QP = lists.exact.codes(slice(0, 50))
    assert (lists.search(query_QP, 10, probes=32).distance == lists.exact.search(query_QP, 10).distance).all()
    assert lists.recall(query_QP, 10, probes=32) == 1.0


def test_recall_is_the_share_of_the_nearest_that_is_found(lists: ApproximateIndex) -> None:
    """Counted from the distances, and lower with fewer lists."""
    query_QP = hamming.pack(np.random.default_rng(1).random((50, 64)) < 0.5)
    exact, found = lists.exact.search(query_QP, 10), lists.search(query_QP, 10)
    hits = [(f <= e[-1]).sum() for f, e in zip(found.distance, exact.distance, strict=True)]
    assert lists.recall(query_QP, 10) == pytest.approx(sum(hits) / 500)
    assert lists.recall(query_QP, 10, probes=1) < lists.recall(query_QP, 10, probes=32)


def test_what_the_lists_do_not_hold_has_no_id(lists: ApproximateIndex) -> None:
    """Row −1 and a masked id; recall is of the items that there are."""
    few = ApproximateIndex(Index(lists.exact.codes(slice(0, 40)), 64, np.arange(40) + 7), lists=20, probes=1)
    query_QP = lists.exact.codes(slice(0, 5))
    hits = few.search(query_QP, 40)
    assert (hits.row < 0).any()
    assert (np.ma.getmaskarray(hits.id) == (hits.row < 0)).all()
    assert (hits.id.compressed() == hits.row[hits.row >= 0] + 7).all()
    assert few.recall(query_QP, 100, probes=20) == 1.0
    with pytest.raises(ValueError, match="k of at least 1"):
        few.search(query_QP, 0)


def test_missing_faiss_and_impossible_sizes_say_what_to_do(
    lists: ApproximateIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the package, or the exact index."""
    with pytest.raises(ValueError, match="use the exact index"):
        ApproximateIndex(Index(np.zeros((10, 8), np.uint8), 64))
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ImportError, match=r"pip install 'cmh\[faiss\]'"):
        ApproximateIndex(lists.exact, lists=4, probes=1)
