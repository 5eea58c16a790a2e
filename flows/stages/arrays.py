"""Create and fill the Zarr arrays of artifacts: compressed, checksummed, in whole shards."""

from collections.abc import Callable
from typing import Any

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

ROWS = 4096  # of a shard that `put` writes
COMPRESSORS = (ZstdCodec(level=3), Crc32cCodec())  # crc32c: a flipped bit is noticed as the chunk is read


def put(group: zarr.Group, name: str, values: np.ndarray[Any, Any]) -> None:
    """Write `values` as a compressed array, in chunks of rows."""
    rows = (max(1, min(ROWS, len(values))), *values.shape[1:])
    array = group.create_array(
        name, shape=values.shape, dtype=values.dtype, chunks=rows, compressors=COMPRESSORS
    )
    array[:] = values


def put_blocks(
    group: zarr.Group, name: str, count: int, make: Callable[[int, int], np.ndarray[Any, Any]]
) -> None:
    """Write `count` rows as `put` does, a few at a time: `make(start, stop)` gives those of one chunk."""
    first = make(0, min(ROWS, count))
    rows = (max(1, len(first)), *first.shape[1:])
    array = group.create_array(
        name, shape=(count, *first.shape[1:]), dtype=first.dtype, chunks=rows, compressors=COMPRESSORS
    )
    array[: len(first)] = first
    for start in range(len(first), count, ROWS):
        stop = min(start + ROWS, count)
        array[start:stop] = make(start, stop)


def to_fill(store: Any, name: str) -> Any:
    """Open an array that `create` made, to write whole shards, those that are all zeros too.

    Zarr leaves out chunks of zeros unless the open array says otherwise: the setting is not stored.
    """
    return zarr.open_array(store, path=name, mode="r+").with_config({"write_empty_chunks": True})


def create(group: zarr.Group, name: str, *, shape: tuple[int, ...], dtype: str, **layout: Any) -> None:
    """Create an array that tasks fill shard by shard; leave one that an earlier attempt created.

    Args:
        group: where it is created.
        name: its name in the group.
        shape: items first.
        dtype: as NumPy names it.
        layout: `chunks`, `shards` and `compressors`, as `zarr.Group.create_array` takes them.
    """
    if name not in group:
        group.create_array(name, shape=shape, dtype=dtype, **layout)
