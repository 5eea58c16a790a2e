"""The columns of a collection as a page offers them: each with its kind and its commonest values.

A column offers values if many items share each: labels, years, licences; not captions or addresses.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from cmh.data import filters

Kind = Literal["text", "number", "truth", "date", "list"]

MOST_VALUES = 10  # of a column
_ITEMS_PER_VALUE = 4  # on average, for a column to offer its values
_LONGEST = 40  # characters of a value

_KINDS: Mapping[Kind, Callable[[pa.DataType], bool]] = {
    "list": lambda kind: pa.types.is_list(kind) or pa.types.is_large_list(kind),
    "truth": pa.types.is_boolean,
    "date": pa.types.is_temporal,
    "text": lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind),
}  # fmt: skip


@dataclass(frozen=True)
class Value:
    """A value that many items share."""

    value: str | int | bool
    items: int  # that have it
    where: str  # the condition that asks for it


@dataclass(frozen=True)
class Column:
    """A column of one's own."""

    name: str
    kind: Kind
    commonest: list[Value]  # by falling number of items; none, if items share few


def columns_of(table: pa.Table | None) -> list[Column]:
    """Describe the columns of a collection."""
    if table is None:
        return []
    return [_column(name, table[name]) for name in table.column_names]


def _column(name: str, column: pa.ChunkedArray) -> Column:
    kind: Kind = next((kind for kind, is_one in _KINDS.items() if is_one(column.type)), "number")
    values = pc.list_flatten(column) if kind == "list" else column
    if not (pa.types.is_integer(values.type) or kind == "truth" or _KINDS["text"](values.type)):
        return Column(name, kind, [])
    counts = pc.value_counts(pc.drop_null(values))
    if len(counts) * _ITEMS_PER_VALUE > (pc.sum(counts.field("counts")).as_py() or 0):
        return Column(name, kind, [])
    counted = counts.to_pylist()
    counted.sort(key=lambda one: (-one["counts"], str(one["values"])))
    offered = [one for one in counted if 0 < len(str(one["values"]).strip()) <= _LONGEST]
    return Column(
        name,
        kind,
        [
            Value(one["values"], one["counts"], filters.has(name, one["values"], listed=kind == "list"))
            for one in offered[:MOST_VALUES]
        ],
    )
