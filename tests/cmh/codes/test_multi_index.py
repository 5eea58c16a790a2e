"""Searches that read few codes find what the scan and a slow loop find, to the last row."""

from pathlib import Path

import numpy as np
import pytest

from cmh.codes import hamming, index_files, multi_index
from cmh.codes.multi_index import MultiIndex
from cmh.codes.search import Hits, Index

RNG = np.random.default_rng(0)


def clustered(items: int, bits: int, flips: float = 0.04) -> np.ndarray:
    """Codes around 40 centres, as learnt ones lie, many of them equal."""
    centre_CK = RNG.random((40, bits)) < 0.5
    return hamming.pack(centre_CK[RNG.integers(40, size=items)] ^ (RNG.random((items, bits)) < flips))


def uniform(items: int, bits: int) -> np.ndarray:
    return hamming.pack(RNG.random((items, bits)) < 0.5)


def slow(codes_NP: np.ndarray, query_P: np.ndarray, k: int) -> list[tuple[int, int]]:
    """(distance, row) of the nearest items, by looking at each."""
    distances = [int(np.unpackbits(code_P ^ query_P).sum()) for code_P in codes_NP]
    return sorted(zip(distances, range(len(codes_NP)), strict=True))[:k]


def same(hits: Hits, expected: Hits) -> None:
    for found, wanted in zip(hits, expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.fixture
def never_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no query be given up."""
    monkeypatch.setattr(multi_index, "_CAP", np.inf)
    monkeypatch.setattr(multi_index, "_LIMIT", np.inf)


@pytest.mark.usefixtures("never_scan")
@pytest.mark.parametrize("bits", [5, 8, 13, 16, 20, 24, 31, 32, 40, 48, 50, 63, 64])
@pytest.mark.parametrize("kind", [clustered, uniform])
def test_every_length_gives_what_the_scan_and_a_slow_loop_give(bits: int, kind) -> None:
    """Distances and rows, ties and duplicates included, alone and in batches, on any number of threads."""
    codes_NP = kind(600, bits)
    query_QP = np.concatenate([codes_NP[:3], uniform(3, bits)])
    multi, scan = MultiIndex(codes_NP, bits), Index(codes_NP, bits)
    for k in (1, 7, 300, 600, 1000):
        for threads in (1, 2):
            same(multi.search(query_QP, k, threads=threads), scan.search(query_QP, k, threads=threads))
    hits = multi.search(query_QP[0], 50)
    assert list(zip(hits.distance[0], hits.row[0], strict=True)) == slow(codes_NP, query_QP[0], 50)


@pytest.mark.usefixtures("never_scan")
@pytest.mark.parametrize("k", [1, 10, 200])
def test_equal_codes_come_in_the_order_of_rows(k: int) -> None:
    """Whether all are equal to the query, or all are far from it."""
    code_NP = np.repeat(uniform(1, 64), 200, axis=0)
    for query_P in (code_NP[0], ~code_NP[0]):
        hits = MultiIndex(code_NP, 64).search(query_P, k)
        assert hits.row[0].tolist() == list(range(k))


@pytest.mark.parametrize(("cap", "limit"), [(0.0, 0.0), (0.5, 0.5), (5.0, 3.0), (np.inf, 10.0)])
def test_a_query_that_is_given_up_is_scanned(
    cap: float, limit: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that some queries of a batch are, and others not."""
    monkeypatch.setattr(multi_index, "_CAP", cap)
    monkeypatch.setattr(multi_index, "_LIMIT", limit)
    codes_NP = np.concatenate([clustered(30_000, 64), uniform(30_000, 64)])
    query_QP = np.concatenate([codes_NP[:8], uniform(8, 64)])
    same(MultiIndex(codes_NP, 64).search(query_QP, 5), Index(codes_NP, 64).search(query_QP, 5))


@pytest.mark.usefixtures("never_scan")
def test_appended_items_are_found_sorted_or_not() -> None:
    """With ids, and with more neighbours than either part has."""
    codes_NP = clustered(500, 64)
    ids = np.array([f"item {n}" for n in range(500)])
    multi, scan = MultiIndex(codes_NP[:200], 64, ids[:200]), Index(codes_NP, 64, ids)
    for end in (210, 220, 400, 401, 500):
        multi.append(codes_NP[len(multi) : end], ids[len(multi) : end])
        scan = Index(codes_NP[:end], 64, ids[:end])
        for k in (3, 450):
            same(multi.search(codes_NP[-2:], k), scan.search(codes_NP[-2:], k))


@pytest.mark.usefixtures("never_scan")
def test_a_saved_index_is_mapped_and_grows_on(tmp_path: Path) -> None:
    """Nothing is sorted again on loading; appended items are found beside what is mapped."""
    codes_NP = clustered(400, 64)
    saved = MultiIndex(codes_NP[:390], 64)
    index_files.save(saved, tmp_path)
    loaded = index_files.load(tmp_path)
    assert isinstance(loaded, MultiIndex)
    assert isinstance(loaded.sorted_codes.word_MN, np.memmap)
    same(loaded.search(codes_NP[:3], 20), saved.search(codes_NP[:3], 20))
    loaded.append(codes_NP[390:])
    same(loaded.search(codes_NP[-2:], 20), Index(codes_NP, 64).search(codes_NP[-2:], 20))


@pytest.mark.usefixtures("never_scan")
def test_rows_that_are_not_there_are_refused(tmp_path: Path) -> None:
    """When a search comes upon them, so that a mapped file is not read whole before the first."""
    codes_NP = clustered(400, 64)
    index_files.save(MultiIndex(codes_NP, 64), tmp_path)
    file = tmp_path / "sorted_row.npy"
    np.save(file, np.load(file) + np.uint32(400))
    with pytest.raises(ValueError, match="they name rows that are not there"):
        index_files.load(tmp_path).search(codes_NP[0], 10)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("start", lambda start_MB: start_MB[:, ::-1]),
        ("start", lambda start_MB: start_MB + np.uint32(1)),
        ("word", lambda word_MN: word_MN[:, 1:]),
        ("row", lambda row_MN: row_MN.astype(np.int64)),
        ("row", lambda row_MN: row_MN[:1]),
    ],
)
def test_damaged_sorted_codes_are_refused(tmp_path: Path, name: str, change) -> None:
    """Before a search could leave the bounds of its arrays."""
    index_files.save(MultiIndex(clustered(400, 64), 64), tmp_path)
    file = tmp_path / f"sorted_{name}.npy"
    np.save(file, change(np.load(file)))
    with pytest.raises(ValueError, match=f"{tmp_path.name} is damaged: .*sorted codes are damaged"):
        index_files.load(tmp_path)


def test_many_codes_are_sorted_and_few_or_long_ones_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service asks for it when it opens a collection."""
    monkeypatch.setattr(multi_index, "LEAST", 100)
    assert isinstance(multi_index.sorted_if_many(Index(uniform(100, 64), 64)), MultiIndex)
    for few_or_long in (Index(uniform(99, 64), 64), Index(uniform(100, 128), 128)):
        assert multi_index.sorted_if_many(few_or_long) is few_or_long


def test_other_searches_are_those_of_the_index() -> None:
    """By a prefix, ordered anew by all bits, among some items, and weighted."""
    codes_NP = clustered(3000, 64)
    scan, query_QP, allowed_N = Index(codes_NP, 64), uniform(2, 64), RNG.random(3000) < 0.3
    multi = MultiIndex.of(scan)
    same(multi.search(query_QP, 9, prefix=16), scan.search(query_QP, 9, prefix=16))
    rerank = {"prefix": 16, "rerank": 50}
    same(multi.search(query_QP, 9, **rerank), scan.search(query_QP, 9, **rerank))
    same(multi.search(query_QP, 9, allowed_N=allowed_N), scan.search(query_QP, 9, allowed_N=allowed_N))
    weight_QK = RNG.random((2, 64))
    same(multi.search_weighted(query_QP, weight_QK, 9), scan.search_weighted(query_QP, weight_QK, 9))


def test_what_cannot_be_searched_is_refused() -> None:
    """Longer codes, no items, other queries."""
    with pytest.raises(ValueError, match=r"at most 64 bits are sorted, these have 128; use Index"):
        MultiIndex(uniform(3, 128), 128)
    with pytest.raises(ValueError, match="an item to find"):
        MultiIndex(uniform(0, 64), 64).search(uniform(1, 64))
    with pytest.raises(ValueError, match="queries"):
        MultiIndex(uniform(9, 64), 64).search(uniform(1, 32))
