"""Read what explains a report's figures: statistics of the codes, trained items, labels.

Shape suffixes: Q = queries, L = labels, N = items.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import zarr
from numpy.typing import NDArray

from cmh.data import schema
from cmh.evaluation import code_statistics, diagnostics
from cmh.evaluation.counts import CodedItems
from cmh.evaluation.diagnostics_page import Diagnostics
from flows.resources import Resources
from flows.stages.counting import ITEMS_AT_ONCE, rows_of
from infra.artifacts import Reading

SIDES = ("image", "text")


def codes(
    codes: Reading,
    dataset: Reading,
    queries: CodedItems,
    scores: pa.Table,
    lengths: Sequence[int],
    resources: Resources,
) -> Diagnostics:
    """Return all diagnostics of codes.

    Args:
        codes: the artifact.
        dataset: the artifact that they are of.
        queries: its queries, with codes of both sides.
        scores: a table of `cmh.evaluation.report.QUERIES`.
        lengths: of the codes, the last being that of the stored ones.
        resources: threads.
    """
    packed = zarr.open_group(codes.zarr("codes.zarr"), mode="r")
    items = zarr.open_group(dataset.zarr("dataset.zarr"), mode="r")
    database_N, train_N = (rows_of(items, name) for name in ("database", "train"))
    seen_N = np.isin(database_N, train_N)
    parts = {"trained": database_N[seen_N], "never_trained": database_N[~seen_N]}
    return Diagnostics(
        *statistics(packed, database_N, lengths),
        diagnostics.by_part(
            queries,
            {name: _blocks(packed, items, rows) for name, rows in parts.items()},
            lengths[-1],
            threads=resources.threads,
        ),
        by_label(dataset, scores, lengths[-1]),
    )


def statistics(
    packed: zarr.Group, row_N: NDArray[np.int64], lengths: Sequence[int]
) -> tuple[pa.Table, pa.Table]:
    """Return statistics of the codes of these rows, or of a sample, as `code_statistics.measure` has them."""
    some_N = row_N[code_statistics.sample(len(row_N))]
    return code_statistics.measure(
        {side: schema.array(packed, side).oindex[some_N] for side in SIDES}, lengths
    )


def by_label(dataset: Reading, scores: pa.Table, bits: int) -> pa.Table:
    """Return MAP by label, a table of `cmh.evaluation.diagnostics.LABELS`."""
    items = zarr.open_group(dataset.zarr("dataset.zarr"), mode="r")
    label_QL = schema.array(items, "label").oindex[rows_of(items, "query")]
    names = dataset.read_bytes("labels.txt").decode().splitlines()
    return diagnostics.by_label(scores, bits, label_QL, names)


def _blocks(packed: zarr.Group, items: zarr.Group, row_N: NDArray[Any]) -> Iterator[CodedItems]:
    """Yield codes and labels of these rows, as many at a time as a report reads."""
    for start in range(0, len(row_N), ITEMS_AT_ONCE):
        rows = row_N[start : start + ITEMS_AT_ONCE]
        sides = {side: schema.array(packed, side).oindex[rows] for side in SIDES}
        yield CodedItems(sides, schema.array(items, "label").oindex[rows])
