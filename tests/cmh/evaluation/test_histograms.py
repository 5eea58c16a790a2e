"""Histograms against a double loop over pairs: exact counts, for any number of bits and labels."""

from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from cmh.codes import hamming
from cmh.evaluation import histograms


def problem(bits: int, labels: int, queries: int, items: int, seed: int) -> tuple:
    rng = np.random.default_rng(seed)
    codes = [rng.random((n, bits)) < 0.5 for n in (queries, items)]
    return *codes, *(rng.random((n, labels)) < 0.2 for n in (queries, items))


def slow_counts(query_QK, database_NK, query_labels_QL, database_labels_NL) -> np.ndarray:
    counts = np.zeros((2, len(query_QK), query_QK.shape[1] + 1), np.int64)
    for q, (code, labels) in enumerate(zip(query_QK, query_labels_QL, strict=True)):
        for other, other_labels in zip(database_NK, database_labels_NL, strict=True):
            distance = (code != other).sum()
            counts[0, q, distance] += 1
            counts[1, q, distance] += any(labels & other_labels)
    return counts


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 512), st.integers(1, 150), st.integers(1, 4), st.integers(1, 40), st.integers(0, 99))
def test_counts_every_pair_once(bits: int, labels: int, queries: int, items: int, seed: int) -> None:
    """All and relevant items per distance equal a loop over every pair."""
    query_QK, database_NK, query_labels_QL, labels_NL = problem(bits, labels, queries, items, seed)
    counts = histograms.distance_histograms(
        hamming.pack(query_QK), hamming.pack(database_NK), query_labels_QL, labels_NL, bits
    )
    expected = slow_counts(query_QK, database_NK, query_labels_QL, labels_NL)
    assert (counts.all_QD == expected[0]).all()
    assert (counts.relevant_QD == expected[1]).all()
    readable = histograms.numpy_histograms(
        hamming.pack(query_QK), hamming.pack(database_NK), query_labels_QL, labels_NL, bits
    )
    assert (readable.all_QD == counts.all_QD).all()
    assert (readable.relevant_QD == counts.relevant_QD).all()


def test_compiled_kernel_equals_numpy_over_many_tiles_and_threads() -> None:
    """Uneven tiles and groups of queries, wide codes, several label words: bit for bit NumPy's counts."""
    for bits, labels, items in ((64, 21, 9001), (200, 81, 4096), (512, 130, 5000)):
        query_QK, database_NK, query_labels_QL, labels_NL = problem(bits, labels, 35, items, bits)
        sides = hamming.pack(query_QK), hamming.pack(database_NK), query_labels_QL, labels_NL, bits
        expected = histograms.numpy_histograms(*sides)
        for threads in (1, 3):
            counts = histograms.distance_histograms(*sides, threads=threads)
            assert (counts.all_QD == expected.all_QD).all()
            assert (counts.relevant_QD == expected.relevant_QD).all()


def test_codes_stream_from_zarr_shard_by_shard(tmp_path: Path) -> None:
    """A database in a Zarr store is read block by block, never whole, and counts the same."""
    query_QK, database_NK, query_labels_QL, labels_NL = problem(64, 9, 3, 700, 2)
    group = zarr.open_group(tmp_path / "codes.zarr", mode="w")
    group.create_array("image", data=hamming.pack(database_NK), chunks=(50, 8), shards=(200, 8))
    group.create_array("label", data=labels_NL.astype(np.uint8), chunks=(50, 9))
    stored = zarr.open_group(tmp_path / "codes.zarr", mode="r")
    blocks = histograms.blocks(stored["image"], stored["label"], size=200)
    counts = histograms.stream_histograms(hamming.pack(query_QK), query_labels_QL, blocks, 64)
    expected = slow_counts(query_QK, database_NK, query_labels_QL, labels_NL)
    assert (counts.all_QD == expected[0]).all()
    assert (counts.relevant_QD == expected[1]).all()


def test_parts_of_queries_and_database_assemble_to_the_whole() -> None:
    """Adding over database blocks and stacking over query blocks, as a cluster does, changes nothing."""
    query_QK, database_NK, query_labels_QL, labels_NL = problem(32, 9, 10, 100, 5)
    query_QP, database_NP = hamming.pack(query_QK), hamming.pack(database_NK)

    def part(queries: slice, items: slice) -> histograms.Histograms:
        return histograms.distance_histograms(
            query_QP[queries], database_NP[items], query_labels_QL[queries], labels_NL[items], 32
        )

    halves = [slice(0, 3), slice(3, None)]
    assembled = histograms.stack([part(q, halves[0]) + part(q, halves[1]) for q in halves])
    whole = part(slice(None), slice(None))
    assert (assembled.all_QD == whole.all_QD).all()
    assert (assembled.relevant_QD == whole.relevant_QD).all()


def test_blocks_of_a_database_give_the_counts_of_the_whole() -> None:
    """A database that streams by in uneven blocks counts as it does in one piece."""
    query_QK, database_NK, query_labels_QL, labels_NL = problem(48, 21, 7, 1000, 1)
    query_QP, database_NP = hamming.pack(query_QK), hamming.pack(database_NK)
    whole = histograms.distance_histograms(query_QP, database_NP, query_labels_QL, labels_NL, 48)
    blocks = histograms.blocks(database_NP, labels_NL, size=333)
    parts = histograms.stream_histograms(query_QP, query_labels_QL, blocks, 48)
    assert (parts.all_QD == whole.all_QD).all()
    assert (parts.relevant_QD == whole.relevant_QD).all()
    assert whole.all_QD.sum() == 7 * 1000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bits": 24}, "24 bits are packed"),
        ({"query_labels": np.ones((2, 3))}, "query: 4 codes but 2 rows"),
        ({"database_labels": np.ones((9, 4))}, "have 3 labels, the database 4"),
        ({"database_labels": np.ones(9)}, "multi-hot"),
        ({"database": np.zeros((0, 2), np.uint8), "database_labels": np.ones((0, 3))}, "database is empty"),
    ],
)
def test_sides_that_do_not_fit_are_refused(change: dict, message: str) -> None:
    """Wrong lengths, label vocabularies or empty sides stop with what was given."""
    given = {
        "query": np.zeros((4, 2), np.uint8),
        "database": np.zeros((9, 2), np.uint8),
        "query_labels": np.ones((4, 3)),
        "database_labels": np.ones((9, 3)),
        "bits": 16,
    } | change
    with pytest.raises(ValueError, match=message):
        histograms.distance_histograms(*given.values())


@pytest.mark.parametrize("grades", [1, 3, 4])
def test_too_few_grades_are_refused(grades: int) -> None:
    """The kernel would count outside of its arrays."""
    codes, labels = np.zeros((3, 2), np.uint8), np.ones((3, 4))
    with pytest.raises(ValueError, match=f"up to 4 labels, which makes 5 grades, got {grades}"):
        histograms.grade_counts(codes, labels, [(codes, labels)], 16, grades=grades)
    counts = histograms.grade_counts(codes, labels, [(codes, labels)], 16, grades=5)
    assert counts[:, 4, 0].tolist() == [3, 3, 3]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([[3], [7]]), "one column of int64: if it holds class numbers"),
        (np.array([[0], [1]]), "one column"),
        (np.array([[1.0, np.nan], [0, 1]]), "contain NaN; say 0"),
        (np.array([[3, 7], [2, 0]]), "multi-hot, 0 or 1, got 3"),
        (np.array([[0.2, 0.9], [0.5, 0]]), r"labels > threshold"),
        (np.array([["a", "b"], ["c", "d"]]), "got <U1"),
        (np.array([1, 2]), "got shape"),
    ],
)
def test_labels_that_are_not_multi_hot_are_refused(labels, message):
    """Their figures would look plausible; on either side."""
    codes, good = np.zeros((2, 1), np.uint8), np.eye(2)
    for sides in ((labels, good), (good, labels)):
        with pytest.raises(ValueError, match=message):
            histograms.distance_histograms(codes, codes, *sides, 8)
    signs = histograms.distance_histograms(codes, codes, 2 * good - 1, good.astype(bool), 8)
    assert (signs.relevant_Q == 1).all()
