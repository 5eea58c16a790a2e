"""Create and fill the Zarr arrays of artifacts: compressed, checksummed, in whole shards."""

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
