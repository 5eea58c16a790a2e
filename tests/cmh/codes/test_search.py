"""Search against sorting all distances: same distances, same rows, ties by row, whatever the options.

Weighted distances of whole-numbered weights are exact in double precision, so there too rows must be equal.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmh.codes import hamming
from cmh.codes.search import Index


def problem(bits: int, items: int, queries: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return tuple(hamming.pack(rng.random((n, bits)) < 0.5) for n in (items, queries))


def sort_all(distance_QN: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    row_Qk = np.argsort(distance_QN, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(distance_QN, row_Qk, axis=1), row_Qk


def weighted_distances(query_QP: np.ndarray, database_NP: np.ndarray, weight_QK: np.ndarray) -> np.ndarray:
    bits = weight_QK.shape[1]
    differ_QNK = hamming.unpack(query_QP, bits)[:, None] != hamming.unpack(database_NP, bits)
    return np.einsum("qnk,qk->qn", differ_QNK, weight_QK)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 300),
    st.integers(1, 5000),
    st.integers(1, 3),
    st.integers(1, 40),
    st.integers(1, 3),
    st.data(),
)
def test_finds_what_sorting_all_distances_finds(
    bits: int, items: int, queries: int, k: int, threads: int, data: st.DataObject
) -> None:
    """Any length, prefix, k and number of threads; heavy ties at few bits."""
    database_NP, query_QP = problem(bits, items, queries, data.draw(st.integers(0, 99)))
    prefix = data.draw(st.integers(1, bits))
    index = Index(database_NP, bits)
    hits = index.search(query_QP, k, prefix=prefix, threads=threads)
    short = hamming.prefix(query_QP, prefix), hamming.prefix(database_NP, prefix)
    distance_Qk, row_Qk = sort_all(hamming.distances(*short), k)
    assert (hits.distance == distance_Qk).all()
    assert (hits.row == row_Qk).all()


def test_batch_equals_single_queries() -> None:
    """More queries than one group holds, and each alone."""
    database_NP, query_QP = problem(24, 3000, 150)
    index = Index(database_NP, 24)
    batch = index.search(query_QP, 7, threads=2)
    for q in (0, 63, 64, 149):
        single = index.search(query_QP[q], 7, threads=2)
        assert (single.row[0] == batch.row[q]).all()
    assert (batch.row == sort_all(hamming.distances(query_QP, database_NP), 7)[1]).all()


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 200), st.integers(1, 3000), st.integers(1, 20), st.integers(1, 3), st.integers(0, 99))
def test_weighted_search_is_exact(bits: int, items: int, k: int, threads: int, seed: int) -> None:
    """Rows and distances of whole-numbered weights, zeros among them, equal sorting everything."""
    database_NP, query_QP = problem(bits, items, 3, seed)
    weight_QK = np.random.default_rng(seed).integers(0, 200, (3, bits)).astype(float)
    hits = Index(database_NP, bits).search_weighted(query_QP, weight_QK, k, threads=threads)
    distance_Qk, row_Qk = sort_all(weighted_distances(query_QP, database_NP, weight_QK), k)
    assert (hits.distance == distance_Qk).all()
    assert (hits.row == row_Qk).all()


def test_weighted_search_of_real_weights_orders_as_the_inner_product() -> None:
    """Weights |u| find the codes with the largest u·b; distances equal the sums to rounding."""
    database_NP, _ = problem(64, 20_000, 1)
    u_QK = np.random.default_rng(1).standard_normal((5, 64))
    query_QP = hamming.pack(u_QK)
    hits = Index(database_NP, 64).search_weighted(query_QP, np.abs(u_QK), 10)
    inner_QN = u_QK @ hamming.unpack(database_NP, 64).T.astype(float)
    assert (hits.row == np.argsort(-inner_QN, axis=1)[:, :10]).all()
    expected_QN = weighted_distances(query_QP, database_NP, np.abs(u_QK))
    assert hits.distance == pytest.approx(np.sort(expected_QN, axis=1)[:, :10], abs=1e-12)


@pytest.mark.parametrize("weight", [0.0, 1.0, 2.0**-1000, 2.0**1000])
def test_equal_weights_of_any_size_are_the_hamming_distance(weight: float) -> None:
    """Steps of the bit planes neither overflow nor vanish."""
    database_NP, query_QP = problem(40, 500, 2)
    index = Index(database_NP, 40)
    hits = index.search_weighted(query_QP, np.full(40, weight), 5)
    if weight:
        assert (hits.row == index.search(query_QP, 5).row).all()
    else:
        assert hits.row.tolist() == [[0, 1, 2, 3, 4]] * 2


def test_weights_near_zero_order_as_others() -> None:
    """The smallest numbers there are weigh as one does."""
    database_NP, query_QP = problem(16, 50, 3)
    tiny_hits, hits = (
        Index(database_NP, 16).search_weighted(query_QP, np.full(16, w)) for w in (5e-324, 1.0)
    )
    assert (tiny_hits.row == hits.row).all()


def test_rerank_orders_the_best_by_prefix_by_all_bits() -> None:
    """With all items as candidates it is the full search; with k candidates it only reorders."""
    database_NP, query_QP = problem(64, 2000, 4)
    index = Index(database_NP, 64)
    full = index.search(query_QP, 10)
    everything = index.search(query_QP, 10, prefix=8, rerank=2000)
    assert (everything.row == full.row).all()
    assert (everything.distance == full.distance).all()
    few = index.search(query_QP, 10, prefix=8, rerank=10)
    assert (np.sort(few.row) == np.sort(index.search(query_QP, 10, prefix=8).row)).all()


@pytest.mark.parametrize("weighted", [False, True])
def test_finds_only_allowed_items(weighted: bool) -> None:
    """A mask of labels hides the other items, and less than k of them give fewer columns."""
    database_NP, query_QP = problem(256, 5000, 3)
    allowed_N = np.random.default_rng(0).random(5000) < 0.01
    index = Index(database_NP, 256)
    search = (
        (lambda q, k, **mask: index.search_weighted(q, np.ones(256), k, **mask)) if weighted else index.search
    )
    hits = search(query_QP, 100, allowed_N=allowed_N)
    distance_QN = hamming.distances(query_QP, database_NP[allowed_N])
    assert hits.row.shape == (3, min(100, allowed_N.sum()))
    assert (hits.row == np.flatnonzero(allowed_N)[sort_all(distance_QN, 100)[1]]).all()


def test_append_adds_rows_at_the_end() -> None:
    """Many small appends equal one index of everything, ids and all; earlier answers do not change."""
    database_NP, query_QP = problem(70, 1000, 2)
    names = np.array([f"item {n}" for n in range(1000)])
    index = Index(database_NP[:1], 70, names[:1])
    for first in range(1, 1000, 37):
        index.append(database_NP[first : first + 37], names[first : first + 37])
    whole = Index(database_NP, 70, names)
    assert len(index) == 1000
    assert (index.codes() == database_NP).all()
    assert (index.search(query_QP, 20).id == whole.search(query_QP, 20).id).all()


@pytest.mark.parametrize(
    "ids", [np.arange(5) * 100, np.array(list("abcde")), np.arange(5).astype("datetime64[D]")]
)
def test_ids_are_of_any_type(ids: np.ndarray) -> None:
    """Numbers, strings, dates."""
    database_NP = hamming.pack(np.tri(5, 8, -1) > 0)
    hits = Index(database_NP, 8, ids).search(database_NP[3], 1)
    assert hits.id.dtype == ids.dtype
    assert hits.id[0, 0] == ids[3]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 0}, "k of at least 1"),
        ({"k": -1, "prefix": 4, "rerank": 3}, "k of at least 1"),
        ({"prefix": 9}, "prefix of 9 bits"),
        ({"prefix": 0}, "prefix of 0 bits"),
        ({"rerank": 20}, "needs a prefix"),
        ({"prefix": 4, "rerank": 5}, "at least k = 10"),
        ({"allowed_N": np.ones(3, bool)}, "one bool for each of 4"),
        ({"allowed_N": np.ones(4)}, "one bool for each of 4"),
        ({"allowed_N": np.zeros(4, bool)}, "an item to find"),
        ({"threads": 0}, "at least one thread"),
    ],
)
def test_impossible_searches_are_refused(arguments: dict, message: str) -> None:
    """Before any work, saying what was given."""
    index = Index(np.zeros((4, 1), np.uint8), 8)
    with pytest.raises(ValueError, match=message):
        index.search(np.zeros((1, 1), np.uint8), **arguments)


def test_misfitting_codes_ids_and_weights_are_refused() -> None:
    """Queries of another length, ids too few or missing on append, weights negative or misshapen."""
    codes_NP = np.zeros((4, 1), np.uint8)
    index = Index(codes_NP, 8)
    with pytest.raises(ValueError, match="queries of 8 bits"):
        index.search(np.zeros((1, 2), np.uint8))
    with pytest.raises(ValueError, match="at least one query"):
        index.search(np.zeros((0, 1), np.uint8))
    with pytest.raises(ValueError, match="as many ids"):
        Index(codes_NP, 8, ["a"])
    with pytest.raises(ValueError, match="ids for all items of an index or for none"):
        index.append(codes_NP, ["a", "b", "c", "d"])
    with pytest.raises(ValueError, match="numbers, str or dates"):
        Index(codes_NP, 8, np.array([b"a", b"b", b"c", b"d"]))
    numbered = Index(codes_NP, 8, np.arange(4) + 2**60)
    for other in (np.arange(4, dtype=np.uint64), list("abcd")):
        with pytest.raises(ValueError, match="the ids of this index are int64, got"):
            numbered.append(codes_NP, other)
    with pytest.raises(ValueError, match="sum is finite"):
        index.search_weighted(codes_NP, np.full(8, 1e308))
    with pytest.raises(ValueError, match="not negative"):
        index.search_weighted(codes_NP, np.full(8, -1.0))
    with pytest.raises(ValueError, match="weights are"):
        index.search_weighted(codes_NP, np.ones(9))


def test_ids_as_pandas_gives_them_are_taken():
    """Arrays of objects that are all str, or all int; mixed ones are refused."""
    codes = np.zeros((2, 1), np.uint8)
    assert Index(codes, 8, np.array(["a", "b"], object)).ids.tolist() == ["a", "b"]
    assert Index(codes, 8, np.array([3, 4], object)).ids.dtype.kind == "i"
    with pytest.raises(ValueError, match="as many ids"):
        Index(codes, 8, np.array(["a", 4], object))
