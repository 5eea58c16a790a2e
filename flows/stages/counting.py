"""Count the rankings of a report: in this process, or in blocks of queries and database on Dask workers.

Either way the codes and labels of a database are read block by block and may be larger than memory, and the
counts are the same: those of blocks add up (`cmh.evaluation.counts`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from cmh.data import schema
from cmh.evaluation import counts, ndcg
from cmh.evaluation.counts import BitOrders, CodedItems, RankingCounts, RankingSpec
from flows import engines, prefect_ui
from flows.resources import Resources

ITEMS_AT_ONCE = 1 << 18  # of the database, in memory
QUERIES_AT_ONCE = 1 << 10  # of a part: its counts travel
PARTS_PER_WORKER = 2  # one that is slow holds up the others for no longer than its last


@dataclass(frozen=True)
class Part:
    """Some queries and some of the database: positions in their splits."""

    codes: Any  # Zarr stores, picklable
    dataset: Any
    rankings: Sequence[RankingSpec]
    orders: BitOrders
    grades: int
    queries: range
    database: range


def count_in_blocks(
    codes: Any, dataset: Any, rankings: Sequence[RankingSpec], orders: BitOrders, resources: Resources
) -> tuple[RankingCounts, CodedItems]:
    """Return what `cmh.evaluation.report.measure_codes` takes: the counts of all rankings, and the queries.

    codes, dataset: Zarr stores of codes.zarr and dataset.zarr.
    """
    opened = _open(codes, dataset)
    total = {name: len(rows_of(opened[1], name)) for name in ("query", "database")}
    queries = _read(*opened, "query", range(total["query"]), _sides(rankings))
    whole = Part(
        codes, dataset, rankings, orders, ndcg.grades(queries.label_NL),
        range(total["query"]), range(total["database"]),
    )  # fmt: skip
    if resources.dask is None:
        return count_part(whole, threads=resources.threads), queries

    counted = counts.empty_counts(rankings, total["query"], whole.grades)

    def add(part: Part, found: RankingCounts) -> None:
        for ranking, counts_QGD in found.items():
            counted[ranking][part.queries.start : part.queries.stop] += counts_QGD
        advance(len(part.queries) * len(part.database))

    with (
        prefect_ui.progress("comparing queries with items", total["query"] * total["database"]) as advance,
        engines.workers(resources) as workers,
    ):
        parts = split(whole, PARTS_PER_WORKER * workers.count)
        # as in the other stages, one thread is one task
        workers.map_parts(partial(count_part, threads=1), parts, describe=_name, on_done=add)
    return counted, queries


def rows_of(dataset: zarr.Group, split: str) -> NDArray[np.int64]:
    """Return the rows of a split that have labels: of the others, nobody knows what is relevant to them."""
    return schema.labelled(dataset, schema.array(dataset, f"split/{split}")[:])


def split(whole: Part, parts: int) -> list[Part]:
    """Return blocks of queries, each with so many blocks of the database (fewer, where that is small)."""
    step = -(-len(whole.database) // parts)
    return [
        replace(whole, queries=queries, database=database)
        for queries, database in product(
            _blocks(whole.queries, QUERIES_AT_ONCE), _blocks(whole.database, step)
        )
    ]


def count_part(part: Part, threads: int) -> RankingCounts:
    """Count one part, on a worker or here."""
    read = partial(_read, *_open(part.codes, part.dataset), sides=_sides(part.rankings))
    database = (read("database", rows) for rows in _blocks(part.database, ITEMS_AT_ONCE))
    queries = read("query", part.queries)
    return counts.count_rankings(queries, database, part.rankings, part.orders, part.grades, threads=threads)


def _open(codes: Any, dataset: Any) -> tuple[zarr.Group, zarr.Group]:
    return zarr.open_group(codes, mode="r"), zarr.open_group(dataset, mode="r")


def _read(
    codes: zarr.Group, dataset: zarr.Group, split: str, positions: range, sides: Sequence[str]
) -> CodedItems:
    """Return items at these positions of a split."""
    rows = rows_of(dataset, split)[positions.start : positions.stop]
    return CodedItems(
        {side: schema.array(codes, side).oindex[rows] for side in sides},
        schema.array(dataset, "label").oindex[rows],
    )


def _sides(rankings: Sequence[RankingSpec]) -> list[str]:
    return sorted({side for ranking in rankings for side in (ranking.query, ranking.database)})


def _blocks(whole: range, size: int) -> Iterator[range]:
    return (whole[start : start + size] for start in range(0, len(whole), size))


def _name(part: Part) -> str:
    return (
        f"queries {part.queries.start}-{part.queries.stop} and items "
        f"{part.database.start}-{part.database.stop} of the database"
    )
