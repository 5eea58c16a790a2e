"""Training in a process and on a real Ray of two nodes, undisturbed and with one killed: the same model.

The data are synthetic features in the form of the real artifacts; the method is SCAHN.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import ray
import torch
import zarr
from ray.cluster_utils import Cluster

from cmh import model
from cmh.codes import hamming
from cmh.networks import efficientnet
from cmh.training.checkpoint import State
from cmh.training.trainer import Epoch
from flows.experiment import BackboneSettings, Experiment, TrainingSettings
from flows.resources import Resources
from flows.run import resolve
from flows.stages import checkpoints, train
from infra import artifacts, ray_cluster
from infra.artifacts import Ref, Target
from infra.storage import Store
from infra.stores import open_store

ITEMS, WORDS, LABELS = 240, 60, 5
EXPERIMENT = Experiment(
    bits=16,
    training=TrainingSettings(epochs=8, batch_size=32),
    backbone=BackboneSettings(name="efficientnet_lite0", weights="none", image_size=32),
    seed=3,
)


def _data(store: Store) -> tuple[Ref, Ref]:
    """A dataset and its features, written as preprocessing writes them."""
    rng = np.random.default_rng(0)
    label = rng.integers(LABELS, size=ITEMS)
    splits = {"train": np.arange(160), "validation": np.arange(160, 200), "query": np.arange(200, 240)}
    splits["database"] = np.arange(200)
    with artifacts.write(store, Target("dataset", "toy", config={})) as draft:
        group = zarr.open_group(draft.zarr("dataset.zarr"), mode="w")
        group.create_array("label", data=np.eye(LABELS, dtype=np.uint8)[label])
        words = rng.random((ITEMS, WORDS)) < rng.uniform(0, 0.5, (LABELS, WORDS))[label]
        group.create_array("text", data=words.astype(np.uint8))
        group.create_array("image_row", data=np.arange(ITEMS)[::-1].copy())
        for name, rows in splits.items():
            group.create_array(f"split/{name}", data=rows)
        draft.write_bytes("vocabulary.txt", "".join(f"word{w}\n" for w in range(WORDS)).encode())
        draft.write_bytes("labels.txt", "".join(f"label{n}\n" for n in range(LABELS)).encode())
    dataset = draft.ref
    with artifacts.write(store, Target("features", "toy", config={})) as draft:
        group = zarr.open_group(draft.zarr("features.zarr"), mode="w")
        for stage, channels in enumerate(efficientnet.channels("lite0"), 1):
            pooled = rng.normal(size=(LABELS, channels))[label] + rng.normal(size=(ITEMS, channels))
            group.create_array(f"pooled/stage{stage}", data=pooled[::-1].astype(np.float32))
    return dataset, draft.ref


@pytest.fixture
def cluster(cmh_home: Path) -> Iterator[Cluster]:
    """Two Ray nodes of one CPU each, with the session's token."""
    ray_cluster.authenticate()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


class Killer(threading.Thread):
    """Kills one training process with SIGKILL once the second epoch is done."""

    def __init__(self, store: Store, folder: str, is_worker: Callable[[psutil.Process], bool]) -> None:
        super().__init__(daemon=True)
        self.store, self.folder, self.is_worker = store, folder, is_worker
        self.killed: int | None = None

    def run(self) -> None:
        while (told := checkpoints.progress(self.store, self.folder)) is None or told.epoch["number"] < 2:
            time.sleep(0.02)
        workers = [p for p in psutil.Process().children(recursive=True) if self.is_worker(p)]
        workers[-1].kill()
        self.killed = workers[-1].pid


def _is_rays(process: psutil.Process) -> bool:
    return "RayTrainWorker" in " ".join(process.cmdline())


def _is_of_the_pool(process: psutil.Process) -> bool:
    """Tell a process that was forked from the prepared one."""
    parent = process.parent()
    return all(one is not None and "forkserver" in " ".join(one.cmdline()) for one in (process, parent))


def _train(
    store: Store,
    experiment: Experiment,
    resources: Resources,
    kill: Callable[[psutil.Process], bool] | None = None,
) -> Ref:
    dataset, features = _data(store)
    run = resolve(experiment)
    target = train.target(run, dataset, features)
    killer = None if kill is None else Killer(store, f"{target.address}/checkpoints", kill)
    if killer is not None:
        killer.start()
    ref, cached = train.make.compute(store, target, run, dataset, features, resources)
    assert not cached
    if killer is not None:
        assert killer.killed is not None
    return ref


@pytest.mark.slow
def test_killed_worker_leaves_no_trace(cluster: Cluster, tmp_path: Path):
    """Two workers on two nodes, one killed after two epochs: the same model as of a quiet run."""
    resources = Resources(workers=2, threads=2, ray=cluster.address)
    quiet, disturbed = open_store(str(tmp_path / "quiet")), open_store(str(tmp_path / "disturbed"))
    expected = _train(quiet, EXPERIMENT, resources)
    found = _train(disturbed, EXPERIMENT, resources, _is_rays)
    assert found == expected
    assert artifacts.verify(disturbed, found) == []
    _check_model(artifacts.open_artifact(quiet, expected).local())
    assert not quiet.sizes(f"{expected.address}/checkpoints")


@pytest.mark.slow
def test_a_process_and_ray_make_the_same_model(cluster: Cluster, tmp_path: Path):
    """One worker of Ray, a process of this machine, and one that is killed after two epochs."""
    on_ray = _train(open_store(str(tmp_path / "ray")), EXPERIMENT, Resources(threads=1, ray=cluster.address))
    store = open_store(str(tmp_path / "process"))
    assert _train(store, EXPERIMENT, Resources(threads=1), _is_of_the_pool) == on_ray
    assert not store.sizes(f"{on_ray.address}/checkpoints")


@pytest.mark.parametrize("damage", ["progress.json", "state.safetensors", "state.json"])
def test_a_damaged_checkpoint_is_said_and_not_used(
    local_store: Store, damage: str, caplog: pytest.LogCaptureFixture
):
    """As of a disk that was full: no bytes; training starts anew."""
    epoch = Epoch(number=3, terms={"loss": 1.0}, learning_rates={}, validation={"map": 0.5})
    state = State({"model/weight": torch.arange(3.0)}, {"epoch": 3})
    checkpoints.keep(local_store, "model/x/checkpoints", epoch, state, [1.0, 2.0, 3.0])
    kept, seconds = checkpoints.last(local_store, "model/x/checkpoints")
    assert kept is not None
    assert kept.facts == {"epoch": 3}
    assert seconds == [1.0, 2.0, 3.0]
    (path,) = [path for path in local_store.sizes("model/x/checkpoints") if path.endswith(damage)]
    local_store.write_bytes(path, b"")
    assert checkpoints.last(local_store, "model/x/checkpoints") == (None, [])
    assert "damaged" in caplog.text
    checkpoints.keep(local_store, "model/x/checkpoints", epoch, state, [4.0])
    assert checkpoints.last(local_store, "model/x/checkpoints")[1] == [4.0]


def test_the_checkpoint_before_is_forgotten(local_store: Store):
    """Once the next one is whole."""
    for number in (1, 2):
        epoch = Epoch(number=number, terms={}, learning_rates={}, validation={})
        checkpoints.keep(local_store, "c", epoch, State({"a": torch.ones(number)}, {}), [])
    assert {path.split("/")[1] for path in local_store.sizes("c")} == {"epoch-2", "progress.json"}


def _check_model(folder: Path) -> None:
    """The published folder is a whole model."""
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [epoch["number"] for epoch in metrics] == list(range(1, 9))
    assert max(epoch["score"] for epoch in metrics) > 0.25  # chance is .2
    assert any(file.name.startswith("events.out.tfevents") for file in (folder / "logs").iterdir())
    loaded = model.load(folder)
    assert "scahn" in (folder / "README.md").read_text().lower()
    codes = loaded.encode_texts(["word1 word2", "word3"])
    assert codes.shape == (2, hamming.width(16))
    assert loaded.encode_images([np.zeros((40, 50, 3), np.uint8)]).shape == (1, 2)
