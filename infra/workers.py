"""Processes that make parts: what they are asked for, whoever started them, and what each of them has loaded.

`infra.process_pool` starts some on this machine, `infra.dask_cluster` takes those of a Dask cluster.
"""

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, closing
from typing import Any, TypeVar

from infra import logging

Part = TypeVar("Part")
Result = TypeVar("Result")


class Workers(ABC):
    """Processes that each make one part at a time."""

    @property
    @abstractmethod
    def count(self) -> int:
        """Return how many parts are made at the same time."""

    def map_parts(
        self,
        function: Callable[[Part], Result],
        parts: Sequence[Part],
        *,
        describe: Callable[[Part], str] = str,
        on_done: Callable[[Part, Result], None] | None = None,
    ) -> list[Result]:
        """Return function(part) of every part, in the order of `parts`.

        A part is as large as a shard, and writes what it makes itself: part and result are small.  The parts
        of a worker that died are made again, so a part must come out the same when it is made twice.
        `on_done(part, result)` is called here, as each part ends.

        Raises:
            ConnectionError: workers died over a part again and again, or none is left.
            Exception: what the function raised, with a note that names the part by `describe`.  The other
                parts are cancelled.
        """
        check_importable(function)
        results: dict[int, Result] = {}
        with closing(self._made(function, parts, describe)) as made:
            for index, result in made:
                results[index] = result
                if on_done is not None:
                    on_done(parts[index], result)
        return [results[index] for index in range(len(parts))]

    @abstractmethod
    def _made(
        self, function: Callable[[Part], Result], parts: Sequence[Part], describe: Callable[[Part], str]
    ) -> Generator[tuple[int, Result], None, None]:
        """Yield the place of each part and what was made of it, as they end; raises as `map_parts`."""

    @abstractmethod
    def on_every_worker(self, factory: Callable[[], Any]) -> AbstractContextManager[str]:
        """Have `factory` called once on every worker that is used, also on those that join within the block.

        Yields the name by which parts ask for what it returned, `worker_object(name)`.
        Raises: what the factory raises, here or from the first part.
        """


_objects: dict[str, Any] = {}


def worker_object(name: str) -> Any:
    """Return on a worker what the factory of `on_every_worker` returned there."""
    if name not in _objects:
        raise RuntimeError(f"no object {name!r} on this worker; use it within `on_every_worker`")
    return _objects[name]


def load_object(name: str, factory: Callable[[], Any]) -> None:
    """Call the factory on this worker, unless it was."""
    if name not in _objects:
        _objects[name] = factory()


def forget_objects(names: set[str]) -> None:
    """Let go of these on this worker."""
    for name in names & _objects.keys():
        del _objects[name]


def loaded_objects() -> set[str]:
    """Return the names of what this worker has loaded."""
    return set(_objects)


def call_within(circumstances: dict[str, Any], function: Callable[[Part], Result], part: Part) -> Result:
    """Return function(part) on this worker, whose log lines then tell the circumstances of whoever asked."""
    logging.set_up_worker()
    with logging.working_for(circumstances):
        return function(part)


def check_importable(function: Callable[..., Any]) -> None:
    """Refuse what workers cannot import: it would be pickled with all it refers to, and run as a stale copy.

    Raises:
        ValueError: the function is a lambda, within another function, or of the program itself.
    """
    inner = function.func if isinstance(function, functools.partial) else function
    if inner.__module__ == "__main__" or "<" in inner.__qualname__:
        raise ValueError(
            f"{inner.__module__}.{inner.__qualname__} cannot be imported by the workers; "
            "use a function at the top level of a module, with functools.partial for its arguments"
        )
