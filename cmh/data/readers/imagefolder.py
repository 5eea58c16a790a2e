"""Images with a metadata file in their folder, as Hugging Face's `imagefolder` has them.

Reads: folder  a folder, zip or tar with metadata.csv, metadata.jsonl or metadata.parquet, at its top or in
               folders such as train and test; `file_name` is written from the metadata file's own folder.
               In an archive, a single table of another name is read too.

The names of the folders are the split where all of them are names of splits and one is for tests.
Options: `columns`, as of the reader `folder`.
"""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from cmh.data import archives, item_table, own_records, tables
from cmh.data.archives import Member
from cmh.data.equal_bytes import ImageFile
from cmh.data.item_table import ItemTable, Row
from cmh.data.records import Record

REVISION = 2  # raise it when the same sources give other records
METADATA = re.compile(r"(?:.*/)?metadata\.(?:csv|jsonl|parquet)")
TABLE = re.compile(r".*\.(?:csv|tsv|jsonl|json|parquet|txt)", re.I)


def read(sources: Mapping[str, Path], options: Mapping[str, Any]) -> Iterator[Record]:
    """Yield one record per row, file by file.

    Raises:
        ValueError: naming the file and the line, as the reader `folder` does.
    """
    _, rows, images = _read(sources, options)
    yield from own_records.records(str(sources["folder"]), rows, images)


def remarks(sources: Mapping[str, Path], options: Mapping[str, Any]) -> list[str]:
    """Return what a person should know: columns that are not read, suspicious cells, equal images."""
    found, rows, images = _read(sources, options)
    said = [line for table in found for line in item_table.remarks(table)]
    return said + own_records.remarks(sources["folder"].name, rows, images)


def columns(sources: Mapping[str, Path], options: Mapping[str, Any]) -> Mapping[str, str | None]:
    """Return what each column of the metadata files is read as; None: it is not read."""
    found, _, _ = _read(sources, options)
    return {name: meaning for table in found for name, meaning in table.columns.items()}


def tables_of(held: Mapping[str, Member]) -> list[str]:
    """Return the names of the metadata files, or of the single table of another name that there is."""
    named = [name for name in held if METADATA.fullmatch(name)]
    if named:
        return named
    others = [name for name in held if TABLE.fullmatch(name)]
    return others if len(others) == 1 else []


def _read(
    sources: Mapping[str, Path], options: Mapping[str, Any]
) -> tuple[list[ItemTable], list[Row], list[ImageFile]]:
    folder = sources["folder"]
    held = archives.listing(folder, tables.MAX_BYTES)
    names = tables_of(held)
    if not names:
        raise ValueError(f"{folder} holds no metadata.csv, metadata.jsonl or metadata.parquet")
    read = [_table(held[name], f"{folder}: {name}", options) for name in names]
    has_split = any(row.split for table in read for row in table.rows)
    told = own_records.split_by_names([str(PurePosixPath(name).parent) for name in names])
    rows: list[Row] = []
    images: list[ImageFile] = []
    for name, table, split in zip(names, read, told, strict=True):
        rows += table.rows if has_split else [replace(row, split=split) for row in table.rows]
        images += _images(held, PurePosixPath(name).parent, table.rows)
    return read, rows, images


def _table(member: Member, name: str, options: Mapping[str, Any]) -> ItemTable:
    data = member()
    table = tables.parse(lambda: io.BytesIO(data), name, len(data))
    return item_table.understand(table, options.get("columns", {}))


def _images(held: Mapping[str, Member], folder: PurePosixPath, rows: Sequence[Row]) -> list[ImageFile]:
    found = []
    for row in rows:
        name = str(folder / row.image)
        member = held.get(name)
        if member is None:  # what leads out of the folder is not in its listing either
            found.append(ImageFile(name, None, archives.missing(name)))
        else:
            found.append(ImageFile(name, member.size, partial(_bounded, member)))
    return found


def _bounded(member: Member) -> bytes:
    if member.size > archives.FILE_BYTES:
        raise ValueError(f"image file of {member.size} bytes; at most {archives.FILE_BYTES} are read")
    return member()
