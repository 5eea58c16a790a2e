"""What the Dask tests run on workers, which import it from here."""

import logging
import os
import time
from typing import NamedTuple

import numpy as np
import zarr

from infra.storage import Store
from infra.workers import worker_object

ROWS = 100


class Shard(NamedTuple):
    """One shard of `codes.zarr/image` below `path`."""

    store: Store
    path: str
    index: int


def write_shard(shard: Shard) -> int:
    """Write rows of noise that depend only on the index; returns the process id."""
    time.sleep(0.1)
    array = zarr.open_group(shard.store.zarr(shard.path, read_only=False), mode="r+")["image"]
    rows = slice(shard.index * ROWS, (shard.index + 1) * ROWS)
    array[rows] = np.random.default_rng(shard.index).integers(0, 256, (ROWS, 8), dtype=np.uint8)
    return os.getpid()


def read_shard(shard: Shard) -> int:
    """The sum of the shard's bytes."""
    array = zarr.open_group(shard.store.zarr(shard.path), mode="r")["image"]
    return int(array[shard.index * ROWS : (shard.index + 1) * ROWS].sum(dtype=np.int64))


def threads(_: int) -> tuple[str | None, int]:
    """What OpenMP and torch were told."""
    import torch

    return os.environ.get("OMP_NUM_THREADS"), torch.get_num_threads()


def load() -> tuple[int, float]:
    """Something that takes long to load: tells the process and the moment it was loaded."""
    return os.getpid(), time.time()


def loaded(name: str, _: int) -> tuple[int, float]:
    """What `load` returned on this worker."""
    time.sleep(0.02)
    return worker_object(name)


def found(name: str, _: int) -> str:
    """The resource of this name."""
    time.sleep(0.02)
    return worker_object(name)


def fail_at_three(part: int) -> int:
    """A task with a mistake."""
    if part == 3:
        raise ValueError("three is not allowed")
    return part


def die(_: int) -> None:
    """A task that takes its worker along."""
    os.kill(os.getpid(), 9)


def would_log(error: Exception) -> bool:
    """Return whether this worker's logger lets an exception of its heartbeat pass."""
    logger = logging.getLogger("distributed.worker")
    record = logger.makeRecord(logger.name, logging.ERROR, "", 0, "", (), (type(error), error, None))
    return bool(logger.filter(record))
