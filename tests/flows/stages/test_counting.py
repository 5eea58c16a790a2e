"""Counts made in blocks, here and on real Dask workers, are those of the whole made at once."""

import random
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from cmh.codes import hamming
from cmh.evaluation import histograms, report
from cmh.evaluation.counts import RankingCounts
from flows import engines
from flows.resources import Resources
from flows.stages import counting
from flows.stages.counting import Part
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
    label_NL = (rng.random((ITEMS, LABELS)) < 0.3).astype(np.uint8)
    label_NL[~label_NL.any(axis=1), 0] = 1
    dataset.create_array("label", data=label_NL)
    query = np.sort(rng.permutation(ITEMS)[:QUERIES])
    dataset.create_array("split/query", data=query)
    dataset.create_array("split/database", data=np.setdiff1d(np.arange(ITEMS), query))
    return folder / "codes.zarr", folder / "dataset.zarr"


def test_items_without_labels_are_not_judged(places: tuple[Path, Path], tmp_path: Path) -> None:
    """Neither as queries nor as what they find: what is relevant to them is not known."""
    codes, dataset = (zarr.open_group(place, mode="r") for place in places)
    part = zarr.open_group(tmp_path / "part.zarr", mode="w")
    labels = dataset["label"][:]
    labels[::3] = 0
    part.create_array("label", data=labels)
    rows = {name: dataset[f"split/{name}"][:] for name in ("query", "database")}
    for name, row_n in rows.items():
        part.create_array(f"split/{name}", data=row_n)
    where = (places[0], tmp_path / "part.zarr")
    counted, queries = counting.count_in_blocks(*where, RANKINGS, ORDERS, Resources(threads=1))
    kept = {name: row_n[row_n % 3 > 0] for name, row_n in rows.items()}
    np.testing.assert_array_equal(queries.label_NL, labels[kept["query"]])
    sides = [codes["image"][:][kept["query"]], codes["text"][:][kept["database"]]]
    expected = histograms.distance_histograms(*sides, labels[kept["query"]], labels[kept["database"]], BITS)
    (ranking,) = [r for r in RANKINGS if r == ("image", "text", BITS, None)]
    np.testing.assert_array_equal(counted[ranking].sum(axis=1), expected.all_QD)


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


@settings(max_examples=6, deadline=None)
@given(queries=st.integers(9, 70), items=st.integers(40, 600), parts=st.integers(1, 9), shuffled=st.randoms())
def test_blocks_of_any_size_in_any_order(
    places: tuple[Path, Path], queries: int, items: int, parts: int, shuffled: random.Random
) -> None:
    """Cut both ways and read in pieces, the sums are the whole; each pair is in one part."""
    total = at_once(places)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counting, "QUERIES_AT_ONCE", queries)
        patch.setattr(counting, "ITEMS_AT_ONCE", items)
        patch.setattr(engines, "workers", lambda resources: nullcontext(_Here(parts, shuffled)))
        same(counting.count_in_blocks(*places, RANKINGS, ORDERS, Resources(dask="tcp://here:1"))[0], total)


class _Here:
    """In place of so many workers; the slow test below has real ones."""

    def __init__(self, count: int, shuffled: random.Random) -> None:
        self.count, self.shuffled = count, shuffled

    def map_parts(
        self,
        function: Callable[[Part], RankingCounts],
        parts: list[Part],
        *,
        describe: Callable[[Part], str],
        on_done: Callable[[Part, RankingCounts], None],
    ) -> None:
        pairs = np.zeros((QUERIES, ITEMS - QUERIES), int)
        for part in self.shuffled.sample(parts, len(parts)):
            pairs[np.ix_(part.queries, part.database)] += 1
            on_done(part, function(part))
            assert str(part.database.start) in describe(part)
        assert (pairs == 1).all()


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
