"""Make an artifact part by part on several processes: a part is a shard of its arrays, and is done once.

A part that an earlier attempt finished is not made again, so a killed stage goes on where it was.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol, TypeVar

from flows import engines, prefect_ui
from flows.resources import Resources
from infra import metrics
from infra.artifacts import Draft
from infra.workers import Workers


class Part(Protocol):
    """Rows start...stop of the arrays, with all that a task needs to make them; picklable."""

    @property
    def start(self) -> int: ...
    @property
    def stop(self) -> int: ...


P = TypeVar("P", bound=Part)


def name(part: Part) -> str:
    """Return what a part is called in the draft, and in errors of a worker."""
    return f"rows-{part.start}-{part.stop}"


def make_parts(
    draft: Draft,
    parts: Sequence[P],
    work: Callable[..., Any],
    *,
    title: str,
    resources: Resources,
    files: Callable[[P], list[str]],
    provide: Callable[[], Any] | None = None,
    on_done: Callable[[P, Any], None] | None = None,
) -> None:
    """Make every part that is not finished yet, with progress.

    Args:
        draft: the artifact that is being written.
        parts: all parts, in order.
        work: runs on a worker, `work(part)`; with `provide`, `work(key, part)`, where
            `infra.workers.worker_object(key)` is what `provide` returned there.
        title: what the progress is called.
        resources: how many processes of this machine, or a Dask scheduler (`flows.engines.workers`).
        files: part → paths in the draft of the files that belong to it.
        provide: called once on every worker, such as to load a model.
        on_done: called here with a part and its result, before the part counts as finished.
    """
    waiting = [part for part in parts if not draft.part(name(part))]
    total = sum(part.stop - part.start for part in parts)
    with (
        prefect_ui.progress(title, total) as advance,
        engines.workers(resources) as workers,
        _provided(workers, provide) as key,
    ):
        advance(total - sum(part.stop - part.start for part in waiting))

        def finish(part: P, result: Any) -> None:
            if on_done is not None:
                on_done(part, result)
            draft.finish_part(name(part), files(part))
            metrics.add(metrics.ITEMS, part.stop - part.start, stage=draft.target.kind)
            advance(part.stop - part.start)

        task = work if key is None else partial(work, key)
        workers.map_parts(task, waiting, describe=name, on_done=finish)


@contextmanager
def _provided(workers: Workers, provide: Callable[[], Any] | None) -> Iterator[str | None]:
    if provide is None:
        yield None
        return
    with workers.on_every_worker(provide) as key:
        yield key
