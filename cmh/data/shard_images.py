"""Images inside of tars and Parquet files, which count as folders on an image's path.

    photos/00001.tar/0/a.jpg         the file 0/a.jpg of a tar
    photos/train.parquet/a.jpg       the row whose image has this path, where each row has one of its own
    photos/train.parquet/17          otherwise the row with this number, from 0
    photos/train.parquet/back/17     of a column of images other than the only one, or than `image`

So an image is known by one path wherever it lies, and its bytes are found by that path alone.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cmh.data import archives, images
from cmh.data.archives import Member
from cmh.data.readers import parquet, webdataset

SUFFIXES = (".tar", ".parquet")
_PARQUET = b"PAR1"
_SIDECARS = {"txt", "json", "cls"}  # by which a tar is one of samples rather than of photos alone
_SHARDS = 16  # whose names are kept, some 10 MB each

Version = tuple[int, int]
"""Size and time of a shard: what is kept of a file does not outlive it."""


class Listing(NamedTuple):
    """The images of a shard."""

    names: Sequence[str]  # as they follow the shard's path
    rejected: Mapping[str, str]  # name → why it cannot be one


def is_parquet(path: Path) -> bool:
    """Return whether a file begins as Parquet does."""
    with path.open("rb") as file:
        return file.read(4) == _PARQUET


def listing(shard: Path, column: str | None = None) -> Listing:
    """Return the names of the images of a shard; none, if it holds no images.

    Args:
        shard: an uncompressed tar, or a Parquet file.
        column: of Parquet, the column of the images, where there are several.

    Raises:
        ValueError: it is damaged or too large, or the column is none of images, or not told.
    """
    if not is_parquet(shard):
        found = _members(shard, _version(shard))
        bad = {name: reason for name in found if (reason := _unfit(name))}
        return Listing([name for name in found if name not in bad], bad)
    default, held = _columns(shard, _version(shard))
    chosen = column or default
    if column is not None and column not in held:
        raise ValueError(f"{shard} has no column {column!r} of images; it has {', '.join(held) or 'none'}")
    if not chosen and held:
        raise ValueError(
            f"{shard} has the columns of images {', '.join(held)}; say which is meant: --columns image=COLUMN"
        )
    if not chosen:
        return Listing([], {})
    before = "" if chosen == default else f"{chosen}/"
    return Listing([f"{before}{name}" for name in _rows(shard, chosen, _version(shard))], {})


def holder(path: Path) -> tuple[Path, str]:
    """Return the file that an image lies in, and its name there: "" if it is a file of its own."""
    if not path.is_file():
        for above in path.parents:
            if above.is_file():
                return above, path.relative_to(above).as_posix()
            if above.is_dir():
                break
    return path, ""


def read_bytes(path: Path, *, in_order: bool = False) -> bytes:
    """Return the contents of an image file, or of an image in a shard.

    Args:
        path: of the image.
        in_order: the images that follow it are read next: then a row group of Parquet is read whole and kept.

    Raises:
        ValueError: it is too large, or no regular file, or the shard is damaged.
        OSError: it is not there, or cannot be read.
    """
    file, name = holder(path)
    if not name:
        return images.read_bytes(file)
    version = _version(file)
    if not is_parquet(file):
        member = _members(file, version).get(name)
        if member is None:
            raise FileNotFoundError(f"{file.name} holds no image {name}")
        return member()
    default, held = _columns(file, version)
    other, _, inside = name.partition("/")
    for column, key in ((default, name), (other, inside)):
        row = _rows(file, column, version).get(key) if column in held else None
        if row is not None:
            return parquet.read_image(file, column, row, version, in_order=in_order)
    raise FileNotFoundError(f"{file.name} holds no image {name}")


def read_image(path: Path, size: int, *, in_order: bool = False) -> NDArray[np.uint8]:
    """Decode an image file, or an image in a shard, as `cmh.data.images.read_image`; uint8 (S, S, 3).

    Raises:
        ValueError, OSError: not an image, or none of a kind that is read, or it is not there.
    """
    return images.decode_named(path.name, read_bytes(path, in_order=in_order), size)


def plain(name: str) -> str:
    """Return the name of a tar's file as it follows the tar's path: without `./`, which some tools write."""
    return PurePosixPath(name).as_posix()


@lru_cache(maxsize=_SHARDS)
def _members(shard: Path, version: Version) -> dict[str, Member]:
    """Return the images of a tar by name: of each sample one, or of a tar of photos alone all."""
    held = archives.listing(shard, images.MAX_BYTES)
    samples = webdataset.samples(held)
    if any(files.keys() & _SIDECARS for files in samples.values()):
        chosen = [name for files in samples.values() if (name := webdataset.image_of(files))]
    else:
        chosen = [name for name in held if webdataset.is_image(name)]
    return {plain(name): held[name] for name in chosen}


@lru_cache(maxsize=_SHARDS)
def _columns(shard: Path, version: Version) -> tuple[str, list[str]]:
    """Return the column of images that needs no name, "" if there is none, and all."""
    schema = parquet.schema(shard)
    return parquet.image_column(schema, None) or "", parquet.image_columns(schema)


@lru_cache(maxsize=_SHARDS)
def _rows(shard: Path, column: str, version: Version) -> dict[str, int]:
    """Return name → row of the images in a column, in their order."""
    paths, count = parquet.image_paths(shard, column)
    names = [PurePosixPath(path.replace("\\", "/")).as_posix() if path else "" for path in paths]
    if len(set(names)) < count or len(names) < count or any(map(_unfit, names)):
        names = [str(row) for row in range(count)]
    return {name: row for row, name in enumerate(names)}


def _unfit(name: str) -> str:
    """Return why a name cannot follow a shard's path; "" if it can."""
    parts = PurePosixPath(name).parts
    if not parts or name == "." or "\0" in name or name.startswith("/") or ".." in parts:
        return "its name is no path below the shard"
    if any(part.startswith(".") for part in parts):
        return "it is hidden; rename it, without the dot"
    try:
        name.encode()
    except UnicodeEncodeError:
        return "its name is not UTF-8; rename it"
    return ""


def _version(shard: Path) -> Version:
    status = shard.stat()
    return status.st_size, status.st_mtime_ns
