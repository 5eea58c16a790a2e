"""In which order an epoch reads the training set: phases, passes, batches, and this worker's share of them.

A phase without `steps` is one pass over the training set.  Consecutive phases with `steps` share one pass:
k batches to the first, k to the next, in turn.
"""

from collections.abc import Iterator
from itertools import cycle, groupby
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cmh import distributed
from cmh.hashing.method import Phase


class Step(NamedTuple):
    """One optimiser step of this worker."""

    phase: Phase
    number: int  # within its pass, from 0
    seed: int  # of torch's generators; the same on all workers
    rows_B: NDArray[np.int64]


def passes(phases: tuple[Phase, ...]) -> list[list[Phase]]:
    """Return the phases that share one pass over the training set, pass by pass."""
    numbered = enumerate(phases)
    groups = groupby(numbered, key=lambda item: -1 if item[1].steps is not None else item[0])
    return [[phase for _, phase in group] for _, group in groups]


def plan(phases: tuple[Phase, ...], items: int, batch_size: int, seed: int, epoch: int) -> list[list[Step]]:
    """Return this worker's steps of an epoch, pass by pass; a last, incomplete batch is dropped.

    The order is a function of (seed, epoch, number of the pass), and a step's seed of these and its number.
    """
    return [
        list(_steps(sharing, items, batch_size, (seed, epoch, number)))
        for number, sharing in enumerate(passes(phases))
    ]


def _steps(phases: list[Phase], items: int, batch_size: int, place: tuple[int, ...]) -> Iterator[Step]:
    order = np.random.default_rng(place).permutation(items)
    turns = cycle([phase for phase in phases for _ in range(phase.steps or 1)])
    for number in range(items // batch_size):
        rows = order[number * batch_size :][:batch_size]
        seed = int(np.random.SeedSequence((*place, number)).generate_state(1)[0])
        yield Step(next(turns), number, seed, rows[distributed.rank() :: distributed.world_size()])
