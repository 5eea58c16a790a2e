"""Ray, started here or found elsewhere, for as long as a block lasts; and training on it.

Ray is always asked for its token: a cluster on a shared machine must not stand open.  A Ray that was started
here ends with the block, by its own processes only (`ray stop` would end everybody's).
"""

import json
import logging
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow.fs
import ray
from fsspec.core import url_to_fs
from ray._raylet import Config  # type: ignore[attr-defined]
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from infra.logging import note_place
from infra.storage import Store
from infra.stores import home

MAX_FAILURES = 3  # times that lost workers are replaced, each going on from the last checkpoint
KEPT = 2  # checkpoints: the last may be half committed when a worker dies
_SNAPSHOT = "checkpoint_manager_snapshot.json"  # what Ray Train knows of its checkpoints
_PATIENCE = 30.0  # seconds for a cluster to start an actor

log = logging.getLogger(__name__)


@contextmanager
def connect(address: str | None = None, *, cpus: int | None = None, dashboard: bool = True) -> Iterator[str]:
    """Be connected to Ray within the block; yields the dashboard's URL, or "".

    address: None or "local" starts Ray on this machine, with `cpus` CPUs; else "host:port" of a cluster of
    which this machine is a node, and whose token is found by RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH.

    Raises:
        ConnectionError: if there is no cluster at the address, or none that can be used from here.
    """
    authenticate()
    os.environ.setdefault("RAY_TRAIN_ENABLE_STATE_TRACKING", "1")  # runs appear in the dashboard
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    local = address in (None, "local")
    options = {"num_cpus": cpus, "include_dashboard": dashboard} if local else {}
    try:
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
    loop: Callable[[dict[str, Any]], Any],
    job: dict[str, Any],
    *,
    store: Store,
    folder: str,
    workers: int,
    cpus: int,
    gpu: bool,
) -> Any:
    """Run `loop(job)` on `workers` processes that form a torch process group: gloo, or nccl with GPUs.

    Checkpoints are kept in `folder` of `store`.  A lost worker makes all start again from the last
    checkpoint; so does a second call for the same folder, after the first one's process died.

    Returns: what the loop gave on rank 0.

    Raises:
        ValueError: if Ray lacks CPUs or GPUs; ray.train.TrainingFailedError if the loop raised, or more
            workers were lost than are replaced.
    """
    _forget_damage(store, folder)
    _check_room({"CPU": workers * cpus, "GPU": workers if gpu else 0}, workers)
    place, name = os.path.split(folder)
    filesystem, root = url_to_fs(store.url)
    trainer = TorchTrainer(
        loop,
        train_loop_config=job,
        scaling_config=ScalingConfig(
            num_workers=workers, use_gpu=gpu, resources_per_worker={"CPU": cpus} | ({"GPU": 1} if gpu else {})
        ),
        run_config=RunConfig(
            name=name,
            storage_path=f"{root}/{place}",
            storage_filesystem=pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(filesystem)),
            failure_config=FailureConfig(max_failures=MAX_FAILURES),
            checkpoint_config=CheckpointConfig(num_to_keep=KEPT),
        ),
    )
    return trainer.fit().return_value


def _forget_damage(store: Store, folder: str) -> None:
    """Delete Ray's record of an earlier attempt if it cannot be read, as one written to a full disk."""
    path = f"{folder}/{_SNAPSHOT}"
    try:
        json.loads(store.read_bytes(path))
    except FileNotFoundError:
        return
    except ValueError:
        log.warning("%s of an earlier attempt is damaged; training starts anew", path)
        store.delete(folder)


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
                f"{workers} workers ask for {count} {what}s, and this Ray has {there.get(what, 0):.0f}; ask "
                "for fewer workers or threads, leave out --gpu, or add nodes to the cluster first"
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
