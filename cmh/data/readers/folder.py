"""A folder, zip or tar of images and a table of their texts and labels: the user's own data.

Reads: images  a folder, whose files and folders may be links; or a zip or tar;
       items   CSV, TSV, JSON Lines or Parquet; see `cmh.data.item_table` for its columns.

Options: `columns`, what is read → the column that holds it, where it has another name.
"""

import os
import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from cmh.data import archives, item_table, own_records
from cmh.data.equal_bytes import ImageFile
from cmh.data.images import read_bytes
from cmh.data.item_table import ItemTable
from cmh.data.records import Record

REVISION = 4  # raise it when the same folder and table give other records

_ADDRESS = re.compile(r"[A-Za-z]:/|[A-Za-z][A-Za-z0-9+.-]*://")


def read(sources: Mapping[str, Path], options: Mapping[str, Any]) -> Iterator[Record]:
    """Yield one record per line of the table, in its order.

    Raises:
        ValueError: naming the file and the line: not UTF-8, missing columns, cells that are not understood,
            an image outside the folder, a group on both sides of the table's own split.  A missing image is
            an error of that record only, when its bytes are asked for.
    """
    if missing := {"images", "items"} - sources.keys():
        raise ValueError(
            f"the reader 'folder' takes the sources images and items; no {', '.join(missing)} given"
        )
    if not sources["images"].exists():
        raise ValueError(
            f"{sources['images']} is not a folder; give the folder, zip or tar that holds the images"
        )
    table = _table(sources, options)
    yield from own_records.records(str(sources["items"]), table.rows, _images(sources, table))


def remarks(sources: Mapping[str, Path], options: Mapping[str, Any]) -> list[str]:
    """Return what a person should know: columns that are not read, suspicious cells, equal images."""
    table = _table(sources, options)
    return item_table.remarks(table) + own_records.remarks(table.name, table.rows, _images(sources, table))


def columns(sources: Mapping[str, Path], options: Mapping[str, Any]) -> Mapping[str, str | None]:
    """Return what each column of the table is read as; None: it is not read."""
    return _table(sources, options).columns


def _table(sources: Mapping[str, Path], options: Mapping[str, Any]) -> ItemTable:
    """Return the table, understood."""
    return item_table.read(sources["items"], options.get("columns", {}))


def _images(sources: Mapping[str, Path], table: ItemTable) -> list[ImageFile]:
    """Return the image of each row."""
    images, items = sources["images"], sources["items"]
    for row in table.rows:
        _check_name(row.image, f"{items}, {row.place}", images)
    names = dict.fromkeys(row.image for row in table.rows)
    files = _in_folder(images, names) if images.is_dir() else in_archive(images, names)
    return [files[row.image] for row in table.rows]


def _check_name(name: str, where: str, images: Path) -> None:
    """Refuse an image that does not lie below the folder, by its name; links in the folder are followed."""
    parts = Path(name).parts
    if _ADDRESS.match(name):
        raise ValueError(
            f"{where}: image {name[:200]!r} is an address, or a path of Windows; fetch the images "
            f"into a folder, and write their paths below it, such as {PurePosixPath(name).name[:80]!r}"
        )
    if not name or "\0" in name or Path(name).is_absolute() or ".." in parts:
        raise ValueError(
            f"{where}: image {name[:200]!r} is not a file name below {images}; write it relative "
            "to that folder"
        )
    if any(part.startswith(".") for part in parts):
        raise ValueError(f"{where}: image {name[:200]!r} is hidden; rename it, without the dot")


def _in_folder(images: Path, names: Mapping[str, None]) -> dict[str, ImageFile]:
    found = {}
    for name in names:
        path = images / name
        size = path.stat().st_size if path.is_file() else None
        found[name] = ImageFile(name, size, partial(_bytes, images, name), path=str(path))
    return found


def in_archive(images: Path, names: Mapping[str, None]) -> dict[str, ImageFile]:
    """Return the files of a zip or tar by their names in a table, from the top or from one folder of it."""
    held = archives.listing(images)
    found = {}
    below = _prefix(held, names)
    for name in names:
        member = held.get(below + name)
        found[name] = (
            ImageFile(name, None, archives.missing(name))
            if member is None
            else ImageFile(name, member.size, member)
        )
    return found


def _prefix(held: Mapping[str, Any], names: Mapping[str, None]) -> str:
    """Return the folder of the archive that the names are written from, "" for its top."""
    if not any(name in held for name in names):
        for name in names:
            whole = next((one for one in held if one.endswith(f"/{name}")), None)
            if whole is not None:
                return whole.removesuffix(name)
    return ""


def _bytes(images: Path, name: str) -> bytes:
    path = images / name
    if not path.is_file():
        raise FileNotFoundError(f"image file {name} {_why_missing(path)}")
    return read_bytes(path)


def _why_missing(path: Path) -> str:
    if path.exists():
        return "is no regular file"
    if path.parent.is_dir():
        alike = [other for other in os.listdir(path.parent) if other.lower() == path.name.lower()]
        if alike:
            return f"is missing; {alike[0]} is there: write it with the same capitals"
    return "is missing"
