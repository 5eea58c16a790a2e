"""Shards: files with images in them that are read one after the other, as one table."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from cmh.data import image_files, own_records
from cmh.data.equal_bytes import ImageFile
from cmh.data.item_table import ItemTable, Row


class Shard(NamedTuple):
    """What one file holds: its rows, and the image of each."""

    path: Path
    table: ItemTable
    images: Sequence[ImageFile]


def find(place: Path, suffix: str) -> list[Path]:
    """Return the files with that suffix below a folder, sorted, but for hidden ones; of a file itself."""
    if not place.is_dir():
        return [place]
    return sorted(path for path in image_files.walk(place) if path.suffix == suffix)


def some(place: Path, suffix: str) -> list[Path]:
    """Return what `find` does; raises ValueError if there is none."""
    found = find(place, suffix)
    if not found:
        raise ValueError(f"{place} holds no {suffix} files")
    return found


def join(place: Path, found: Sequence[Shard]) -> tuple[ItemTable, list[ImageFile]]:
    """Return the rows of all shards as one table, and the image of each.

    Where no row states a split, the names of the shards may (`own_records.split_by_names`).

    Args:
        place: the folder of the shards, or the only one.
        found: at least one shard.
    """
    if any(row.split for shard in found for row in shard.table.rows):
        told = [""] * len(found)
    else:
        told = own_records.split_by_names([str(shard.path.relative_to(place.parent)) for shard in found])
    rows: list[Row] = []
    images: list[ImageFile] = []
    places: list[str] = []
    for shard, split in zip(found, told, strict=True):
        for row in shard.table.rows:
            rows.append(replace(row, place=f"{shard.path.name}, {row.place}", split=row.split or split))
        images += shard.images
        places += [shard.path.stem] * len(shard.table.rows)
    columns = {name: meaning for shard in found for name, meaning in shard.table.columns.items()}
    return ItemTable(place.name, found[0].table.kind, columns, rows), own_records.apart(images, places)
