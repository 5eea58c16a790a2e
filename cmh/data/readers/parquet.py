"""Parquet shards that hold the bytes of their images, as Hugging Face's `datasets` writes them.

Reads: shards  a Parquet file, or a folder with some at any depth: a column of images, {bytes, path} or bytes
               alone, and the columns of `cmh.data.item_table`.

Names of classes are read where the file notes them.  The names of the shards (train-00000-of-00002) are the
split where all of them begin with a split's and one is for tests.  Options: `columns`, as of `folder`.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cmh.data import archives, item_table, own_records, shards, tables
from cmh.data.equal_bytes import ImageFile
from cmh.data.images import MAX_BYTES
from cmh.data.item_table import ItemTable
from cmh.data.records import Record
from cmh.data.shards import Shard

REVISION = 2  # raise it when the same sources give other records
GROUP_BYTES = 1 << 30  # of the images of one row group, which is read whole
PATH_BYTES = 256 << 20  # of the paths of all images
_FEW = 16  # rows that are read at once on the way to one

Version = tuple[int, int]
"""Size and time of a shard: what is kept of a file does not outlive it."""


def read(sources: Mapping[str, Path], options: Mapping[str, Any]) -> Iterator[Record]:
    """Yield one record per row, shard by shard.  Every image is read once to find equal ones.

    Raises:
        ValueError: naming the shard, and the row: no images, no texts, damaged, row groups too large.
    """
    table, images = _read(sources, options)
    yield from own_records.records(str(sources["shards"]), table.rows, images)


def remarks(sources: Mapping[str, Path], options: Mapping[str, Any]) -> list[str]:
    """Return what a person should know: columns that are not read, suspicious cells, equal images."""
    table, images = _read(sources, options)
    return item_table.remarks(table) + own_records.remarks(table.name, table.rows, images)


def columns(sources: Mapping[str, Path], options: Mapping[str, Any]) -> Mapping[str, str | None]:
    """Return what each column of the shards is read as; None: it is not read."""
    return _table(shards.some(sources["shards"], ".parquet")[0], options).columns


def image_column(columns: pa.Schema, wanted: str | None) -> str | None:
    """Return the column that holds the images: the one that is wanted, or the only one; else None."""
    held = image_columns(columns)
    if wanted is not None:
        return wanted if wanted in held else None
    return "image" if "image" in held else held[0] if len(held) == 1 else None


def image_columns(columns: pa.Schema) -> list[str]:
    """Return all columns that hold images."""
    return [field.name for field in columns if tables.is_image(field.type)]


def image_paths(shard: Path, column: str) -> tuple[list[str | None], int]:
    """Return the path of each row's image, where the column holds paths beside the bytes; number of rows.

    Raises:
        ValueError: it is damaged, or the paths are too long.
    """
    file, found, size = _file(shard), [], 0
    if not pa.types.is_struct(file.schema_arrow.field(column).type):
        return [], file.metadata.num_rows
    try:
        for batch in file.iter_batches(columns=[f"{column}.path"]):
            size += batch.nbytes
            if size > PATH_BYTES:
                raise ValueError(f"{shard}: the paths of its images have more than {PATH_BYTES} bytes")
            found += [None if cell is None else cell["path"] for cell in batch.column(column).to_pylist()]
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{shard} is a damaged Parquet file: {error}") from error
    return [path if isinstance(path, str) else None for path in found], file.metadata.num_rows


def read_image(shard: Path, column: str, row: int, version: Version, *, in_order: bool) -> bytes:
    """Return the image of a row.

    Args:
        shard: a Parquet file.
        column: that holds the images.
        row: from 0.
        version: size and time of the file.
        in_order: the images that follow are read next: then the row group is read whole, and kept.  Otherwise
            it is read as far as the row, a few rows at a time.

    Raises:
        ValueError, OSError: there is none, or it is too large or damaged.
    """
    group, at = 0, row
    if row >= sum(_group_rows(shard, version)):
        raise ValueError(f"{shard} is a damaged Parquet file: its groups have fewer rows than it says")
    while at >= (rows := _group_rows(shard, version)[group]):
        group, at = group + 1, at - rows
    data = _group(shard, column, group, version)[at] if in_order else _alone(shard, column, group, at)
    if data is None:
        raise FileNotFoundError(f"row {row} of {shard.name} has no image")
    if len(data) > MAX_BYTES:
        raise ValueError(f"image file of {len(data)} bytes; at most {MAX_BYTES} are read")
    return data


@lru_cache(maxsize=64)
def _group_rows(shard: Path, version: Version) -> list[int]:
    """Return the number of rows of each row group."""
    facts = _file(shard).metadata
    return [facts.row_group(group).num_rows for group in range(facts.num_row_groups)]


def _alone(shard: Path, column: str, group: int, at: int) -> bytes | None:
    try:
        file = pq.ParquetFile(shard, buffer_size=1 << 20, pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{shard} is a damaged Parquet file: {error}") from error
    # Of all columns: pyarrow ends the process over one column's facts, where these are damaged.
    _check_size(shard, group, file.metadata.row_group(group).total_byte_size)
    is_struct = pa.types.is_struct(file.schema_arrow.field(column).type)
    name = f"{column}.bytes" if is_struct else column
    try:
        for batch in file.iter_batches(_FEW, row_groups=[group], columns=[name]):
            _check_size(shard, group, batch.nbytes)
            if at < len(batch):
                cell = batch.column(column)[at].as_py()
                data: bytes | None = cell["bytes"] if isinstance(cell, dict) else cell
                return data
            at -= len(batch)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{shard}: row group {group} is damaged: {error}") from error
    return None


def schema(shard: Path) -> pa.Schema:
    """Return the columns of a shard.

    Raises:
        ValueError: it is damaged, or has two columns of one name.
    """
    found: pa.Schema = _file(shard).schema_arrow
    name, count = next(iter(Counter(found.names).most_common(1)), ("", 0))
    if count > 1:
        raise ValueError(f"{shard} has {count} columns called {name!r}; rename all but one")
    return found


def _read(sources: Mapping[str, Path], options: Mapping[str, Any]) -> tuple[ItemTable, list[ImageFile]]:
    place = sources["shards"]
    return shards.join(place, [_shard(path, options) for path in shards.some(place, ".parquet")])


def _shard(path: Path, options: Mapping[str, Any]) -> Shard:
    table = _table(path, options)
    held = list(_images(path, options.get("columns", {}).get("image")))
    images = []
    for row in table.rows:
        number = int(row.place.split()[1]) - 1  # several texts of a row share its image
        images.append(held[number]._replace(name=row.image or f"{path.stem}/{number}"))
    return Shard(path, table, images)


def _table(shard: Path, options: Mapping[str, Any]) -> ItemTable:
    given = dict(options.get("columns", {}))
    column = image_column(schema(shard), given.get("image"))
    if column is None:
        raise ValueError(
            f"{shard}: no column holds images (bytes, or {{bytes, path}}); name one: --columns image=COLUMN"
        )
    return item_table.understand(tables.read(shard), {**given, "image": column})


def _file(shard: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(shard)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{shard} is a damaged Parquet file: {error}") from error


def _images(shard: Path, wanted: str | None) -> Iterator[ImageFile]:
    """Yield the images of a shard in order, without names, their SHA-256 known."""
    columns = schema(shard)
    column = image_column(columns, wanted)
    assert column is not None  # _table
    found = shard.stat()
    version = (found.st_size, found.st_mtime_ns)
    for (group, row), facts in _digests(shard, column, version):
        if facts is None:
            gone = f"of row {row} of row group {group} of {shard.name}"
            yield ImageFile("", None, archives.missing(gone))
        else:
            size, digest = facts
            yield ImageFile("", size, partial(_image, shard, column, group, row, version), digest)


@lru_cache(maxsize=1024)
def _digests(
    shard: Path, column: str, version: Version
) -> list[tuple[tuple[int, int], tuple[int, bytes] | None]]:
    """Return row group and row of each image, its size and SHA-256: kept, as a run asks several times."""
    return [
        ((group, row), None if data is None else (len(data), hashlib.sha256(data).digest()))
        for group in range(_file(shard).num_row_groups)
        for row, data in enumerate(_group(shard, column, group, version))
    ]


def _image(shard: Path, column: str, group: int, row: int, version: Version) -> bytes:
    data = _group(shard, column, group, version)[row]
    assert data is not None  # `_images` tells
    if len(data) > MAX_BYTES:
        raise ValueError(f"image file of {len(data)} bytes; at most {MAX_BYTES} are read")
    return data


@lru_cache(maxsize=1)
def _group(shard: Path, column: str, group: int, version: Version) -> list[bytes | None]:
    """Return the images of one row group; the last one is kept, as images are asked for in order."""
    file = _file(shard)
    facts = file.metadata.row_group(group)
    stated = facts.total_byte_size  # of all columns, as in `_alone`
    _check_size(shard, group, stated)
    field = file.schema_arrow.field(column)
    name = f"{column}.bytes" if pa.types.is_struct(field.type) else column
    # In a dictionary one image may stand for many rows.  None is larger than what is stated.
    at_once = max(1, GROUP_BYTES // max(1, stated))
    cells: list[Any] = []
    held = 0
    try:
        for batch in file.iter_batches(min(at_once, facts.num_rows), row_groups=[group], columns=[name]):
            held += batch.nbytes
            _check_size(shard, group, held)
            cells += batch.column(column).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{shard}: row group {group} is damaged: {error}") from error
    if len(cells) != facts.num_rows:
        raise ValueError(
            f"{shard}: row group {group} is damaged: it holds {len(cells)} of {facts.num_rows} rows"
        )
    return [cell["bytes"] if isinstance(cell, dict) else cell for cell in cells]


def _check_size(shard: Path, group: int, size: int) -> None:
    if size > GROUP_BYTES:
        raise ValueError(
            f"{shard}: row group {group} holds {size >> 20} MiB of images or more, and at most "
            f"{GROUP_BYTES >> 20} are read at once; write the file with smaller row groups (row_group_size)"
        )
