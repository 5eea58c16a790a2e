"""A folder of images and a table of their texts and labels: the user's own data.

Reads: images  a folder; files and folders in it may be links;
       items   a CSV file in UTF-8 with a header; see `cmh.data.item_table` for its columns.

Several rows of one image are several items that share it: the image is decoded and encoded once.  Items of
one image, or of images with equal bytes, stay on one side of the split unless the column `group` says which
items belong together.
"""

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from cmh.data import item_table
from cmh.data.images import MAX_BYTES, read_bytes
from cmh.data.item_table import Row
from cmh.data.records import Record

REVISION = 2  # raise it when the same folder and table give other records


def read(sources: Mapping[str, Path], options: Mapping[str, Any]) -> Iterator[Record]:
    """Yield one record per line of the table, in its order.

    Raises:
        ValueError: naming the file and the line: not UTF-8, missing columns, cells that are not understood,
            an image outside the folder, a group on both sides of the table's own split.  A missing image is
            an error of that record only, when its bytes are asked for.
    """
    images, items = sources["images"], sources["items"]
    if not images.is_dir():
        raise ValueError(f"{images} is not a folder; give the folder that holds the images")
    rows = item_table.read(items)
    for row in rows:
        _check_name(row.image, f"{items}, line {row.line}", images)
    first = _equal_images(images, [row.image for row in rows])
    group = [row.group or first[row.image] for row in rows]
    _check_splits(items, rows)
    number: dict[str, int] = defaultdict(int)
    for row, its_group in zip(rows, group, strict=True):
        number[row.image] += 1
        nth = f"#{number[row.image]}" if number[row.image] > 1 else ""
        path = images / row.image
        yield Record(
            id=row.id or f"{row.image}{nth}",
            source=items.name,
            group=its_group,
            text=row.text,
            media_type="image/svg+xml" if path.suffix.lower() == ".svg" else "image",
            image=partial(_bytes, path, images),
            traits={"labels": row.labels},
            image_id=row.image,
            split=row.split,
        )


def remarks(sources: Mapping[str, Path], options: Mapping[str, Any]) -> list[str]:
    """Return what a person should know: columns that are not read, suspicious cells, equal images."""
    items = sources["items"]
    rows = item_table.read(items)
    found = item_table.remarks(items, rows)
    first = _equal_images(sources["images"], [row.image for row in rows])
    doubles = [name for name, other in first.items() if name != other]
    if doubles:
        found.append(
            f"{len(doubles)} image(s) have the same bytes as another, such as {doubles[0]} and "
            f"{first[doubles[0]]}; they stay on one side of a split that is drawn"
        )
    queries = {first[row.image] for row in rows if row.split == "query"}
    shared = [row for row in rows if row.split in ("train", "validation") and first[row.image] in queries]
    if shared:
        found.append(
            f"the split of {items.name} puts {len(shared)} training item(s) whose image is a query's too, "
            f"byte by byte, such as {shared[0].image}: the model is tested on images that it was trained on"
        )
    return found


def _check_name(name: str, where: str, images: Path) -> None:
    """Refuse an image that does not lie below the folder, by its name; links in the folder are followed."""
    parts = Path(name).parts
    if not name or "\0" in name or Path(name).is_absolute() or ".." in parts:
        raise ValueError(f"{where}: image {name[:200]!r} is not a file name below {images}")
    if any(part.startswith(".") for part in parts):
        raise ValueError(f"{where}: image {name[:200]!r} is hidden; rename it, without the dot")


def _equal_images(images: Path, names: Sequence[str]) -> dict[str, str]:
    """Return image → the first image with the same bytes.  Only files of equal size are read."""
    of_size: dict[int, list[str]] = defaultdict(list)
    first = {}
    for name in dict.fromkeys(names):
        first[name] = name
        path = images / name
        if path.is_file() and (size := path.stat().st_size) <= MAX_BYTES:
            of_size[size].append(name)
    for same_size in of_size.values():
        if len(same_size) < 2:
            continue
        seen: dict[bytes, str] = {}
        for name in same_size:
            with suppress(
                OSError
            ):  # unreadable: it says so when it is decoded, and is an item of its own here
                first[name] = seen.setdefault(hashlib.sha256((images / name).read_bytes()).digest(), name)
    return first


def _check_splits(items: Path, rows: Sequence[Row]) -> None:
    """Refuse images and groups of which some items are queries and some are trained on or chosen with."""
    first: dict[str, Row] = {}
    for row in rows:
        if row.split in ("", "database"):
            continue
        together = row.group or row.image
        other = first.setdefault(together, row)
        if (other.split == "query") != (row.split == "query"):
            raise ValueError(
                f"{items}, line {row.line}: {together[:200]} is {row.split} here and {other.split} in line "
                f"{other.line}; a model would be tested on what it was trained on: give both the same split"
            )


def _bytes(path: Path, images: Path) -> bytes:
    name = path.relative_to(images)
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
