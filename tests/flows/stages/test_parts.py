"""The loop over shards on real workers: each part once, what was finished is not made again."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import zarr

from flows.resources import Resources
from flows.stages import arrays, parts
from infra import artifacts
from infra.artifacts import Draft, Target
from infra.storage import Store
from infra.workers import worker_object

TOTAL, ROWS = 20, 8
TARGET = Target("images", "squares", config={})


@dataclass(frozen=True)
class Part:
    """Rows of an array of squares."""

    start: int
    stop: int
    out: Any
    fails: bool = False


def square(part: Part) -> int:
    """On a worker: write one shard."""
    if part.fails:
        raise ValueError("this part cannot be made")
    zarr.open_group(part.out, mode="r+")["square"][part.start : part.stop] = (
        np.arange(part.start, part.stop) ** 2
    )
    return part.stop - part.start


def scaled(key: str, part: Part) -> int:
    """The same, times what every worker was given."""
    return square(part) * worker_object(key)


def seven() -> int:
    return 7


@pytest.fixture(params=["processes", pytest.param("dask", marks=pytest.mark.slow)])
def dask(request: pytest.FixtureRequest) -> str | None:
    """No scheduler, so that processes of this machine make the parts; or that of a cluster."""
    return None if request.param == "processes" else str(request.getfixturevalue("dask_scheduler"))


def make(
    draft: Draft, dask: str | None, *, fails: int | None = None, **options: Any
) -> list[tuple[int, Any]]:
    """Make the artifact; the parts that were made now, with their results."""
    out = draft.zarr("squares.zarr")
    layout = {"chunks": (ROWS,), "compressors": arrays.COMPRESSORS}
    arrays.create(zarr.open_group(out, mode="a"), "square", shape=(TOTAL,), dtype="int64", **layout)
    every = [Part(a, min(a + ROWS, TOTAL), out, a == fails) for a in range(0, TOTAL, ROWS)]
    made: list[tuple[int, Any]] = []
    options.setdefault("work", square)
    parts.make_parts(
        draft, every, options.pop("work"), title="squares", resources=Resources(threads=1, dask=dask),
        files=lambda part: [f"squares.zarr/square/c/{part.start // ROWS}"],
        on_done=lambda part, result: made.append((part.start, result)), **options,
    )  # fmt: skip
    return made


def test_every_part_is_made_and_the_array_is_whole(local_store: Store, dask: str | None) -> None:
    with artifacts.write(local_store, TARGET) as draft:
        assert sorted(make(draft, dask)) == [(0, 8), (8, 8), (16, 4)]
    reading = artifacts.open_artifact(local_store, draft.ref)
    squares = zarr.open_group(reading.zarr("squares.zarr"), mode="r")["square"][:]
    assert squares.tolist() == [n * n for n in range(TOTAL)]


def test_a_finished_part_is_not_made_again(local_store: Store, dask: str | None) -> None:
    """The second attempt makes the part that failed, and those that had not ended."""
    with (
        pytest.raises(ValueError, match="cannot be made") as failure,
        artifacts.write(local_store, TARGET) as draft,
    ):
        make(draft, dask, fails=16)
    assert "while working on rows-16-20" in failure.value.__notes__
    with artifacts.write(local_store, TARGET) as draft:
        again = make(draft, dask)
    assert 16 in dict(again)
    assert len(again) < 3


def test_workers_get_what_is_provided(local_store: Store, dask: str | None) -> None:
    with artifacts.write(local_store, TARGET) as draft:
        assert sorted(make(draft, dask, work=scaled, provide=seven)) == [(0, 56), (8, 56), (16, 28)]
