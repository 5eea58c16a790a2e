"""The one pattern of every task: look the artifact up; if it is there be done, else make it.

    @artifact_task(name="evaluate")
    def evaluate(store: Store, draft: Draft, codes: Ref, ...) -> None: ...     # writes into the draft

    ref = evaluate(store, target, codes, ...)            # a Prefect task; "Cached" where it was there
    ref, cached = evaluate.compute(store, target, ...)   # the same without Prefect

Prefect's own cache is off: it takes an outage for a miss, and here an outage is an error.  It is imported
when a task is called: workers and plans need none.
"""

import time
from collections.abc import Callable
from logging import getLogger
from typing import TYPE_CHECKING, Any, Concatenate, Generic, NamedTuple, ParamSpec

from flows.stages import circumstances
from infra import artifacts, lease, logging, metrics
from infra.artifacts import Draft, Ref, Target
from infra.storage import Store

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

P = ParamSpec("P")

_log = getLogger(__name__)


class Outcome(NamedTuple):
    """An artifact, and whether it was there already."""

    ref: Ref
    cached: bool


class ArtifactTask(Generic[P]):
    """A function that fills a draft, as a task that gives the artifact."""

    def __init__(self, make: Callable[Concatenate[Store, Draft, P], None], name: str) -> None:
        self._make, self._name = make, name
        self.__doc__ = make.__doc__

    def __call__(self, store: Store, target: Target, *args: P.args, **kwargs: P.kwargs) -> Ref:
        """Run as a Prefect task.  Raises what the function raises, and StorageError in an outage."""
        from prefect import Task
        from prefect.cache_policies import NO_CACHE

        task: Any = Task(
            self._run, name=self._name, description=self.__doc__, cache_policy=NO_CACHE, persist_result=False
        )
        state = task(store, target, args, kwargs, return_state=True)
        ref = state.result()
        assert isinstance(ref, Ref)
        return ref

    def compute(self, store: Store, target: Target, *args: P.args, **kwargs: P.kwargs) -> Outcome:
        """Run here and now, without Prefect."""
        began, stage = time.perf_counter(), target.kind
        result = "failed"
        try:
            with logging.within(stage=stage, artifact=target.address):
                outcome = self._compute(store, target, *args, **kwargs)
            result = "cached" if outcome.cached else "computed"
        finally:
            if result != "cached":
                metrics.add(metrics.SECONDS, time.perf_counter() - began, stage=stage)
            metrics.add(metrics.STAGES, stage=stage, result=result)
            metrics.write()
        return outcome

    def _compute(self, store: Store, target: Target, *args: P.args, **kwargs: P.kwargs) -> Outcome:
        found = artifacts.lookup(store, target)
        if found is not None:
            return Outcome(found, True)
        with lease.hold(store, target.address, lambda: artifacts.lookup(store, target) is not None):
            found = artifacts.lookup(store, target)
            if found is not None:  # another process made it meanwhile
                return Outcome(found, True)
            began = time.perf_counter()
            with artifacts.write(store, target, run=circumstances.of(args)) as draft:
                self._make(store, draft, *args, **kwargs)
                draft.run["seconds"] = round(time.perf_counter() - began, 3)
            metrics.add(metrics.BYTES, draft.size, stage=target.kind)
            fields = {"seconds": draft.run["seconds"], "bytes": draft.size}
            _log.info("%s computed", target.address, extra={"fields": fields})
            return Outcome(draft.ref, False)

    def _run(self, store: Store, target: Target, args: Any, kwargs: Any) -> "Ref | State[Ref]":
        from prefect.states import Completed

        ref, cached = self.compute(store, target, *args, **kwargs)
        return Completed(name="Cached", message=ref.address, data=ref) if cached else ref


def artifact_task(*, name: str) -> Callable[[Callable[Concatenate[Store, Draft, P], None]], ArtifactTask[P]]:
    """Make a task of a function that fills a draft; its second argument becomes the target."""

    def decorate(make: Callable[Concatenate[Store, Draft, P], None]) -> ArtifactTask[P]:
        return ArtifactTask(make, name)

    return decorate
