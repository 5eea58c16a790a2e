"""Read columns of Parquet a few rows at a time, so that a small file cannot fill the memory.

Few bytes of a file may stand for many: a dictionary has a text once, however many rows it is in.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

_ROWS = 1 << 16  # that are read at once, at most


def read(
    file: pq.ParquetFile, name: str | Path, wanted: Sequence[str], most: int
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of some columns, without dictionaries.

    Args:
        file: an open Parquet file.
        name: what it is called in messages.
        wanted: names of columns.
        most: bytes that all rows may have together, and that few rows may have at once.

    Raises:
        ValueError: they have more.
        ArrowException, OSError: the file is damaged.
    """
    size = 0
    for batch in file.iter_batches(_rows_at_once(file, most), columns=list(wanted)):
        batch = batch.cast(pa.schema([(field.name, _decoded(field.type)) for field in batch.schema]))
        size += batch.nbytes
        if size > most:
            raise ValueError(f"{name}: what is read of it has more than {most} bytes; split the file")
        yield batch


def _decoded(kind: pa.DataType) -> pa.DataType:
    """Return the type of the same cells without a dictionary, which would hide how many bytes they have."""
    if pa.types.is_dictionary(kind):
        return _decoded(kind.value_type)
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_decoded(kind.value_type)))
    if pa.types.is_large_list(kind):
        return pa.large_list(kind.value_field.with_type(_decoded(kind.value_type)))
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, _decoded(field.type)) for field in kind])
    return kind


def _rows_at_once(file: pq.ParquetFile, most: int) -> int:
    """Return rows that have at most `most` bytes in each column, even if each had the longest text of all.

    The bytes are those of all columns: pyarrow ends the process over one column's facts, where these are
    damaged.
    """
    groups = range(file.metadata.num_row_groups)
    longest = max((file.metadata.row_group(group).total_byte_size for group in groups), default=1)
    return int(max(1, min(_ROWS, most // max(1, longest))))
