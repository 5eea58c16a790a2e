"""Encoding with real Dask workers: a worker killed amid the run, or the driver, changes no code."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from distributed import Client

from flows.resources import Resources
from flows.stages import encode
from infra import artifacts
from infra.artifacts import Reading
from infra.dask_cluster import DaskWorkers
from infra.storage import Store
from infra.stores import open_store
from tests.flows.command_line import Called
from tests.flows.conftest import ITEMS, Workspace

pytestmark = pytest.mark.slow

ROWS = 16  # of a shard: eight parts


class DriverDied(BaseException):
    """What stands for the end of the process that hands out the parts."""


@pytest.fixture
def made(workspace: Workspace, first: Called) -> dict[str, Reading]:
    """The artifacts of the first run by kind."""
    return {row["stage"]: artifacts.open_artifact(workspace.store, row["address"]) for row in first.rows}


def codes(
    made: dict[str, Reading], folder: Path, dask: str, patch: pytest.MonkeyPatch,
    on_part: Callable[[int], None] = lambda done: None,
) -> tuple[Store, str]:  # fmt: skip
    """Encode in small shards into a store in `folder`, calling `on_part` after each; content digest."""
    patch.setattr(encode, "ROWS", ROWS)
    map_parts, done = DaskWorkers.map_parts, 0

    def watched(*args: Any, on_done: Callable[[Any, Any], None], **kwargs: Any) -> list[Any]:
        def count(part: Any, result: Any) -> None:
            nonlocal done
            on_done(part, result)
            done += 1
            on_part(done)

        return map_parts(*args, on_done=count, **kwargs)

    with patch.context() as inner:
        inner.setattr(DaskWorkers, "map_parts", watched)
        store = open_store(str(folder))
        for kind in ("model", "dataset", "features"):  # what encoding reads lies in the same store
            artifacts_from = made[kind]
            place = Path(folder) / artifacts_from.ref.address
            if not place.exists():
                place.parent.mkdir(parents=True, exist_ok=True)
                place.symlink_to(Path(str(artifacts_from.store.local_path(artifacts_from.ref.address))))
        model, dataset, images, features = (
            made[kind].ref for kind in ("model", "dataset", "images", "features")
        )
        target = encode.target(model, dataset, features)
        ref, cached = encode.make.compute(
            store, target, model, dataset, images, features, Resources(dask=dask)
        )
    assert not cached
    assert artifacts.verify(store, ref) == []
    return store, ref.content


def test_killed_worker_and_dead_driver(
    made: dict[str, Reading], dask_scheduler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """SIGKILL of a worker, and a driver that ends after three parts: the same content as of a quiet run; the
    second driver encodes only what is missing."""
    _, quiet = codes(made, tmp_path / "quiet", dask_scheduler, monkeypatch)

    def kill(done: int) -> None:
        if done == 2:
            with Client(dask_scheduler) as client:
                os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)

    _, disturbed = codes(made, tmp_path / "disturbed", dask_scheduler, monkeypatch, kill)
    assert disturbed == quiet

    def die(done: int) -> None:
        if done == 3:
            raise DriverDied

    with pytest.raises(DriverDied):
        codes(made, tmp_path / "resumed", dask_scheduler, monkeypatch, die)
    assert artifacts.list_artifacts(open_store(str(tmp_path / "resumed")), "codes") == []
    parts: list[int] = []
    _, resumed = codes(made, tmp_path / "resumed", dask_scheduler, monkeypatch, parts.append)
    assert len(parts) == -(-ITEMS // ROWS) - 3
    assert resumed == quiet
