"""The one pattern of every task: look the artifact up; if it is there be done, else make it.

    @artifact_task(name="evaluate")
    def evaluate(store: Store, draft: Draft, codes: Ref, ...) -> None: ...     # writes into the draft

    ref = evaluate(store, target, codes, ...)            # a Prefect task; "Cached" where it was there
    ref, cached = evaluate.compute(store, target, ...)   # the same without Prefect

Prefect's own cache is off: it takes an outage for a miss, and here an outage is an error.
"""

from collections.abc import Callable
from typing import Any, Concatenate, Generic, NamedTuple, ParamSpec

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed

from infra import artifacts, lease
from infra.artifacts import Draft, Ref, Target
from infra.storage import Store

P = ParamSpec("P")


class Outcome(NamedTuple):
    """An artifact, and whether it was there already."""

    ref: Ref
    cached: bool


class ArtifactTask(Generic[P]):
    """A function that fills a draft, as a task that gives the artifact."""

    def __init__(self, make: Callable[Concatenate[Store, Draft, P], None], name: str) -> None:
        self._make = make
        self.__doc__ = make.__doc__
        self._task: Task[..., Any] = Task(
            self._run, name=name, description=make.__doc__, cache_policy=NO_CACHE, persist_result=False
        )

    def __call__(self, store: Store, target: Target, *args: P.args, **kwargs: P.kwargs) -> Ref:
        """Run as a Prefect task.  Raises what the function raises, and StorageError in an outage."""
        state: Any = self._task(store, target, args, kwargs, return_state=True)
        ref = state.result()
        assert isinstance(ref, Ref)
        return ref

    def compute(self, store: Store, target: Target, *args: P.args, **kwargs: P.kwargs) -> Outcome:
        """Run here and now, without Prefect."""
        found = artifacts.lookup(store, target)
        if found is not None:
            return Outcome(found, True)
        with lease.hold(store, target.address, lambda: artifacts.lookup(store, target) is not None):
            found = artifacts.lookup(store, target)
            if found is not None:  # another process made it meanwhile
                return Outcome(found, True)
            with artifacts.write(store, target) as draft:
                self._make(store, draft, *args, **kwargs)
            return Outcome(draft.ref, False)

    def _run(self, store: Store, target: Target, args: Any, kwargs: Any) -> Ref | State[Ref]:
        ref, cached = self.compute(store, target, *args, **kwargs)
        return Completed(name="Cached", message=ref.address, data=ref) if cached else ref


def artifact_task(*, name: str) -> Callable[[Callable[Concatenate[Store, Draft, P], None]], ArtifactTask[P]]:
    """Make a task of a function that fills a draft; its second argument becomes the target."""

    def decorate(make: Callable[Concatenate[Store, Draft, P], None]) -> ArtifactTask[P]:
        return ArtifactTask(make, name)

    return decorate
