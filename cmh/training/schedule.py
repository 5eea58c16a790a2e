"""Plan the order in which an epoch reads the training set: passes, phases, batches and this worker's rows.

A phase without `steps` is one pass over the training set.  Consecutive phases with `steps` share one pass:
each phase in turn takes as many batches as its `steps`.
"""

from collections.abc import Iterator
from itertools import cycle, groupby
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cmh import distributed
from cmh.hashing.method import Method, Phase


class Step(NamedTuple):
    """One optimiser step of this worker, on its rows of one batch."""

    phase: Phase
    number: int  # within the pass, from 0
    seed: int  # for torch's generators; the same on all workers
    rows_B: NDArray[np.int64]  # rows of the training set


def passes(phases: tuple[Phase, ...]) -> list[list[Phase]]:
    """Return one list of phases per pass over the training set: the phases that share that pass."""
    numbered = enumerate(phases)
    groups = groupby(numbered, key=lambda item: -1 if item[1].steps is not None else item[0])
    return [[phase for _, phase in group] for _, group in groups]


def plan(phases: tuple[Phase, ...], items: int, batch_size: int, seed: int, epoch: int) -> list[list[Step]]:
    """Return this worker's steps of an epoch, one list per pass, without a last, incomplete batch.

    The order of the items depends on (seed, epoch, number of the pass) only, and a step's seed on these and
    its own number.

    Args:
        phases: the phases of the method.
        items: number of training items.
        batch_size: items in a batch of all workers together.
        seed: seed of the run.
        epoch: number of the epoch, from 0.
    """
    return [
        list(_steps(sharing, items, batch_size, (seed, epoch, number)))
        for number, sharing in enumerate(passes(phases))
    ]


def check(method: Method, items: int, queries: int, batch_size: int) -> None:
    """Refuse numbers of items with which some phase or the validation would never run.

    Args:
        method: a method with phases.
        items: number of training items.
        queries: number of validation items.
        batch_size: items in a batch of all workers together.

    Raises:
        ValueError: fewer training items than one batch, than bits or than all phases need;
            or no validation items.
    """
    if items < batch_size:
        raise ValueError(f"{items} training items are fewer than one batch of {batch_size}; lower batch_size")
    if items < method.bits:
        raise ValueError(
            f"{items} training items are fewer than the {method.bits} bits of a code; "
            "use fewer bits or more items"
        )
    batches = items // batch_size
    turns = max(sum(phase.steps or 1 for phase in sharing) for sharing in passes(method.phases))
    if batches < turns:
        raise ValueError(
            f"the phases of {type(method).__name__} take turns of {turns} batches, and {items} training "
            f"items make {batches} of {batch_size}: the last phase would never train; "
            f"lower batch_size to {max(1, items // turns)}"
        )
    if not queries:
        raise ValueError("there are no validation items to choose the best epoch by; enlarge that split")


def _steps(phases: list[Phase], items: int, batch_size: int, address: tuple[int, ...]) -> Iterator[Step]:
    """Yield the steps of a pass; its address (seed, epoch, number) seeds the order of the items."""
    order = np.random.default_rng(address).permutation(items)
    turns = cycle([phase for phase in phases for _ in range(phase.steps or 1)])
    for number in range(items // batch_size):
        rows = order[number * batch_size :][:batch_size]
        seed = int(np.random.SeedSequence((*address, number)).generate_state(1)[0])
        yield Step(next(turns), number, seed, rows[distributed.rank() :: distributed.world_size()])
