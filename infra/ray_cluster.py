"""Ray, started here or found elsewhere, for as long as a block lasts; and training on it.

Ray is always asked for its token: a cluster on a shared machine must not stand open.  A Ray that was started
here ends with the block, by its own processes only (`ray stop` would end everybody's).
"""

import logging
import os
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import pyarrow.fs
import ray
import torch
from fsspec.core import url_to_fs
from ray._raylet import Config, PlacementGroupID  # type: ignore[attr-defined]
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer, get_device
from ray.train.v2._internal.exceptions import WorkerGroupStartupFailedError, WorkerGroupStartupTimeoutError
from ray.util.placement_group import PlacementGroup, placement_group_table, remove_placement_group

from infra import signals
from infra.logging import circumstances, note_place, within
from infra.storage import Store
from infra.stores import home

STARTS = 3  # attempts of Ray, a minute each, to start workers before it goes on with fewer
MAX_FAILURES = 3  # times that lost workers are replaced, each going on from the last checkpoint
_LOOK_EVERY = 5.0  # seconds between two looks at the nodes
_PATIENCE = 30.0  # seconds for a cluster to start an actor

_LOST = (ray.exceptions.RayActorError, ray.exceptions.RaySystemError, ray.exceptions.RpcError)
"""What a driver sees of the actor that leads its training, when Ray's head is gone."""

_LOST_EARLY = (ray.exceptions.RayActorError, WorkerGroupStartupFailedError)
"""What Ray Train meets when a node goes while its workers start; the first of them it does not try again."""

log = logging.getLogger(__name__)

Job = TypeVar("Job")


@contextmanager
def connect(address: str | None = None, *, cpus: int | None = None, dashboard: bool = True) -> Iterator[str]:
    """Be connected to Ray within the block; yields the dashboard's URL, or "".

    address: None or "local" starts Ray on this machine, with `cpus` CPUs; else "host:port" of a cluster of
    which this machine is a node, and whose token is found by RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH.

    Raises:
        ConnectionError: if there is no cluster at the address, or none that can be used from here.
    """
    authenticate()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    local = address in (None, "local")
    options = {"num_cpus": cpus, "include_dashboard": dashboard} if local else {}
    try:
        with signals.kept():
            context = ray.init(
                "local" if local else address, configure_logging=False, log_to_driver=False, **options
            )
    except RuntimeError as error:  # this machine has no raylet
        raise ConnectionError(f"{_unusable(address)}: {error}") from error
    except ConnectionError as error:
        raise ConnectionError(
            f"{_unusable(address)}: nobody answers, or it asks for another token than RAY_AUTH_TOKEN or the "
            f"file RAY_AUTH_TOKEN_PATH holds: {error}"
        ) from error
    try:
        if not local:
            _check_actors(address)
        url = f"http://{context.dashboard_url}" if context.dashboard_url else ""
        note_place("Ray", f"{_logs(context)} on the node of each worker" + (f", or {url}" if url else ""))
        yield url
    finally:
        ray.shutdown()


def _logs(context: Any) -> str:
    """Return the folder of Ray's logs, below that of its session."""
    return f"{context.address_info['session_dir']}/logs"


def _unusable(address: str | None) -> str:
    return f"the Ray cluster at {address or 'local'} cannot be used from this machine"


class _Nothing:
    def answer(self) -> None: ...


def _check_actors(address: str | None) -> None:
    """Refuse a cluster that starts no actor for this process: one without a token reports nothing."""
    actor = ray.remote(_Nothing).options(num_cpus=0).remote()
    try:
        ray.get(actor.answer.remote(), timeout=_PATIENCE)
    except ray.exceptions.GetTimeoutError:
        log.warning("the Ray cluster at %s is slow to start actors; training waits for it", address)
    except ray.exceptions.ActorDiedError as error:
        raise ConnectionError(
            f"{_unusable(address)}: it starts no actors, most likely as it asks for no token; start it with "
            "RAY_AUTH_MODE=token and the same RAY_AUTH_TOKEN everywhere, or, where nobody else reaches its "
            "ports, set RAY_AUTH_MODE=disabled here"
        ) from error
    ray.kill(actor)


def train(
    loop: Callable[[Job, torch.device], Any],
    job: Job,
    *,
    store: Store,
    folder: str,
    workers: int,
    cpus: int,
    gpu: bool,
    fewer: Sequence[int] = (),
) -> Any:
    """Run `loop(job, device)` on `workers` processes of one torch process group: gloo, or nccl with GPUs.

    A lost worker makes all start the loop again, which goes on from what it kept.  Where the room for one is
    lost for good, as with a node, the loop goes on with the most of `fewer` workers that there is room for.
    Ray's own notes on the run lie in `folder` of `store`.

    Returns: what the loop gave on rank 0.

    Raises:
        ValueError: if Ray lacks CPUs or GPUs; ConnectionError if it has lost them meanwhile, or is gone;
            ray.train.TrainingFailedError if the loop raised, or more workers were lost than are replaced.
    """
    _check_room({"CPU": workers * cpus, "GPU": workers if gpu else 0}, workers)
    each = {"CPU": cpus} | ({"GPU": 1} if gpu else {})
    losses = 0
    while True:
        config = {"loop": loop, "job": job, "circumstances": circumstances()}
        trainer = _trainer(config, store, folder, workers, each)
        try:
            with _told_of_losses(workers, each), _room_freed():
                return signals.run_aside(trainer.fit).return_value
        except _LOST as error:
            raise ConnectionError(
                "Ray was lost during the training, most likely with its head; see that it runs, then run "
                f"again, and it goes on from the last checkpoint ({str(error)[:300]})"
            ) from error
        except ray.train.ControllerError as error:
            if isinstance(error.controller_failure, _LOST_EARLY) and losses < MAX_FAILURES:
                losses += 1
            elif not isinstance(error.controller_failure, WorkerGroupStartupTimeoutError):
                raise
            room = _room(each)
            possible = [count for count in (workers, *fewer) if count <= min(workers, room)]
            if not possible:
                allowed = " or ".join(map(str, (workers, *fewer)))
                raise ConnectionError(
                    f"Ray has room for {room} of {workers} workers, and the batch can be shared by "
                    f"{allowed}: it has lost a node, or others use it; add nodes, then run again, and it "
                    "goes on from there"
                ) from error
            if max(possible) < workers:
                log.warning(
                    "Ray has room for %d of %d workers; going on with %d", room, workers, max(possible)
                )
            else:
                log.warning(
                    "Ray could not start %d workers, though its nodes have room for them: others use it, or "
                    "a node was just lost; trying again",
                    workers,
                )
            workers = max(possible)


def _trainer(
    config: dict[str, Any], store: Store, folder: str, workers: int, each: dict[str, int]
) -> TorchTrainer:
    place, name = os.path.split(folder)
    filesystem, root = url_to_fs(store.url)
    return TorchTrainer(
        _on_worker,
        train_loop_config=config,
        scaling_config=ScalingConfig(
            num_workers=workers, use_gpu="GPU" in each, resources_per_worker=each, placement_strategy="SPREAD"
        ),
        run_config=RunConfig(
            name=name,
            storage_path=f"{root}/{place}",
            storage_filesystem=pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(filesystem)),
            failure_config=FailureConfig(max_failures=MAX_FAILURES, controller_failure_limit=STARTS - 1),
        ),
    )


@contextmanager
def _room_freed() -> Iterator[None]:
    """Give back what a training within the block reserved, if it fails.

    Ray Train leaves that to an actor, which may have been at the node that was lost; what it reserved would
    then be nobody's for as long as the cluster runs.
    """
    try:
        yield
    except ray.train.TrainingFailedError:
        job = ray.get_runtime_context().get_job_id()
        for name, group in placement_group_table().items():
            if name.endswith(job) and group["state"] != "REMOVED":  # the last four bytes of its id
                remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(name))))
        raise


@contextmanager
def _told_of_losses(workers: int, each: dict[str, int]) -> Iterator[None]:
    """Say within the block when Ray has no room for the workers any more, and when it has it again."""
    ended = threading.Event()

    def look() -> None:
        enough = True
        while not ended.wait(_LOOK_EVERY):
            try:
                room = _room(each)
            except Exception:  # Ray itself is ending or gone: whoever trains says so
                return
            if enough and room < workers:
                log.warning(
                    "Ray has lost a node: there is room for %d of %d workers; waiting for it %d minutes, "
                    "then going on with fewer",
                    *(room, workers, STARTS),
                )
            if not enough and room >= workers:
                log.info("Ray has room for %d workers again", workers)
            enough = room >= workers

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()  # and no wait for the thread: a head that is gone keeps its question for a minute


def _room(each: dict[str, int]) -> int:
    """Return how many workers of that size the nodes have room for, whatever else runs there."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return int(sum(min(node.get(what, 0) // count for what, count in each.items()) for node in nodes))


def _on_worker(config: dict[str, Any]) -> Any:
    rank = ray.train.get_context().get_world_rank()
    with within(**config["circumstances"], rank=rank):
        return config["loop"](config["job"], get_device())


def _check_room(wanted: dict[str, int], workers: int) -> None:
    """Refuse a worker that no node has room for: Ray would wait for it without end."""
    there = ray.cluster_resources()
    largest = max((node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]), default=0)
    if wanted["CPU"] // workers > largest:
        raise ValueError(
            f"a worker asks for {wanted['CPU'] // workers} CPUs, and the largest node of this Ray has "
            f"{largest:.0f}; give fewer --threads, which the workers share"
        )
    for what, count in wanted.items():
        if count > there.get(what, 0):
            raise ValueError(
                f"{workers} worker(s) ask for {count} {what}(s), and this Ray has {there.get(what, 0):.0f}; "
                "ask for fewer workers or threads, leave out --gpu, or add nodes to the cluster first"
            )


def authenticate() -> None:
    """Ask for a token, of this user's own unless another was set, in this process and those it starts."""
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    Config.initialize("")  # Ray has read the mode when it was imported; this is how it reads it again
    if "RAY_AUTH_TOKEN" in os.environ or os.environ["RAY_AUTH_MODE"] != "token":
        return
    token = home() / "ray-token"
    os.environ.setdefault("RAY_AUTH_TOKEN_PATH", str(token))
    if os.environ["RAY_AUTH_TOKEN_PATH"] == str(token) and not token.exists():
        token.parent.mkdir(parents=True, exist_ok=True)
        partial = token.with_name(f"ray-token.{os.getpid()}")
        with open(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
        partial.replace(token)
