"""Counts made in blocks, here and on real Dask workers, are those of the whole made at once."""

from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from cmh.codes import hamming
from cmh.evaluation import histograms, report
from flows.experiment import Resources
from flows.stages import counting
from infra import dask_cluster

ITEMS, QUERIES, BITS, LABELS = 500, 60, 24, 5
ORDERS = {"last first": np.arange(BITS)[::-1].copy()}
RANKINGS = report.rankings(report.DIRECTIONS, (8, BITS), ORDERS)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Codes and a dataset whose queries lie scattered among the database."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("zarr")
    codes = zarr.open_group(folder / "codes.zarr", mode="w")
    for side in ("image", "text"):
        packed_NP = hamming.pack(rng.random((ITEMS, BITS)) < 0.5)
        codes.create_array(side, data=packed_NP, chunks=(64, BITS // 8))
    dataset = zarr.open_group(folder / "dataset.zarr", mode="w")
    dataset.create_array("label", data=(rng.random((ITEMS, LABELS)) < 0.3).astype(np.uint8))
    query = np.sort(rng.permutation(ITEMS)[:QUERIES])
    dataset.create_array("split/query", data=query)
    dataset.create_array("split/database", data=np.setdiff1d(np.arange(ITEMS), query))
    return folder / "codes.zarr", folder / "dataset.zarr"


def at_once(places: tuple[Path, Path]) -> counting.RankingCounts:
    return counting.count_in_blocks(*places, RANKINGS, ORDERS, Resources(threads=2))[0]


def same(one: counting.RankingCounts, other: counting.RankingCounts) -> None:
    assert list(one) == list(other) == RANKINGS
    for ranking in RANKINGS:
        np.testing.assert_array_equal(one[ranking], other[ranking])


def test_the_whole_is_what_the_metrics_module_counts(places: tuple[Path, Path]) -> None:
    """Both sides of a direction by its split, the bits by the order; the queries come with it."""
    codes, dataset = (zarr.open_group(place, mode="r") for place in places)
    query, database = (dataset[f"split/{name}"][:] for name in ("query", "database"))
    labels = dataset["label"][:]
    counted, queries = counting.count_in_blocks(*places, RANKINGS, ORDERS, Resources(threads=1))
    for ranking in RANKINGS:
        sides = [
            hamming.unpack(codes[side][:][rows], BITS) > 0
            for side, rows in ((ranking.query, query), (ranking.database, database))
        ]
        kept = [hamming.pack((c[:, ::-1] if ranking.order else c)[:, : ranking.bits]) for c in sides]
        expected = histograms.distance_histograms(*kept, labels[query], labels[database], ranking.bits)
        np.testing.assert_array_equal(counted[ranking].sum(axis=1), expected.all_QD)
        np.testing.assert_array_equal(counted[ranking][:, 1:].sum(axis=1), expected.relevant_QD)
    np.testing.assert_array_equal(queries.label_NL, labels[query])
    np.testing.assert_array_equal(queries.codes["text"], codes["text"][:][query])


@settings(max_examples=15, deadline=None)
@given(queries=st.integers(9, 70), items=st.integers(40, 600), parts=st.integers(1, 9), shuffled=st.randoms())
def test_blocks_of_any_size_in_any_order(
    places: tuple[Path, Path], queries: int, items: int, parts: int, shuffled: st.DataObject
) -> None:
    """Cut both ways and read in pieces, the sums are the whole; each pair is in one part."""
    total = at_once(places)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counting, "QUERIES_AT_ONCE", queries)
        patch.setattr(counting, "ITEMS_AT_ONCE", items)
        patch.setattr(counting.dask_cluster, "connect", lambda address: _Here(parts))
        patch.setattr(counting.dask_cluster, "map_parts", _mapped(shuffled))
        same(counting.count_in_blocks(*places, RANKINGS, ORDERS, Resources(dask="tcp://here:1"))[0], total)


class _Here:
    """In place of a client of so many threads; the slow test below has a real one."""

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def __enter__(self) -> "_Here":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def nthreads(self) -> dict[str, int]:
        return {"here": self.threads}


def _mapped(shuffled):
    def map_parts(client, function, parts, *, describe, on_done):
        pairs = np.zeros((QUERIES, ITEMS - QUERIES), int)
        for part in shuffled.sample(parts, len(parts)):
            pairs[np.ix_(part.queries, part.database)] += 1
            on_done(part, function(part))
            assert str(part.database.start) in describe(part)
        assert (pairs == 1).all()

    return map_parts


@pytest.mark.slow
def test_on_workers(places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Two real workers, many parts: the same counts, and both had a share."""
    monkeypatch.setattr(counting, "QUERIES_AT_ONCE", 16)
    with dask_cluster.connect(workers=2, threads=1, dashboard="127.0.0.1:0") as client:
        client.wait_for_workers(2)
        client.get_task_stream()  # records from here on
        resources = Resources(dask=client.scheduler.address)
        same(counting.count_in_blocks(*places, RANKINGS, ORDERS, resources)[0], at_once(places))
        tasks = client.get_task_stream()
    assert len(tasks) == 4 * 4  # of queries, and two for each worker
    assert len({task["worker"] for task in tasks}) == 2
