"""webdataset shards: tars in which the files of one sample share their name, as img2dataset writes them.

Reads: shards  a tar, or a folder with some: KEY.jpg (or another kind of image), KEY.txt with the text, and
               KEY.json with whatever else is known; where there is no text file, the JSON's caption is it.

KEY.cls, the number of a class, is the label.  Options: `columns`, as of `folder`, for the keys of the JSON.
"""

import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from cmh.data import archives, image_files, item_table, own_records, shards
from cmh.data.archives import Member
from cmh.data.equal_bytes import ImageFile
from cmh.data.item_table import ItemTable
from cmh.data.records import Record
from cmh.data.shards import Shard
from cmh.data.tables import Cells, Table, each_key_once

REVISION = 2  # raise it when the same sources give other records
_TEXT_BYTES = 1 << 20
_KINDS = (*image_files.SUFFIXES, *image_files.HEIC)
IMAGE = "image"


def read(sources: Mapping[str, Path], options: Mapping[str, Any]) -> Iterator[Record]:
    """Yield one record per sample, shard by shard, by key.

    Raises:
        ValueError: naming the shard and the sample: no tar, no text, a JSON that is none.
    """
    table, images = _read(sources, options)
    yield from own_records.records(str(sources["shards"]), table.rows, images)


def remarks(sources: Mapping[str, Path], options: Mapping[str, Any]) -> list[str]:
    """Return what a person should know: columns that are not read, suspicious cells, equal images."""
    table, images = _read(sources, options)
    return item_table.remarks(table) + own_records.remarks(table.name, table.rows, images)


def columns(sources: Mapping[str, Path], options: Mapping[str, Any]) -> Mapping[str, str | None]:
    """Return what the parts of a sample are read as; None: it is not read."""
    shard = shards.some(sources["shards"], ".tar")[0]
    return _understood(shard, archives.listing(shard), options).columns


def samples(held: Mapping[str, Member]) -> dict[str, dict[str, str]]:
    """Return key → the file of each suffix; the key is the name as far as its first dot.

    >>> samples(dict.fromkeys(["0/a.jpg", "0/a.txt", "0/b.seg.png"], None))
    {'0/a': {'jpg': '0/a.jpg', 'txt': '0/a.txt'}, '0/b': {'seg.png': '0/b.seg.png'}}
    """
    found: dict[str, dict[str, str]] = {}
    for name in held:
        folder, slash, file = name.rpartition("/")
        key, _, suffix = file.partition(".")
        found.setdefault(f"{folder}{slash}{key}", {})[suffix.lower()] = name
    return found


def image_of(files: Mapping[str, str]) -> str | None:
    """Return the image among the files of a sample; None where there is none."""
    return next((name for suffix, name in files.items() if f".{suffix}" in _KINDS), None)


def is_image(name: str) -> bool:
    """Return whether a file is an image by the end of its name."""
    return Path(name).suffix.lower() in _KINDS


def _read(sources: Mapping[str, Path], options: Mapping[str, Any]) -> tuple[ItemTable, list[ImageFile]]:
    place = sources["shards"]
    return shards.join(place, [_shard(path, options) for path in shards.some(place, ".tar")])


def _shard(path: Path, options: Mapping[str, Any]) -> Shard:
    held = archives.listing(path)
    table = _understood(path, held, options)
    images = []
    for row in table.rows:
        member = held.get(row.image)
        key = row.image or row.place
        images.append(
            ImageFile(key, None, archives.missing(f"of {key} in {path.name}"))
            if member is None
            else ImageFile(key, member.size, member)
        )
    return Shard(path, table, images)


def _understood(shard: Path, held: Mapping[str, Member], options: Mapping[str, Any]) -> ItemTable:
    """Return the samples as rows; the columns are what any of them has."""
    content = [(f"sample {key}", cells(held, files, shard)) for key, files in samples(held).items()]
    known = list(dict.fromkeys([IMAGE, *(name for _, row in content for name in row)]))
    rows = ((place, {name: row.get(name) for name in known}) for place, row in content)
    return item_table.understand(Table(str(shard), "webdataset", known, rows), options.get("columns", {}))


def cells(held: Mapping[str, Member], files: Mapping[str, str], shard: Path) -> Cells:
    """Return what a sample says: the fields of its JSON, its text and labels, and the name of its image.

    Raises:
        ValueError: naming the shard and the file that cannot be read.
    """
    found = _json(held, files, shard)
    if "txt" in files:
        found["text"] = archives.text(partial(_small, held[files["txt"]]), f"{shard}: {files['txt']}")
    if "cls" in files:
        found["labels"] = archives.text(partial(_small, held[files["cls"]]), f"{shard}: {files['cls']}")
    return {**found, IMAGE: image_of(files)}


def _json(held: Mapping[str, Member], files: Mapping[str, str], shard: Path) -> Cells:
    name = files.get("json")
    if name is None:
        return {}
    try:
        value = json.loads(_small(held[name]), object_pairs_hook=each_key_once)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{shard}: {name} is not readable: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"{shard}: {name} is no object with the facts of one sample")
    return value


def _small(member: Member) -> bytes:
    if member.size > _TEXT_BYTES:
        raise ValueError(f"a text of {member.size} bytes; at most {_TEXT_BYTES} are read")
    return member()
