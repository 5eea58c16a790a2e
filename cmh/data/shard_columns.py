"""Columns of one's own that a shard carries beside its images: of Parquet its others, of a tar its samples'.

A sample's KEY.txt is its `text`, the fields of its KEY.json are columns, and KEY.cls is its `labels`.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cmh.data import archives, columns, parquet_batches, shard_images, tables
from cmh.data.readers import parquet, webdataset

MAX_BYTES = 1 << 30  # of the columns of one shard


def read(shard: Path, names: Sequence[str], given: Mapping[str, str]) -> pa.Table | None:
    """Return a table whose first column, `name`, has the names of the images; None if it has no others.

    Args:
        shard: a tar or a Parquet file.
        names: of its images, of `cmh.data.shard_images.listing`.
        given: what a column is → the column that is it, such as {"text": "title"}.

    Raises:
        ValueError: naming the shard, and of a tar the sample: damaged, or too many or too large columns.
    """
    table = _of_parquet(shard, names) if shard_images.is_parquet(shard) else _of_tar(shard, names)
    if table is None:
        return None
    keys = table[columns.KEY]
    others = {what: name for what, name in given.items() if what != "image"}
    table = columns.renamed(table.drop_columns([columns.KEY]), others, shard)
    if table.num_columns > columns.MAX_COLUMNS:
        raise ValueError(f"{shard} has {table.num_columns} columns; at most {columns.MAX_COLUMNS} are kept")
    try:
        kept = {name: columns.usable(name, table[name]) for name in table.column_names}
    except ValueError as error:
        raise ValueError(f"{shard}: {error}") from None
    return pa.table({columns.KEY: keys, **kept})


def _of_parquet(shard: Path, names: Sequence[str]) -> pa.Table | None:
    schema = parquet.schema(shard)
    wanted = [field.name for field in schema if _is_plain(field.type)]
    classes = tables.class_names(schema)
    if not wanted:
        return None
    kept = pa.schema([(name, columns.kept_type(schema.field(name).type)) for name in wanted])
    try:
        batches = parquet_batches.read(pq.ParquetFile(shard), shard, wanted, MAX_BYTES)
        table = pa.Table.from_batches(
            (batch.select(wanted).cast(kept, safe=False) for batch in batches), kept
        )
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{shard} is a damaged Parquet file: {error}") from error
    found = {}
    for name in wanted:
        column = table[name]
        if name in classes:
            column = pa.array([tables.class_name(one, classes[name]) for one in column.to_pylist()])
        found[name] = column
    return _named(found, names)


def _is_plain(kind: pa.DataType) -> bool:
    """Return whether a column can be kept: no bytes, no vectors, nothing nested but lists."""
    kept = columns.kept_type(kind)
    return kept is not None and not (pa.types.is_list(kept) and pa.types.is_floating(kept.value_type))


def _of_tar(shard: Path, names: Sequence[str]) -> pa.Table | None:
    held = archives.listing(shard)
    every = webdataset.samples(held)
    wanted, found, size = set(names), {}, 0
    for files in every.values():
        name = next((one for one in map(shard_images.plain, files.values()) if one in wanted), None)
        if name is None:
            continue
        cells = webdataset.cells(held, files, shard)
        size += sum(len(str(cell)) for cell in cells.values())
        if size > MAX_BYTES:
            raise ValueError(f"{shard}: its columns have more than {MAX_BYTES} bytes")
        found[name] = cells
    fields = list(dict.fromkeys(field for cells in found.values() for field in cells))
    return _named(
        {
            _in_utf8(field): _column(found.get(name, {}).get(field) for name in names)
            for field in fields
            if field != webdataset.IMAGE
        },
        names,
    )


def _column(cells: Iterator[Any]) -> pa.Array:
    """Return cells of JSON as Arrow has them; of several types, or nested, as texts."""
    values = [json.dumps(cell) if _is_nested(cell) else _in_utf8(cell) for cell in cells]
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError, TypeError):
        return pa.array([one if one is None or isinstance(one, str) else json.dumps(one) for one in values])


def _in_utf8(cell: Any) -> Any:
    """Return a cell with `?` for halves of characters, which JSON may hold and no table can."""
    if isinstance(cell, list):
        return [_in_utf8(one) for one in cell]
    return cell.encode(errors="replace").decode() if isinstance(cell, str) else cell


def _is_nested(cell: Any) -> bool:
    return isinstance(cell, dict) or (
        isinstance(cell, list) and any(isinstance(one, dict | list) for one in cell)
    )


def _named(found: Mapping[str, Any], names: Sequence[str]) -> pa.Table | None:
    """Return the columns with the images' names before them; one of the same name gets another."""
    if not found:
        return None
    other = {columns.KEY: f"{columns.KEY} in the shard"}
    return pa.table(
        {columns.KEY: pa.array(names, pa.string())} | {other.get(n, n): c for n, c in found.items()}
    )
