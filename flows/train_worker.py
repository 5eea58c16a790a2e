"""What every training process does: open the data, build the method, fit, keep checkpoints, write the model.

Imported by Ray's workers, so nothing here needs Prefect.
"""

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import ray.train
import torch
import zarr
from ray.train.torch import get_device
from torch.utils.tensorboard import SummaryWriter

from cmh import distributed, methods
from cmh import model as models
from cmh.data import readers
from cmh.data.items import Items, read_items
from cmh.hashing.method import Method
from cmh.networks import backbones, clip
from cmh.networks.backbones import Backbone
from cmh.training import checkpoint, trainer
from cmh.training.checkpoint import State
from cmh.training.failures import CollapsedCodes, NonFiniteLoss
from cmh.training.trainer import Epoch
from flows import sources
from flows.experiments import Experiment
from flows.model_card import card
from infra import artifacts
from infra.artifacts import Reading, Ref
from infra.storage import Store, open_store

PROGRESS = "progress.json"


@dataclass(frozen=True)
class Job:
    """One training run, by addresses."""

    store: str  # URL
    experiment: Experiment
    dataset: Ref
    source: Ref  # images, or the features of a frozen backbone
    prefix: str  # in the store, where the model's files go
    folder: str  # in the store, for checkpoints and progress
    threads: int  # of this process

    @property
    def settings(self) -> dict[str, Any]:
        """All fields of the method's Config."""
        return asdict(self.experiment.config)


@dataclass(frozen=True)
class Data:
    """What a run reads."""

    train: Items
    validation: Items
    vocabulary: tuple[str, ...]
    labels: tuple[str, ...]

    @property
    def text_dim(self) -> int:
        """Numbers of a text: of its features, or of its bag of words; words of the vocabulary where it is
        a sequence of these."""
        text = self.train.text
        return len(self.vocabulary) if text.dtype == np.int32 else text.shape[1]


def loop(config: dict[str, Job]) -> Exception | None:
    """Train on this worker.

    Returns: on rank 0, an error that would only come again, for the caller to raise; None if all went well.
    """
    job = config["job"]
    _settle(job.threads)
    try:
        _train(job)
    except (ValueError, NonFiniteLoss, CollapsedCodes) as error:
        return error
    return None


def _train(job: Job) -> None:
    store = open_store(job.store)
    data = read_data(store, job)
    backbone, method = build(job, data)
    method.to(get_device())
    state, seconds = _last_checkpoint()
    history = trainer.fit(
        method,
        data.train,
        data.validation,
        job.experiment.trainer_config,
        state=state,
        on_epoch=_keeper(store, job, seconds),
    )
    if distributed.rank() == 0:
        write_model(store, job, model_of(job, method, backbone, data), history, seconds)


def _settle(threads: int) -> None:
    """One number of threads, and the same result each time, on GPUs too."""
    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True


def read_data(store: Store, job: Job) -> Data:
    dataset = artifacts.open_artifact(store, job.dataset)
    items = zarr.open_group(dataset.zarr("dataset.zarr"), mode="r")
    source = artifacts.open_artifact(store, job.source)
    images = zarr.open_group(source.zarr(f"{job.source.kind}.zarr"), mode="r")
    read = partial(
        read_items,
        items,
        images,
        maps=job.experiment.grid > 1,
        sequences=methods.load(job.experiment.method).sequences,
        image_size=job.experiment.backbone.image_size,
    )
    return Data(
        train=read("train"),
        validation=read("validation"),
        vocabulary=_lines(dataset, "vocabulary.txt"),
        labels=_lines(dataset, "labels.txt"),
    )


def _lines(reading: Reading, name: str) -> tuple[str, ...]:
    return tuple(reading.read_bytes(name).decode().splitlines())


def build(job: Job, data: Data) -> tuple[Backbone, Method]:
    """Backbone and method with fresh weights, the same on every worker."""
    wanted = job.experiment.backbone
    torch.manual_seed(job.experiment.seed)
    if readers.brings_features(job.experiment.entry.reader):
        backbone = backbones.without_network(data.train.image_channels)
    else:
        backbone = backbones.load(wanted.name, sources.network_weights(wanted))
    torch.manual_seed(job.experiment.seed)  # whatever the backbone drew
    method = models.build(
        job.experiment.method,
        job.settings,
        backbone,
        frozen=job.source.kind == "features",
        text_dim=data.text_dim,
        labels=len(data.labels),
    )
    return backbone, method


def _last_checkpoint() -> tuple[State | None, list[float]]:
    """The state to go on from, and the seconds each epoch took until then."""
    last = ray.train.get_checkpoint()
    if last is None:
        return None, []
    with last.as_directory() as folder:
        return checkpoint.load(Path(folder)), json.loads((Path(folder) / "seconds.json").read_text())


def _keeper(store: Store, job: Job, seconds: list[float]) -> Callable[[Epoch, State], None]:
    """Reports each epoch to Ray with a checkpoint from rank 0, and tells the flow how far the run is."""
    began = time.perf_counter()

    def keep(epoch: Epoch, state: State) -> None:
        nonlocal began
        seconds.append(time.perf_counter() - began)
        first = distributed.rank() == 0
        with tempfile.TemporaryDirectory() as folder:
            if first:
                checkpoint.save(state, Path(folder))
                (Path(folder) / "seconds.json").write_text(json.dumps(seconds))
            kept = ray.train.Checkpoint.from_directory(folder) if first else None
            ray.train.report({"epoch": epoch.number, "score": epoch.score}, checkpoint=kept)
        if first:
            store.write_bytes(f"{job.folder}/{PROGRESS}", json.dumps(asdict(epoch)).encode())
        began = time.perf_counter()

    return keep


def model_of(job: Job, method: Method, backbone: Backbone, data: Data) -> models.Model:
    """What was trained, with all that it takes to encode."""
    facts, text = _facts(job, method, backbone, data), job.experiment.text
    network = clip.load_text(Path(sources.network_weights(text))) if text.is_network else None
    return models.Model(method, backbone, facts, data.vocabulary, data.labels, network)


def _facts(job: Job, method: Method, backbone: Backbone, data: Data) -> models.Facts:
    wanted = job.experiment.backbone
    given = data.train.image_channels if readers.brings_features(job.experiment.entry.reader) else None
    return models.facts(
        job.experiment.method,
        method,
        job.settings,
        wanted.name if given is None else "none",
        backbone.pretrained,
        grid=job.experiment.grid if job.source.kind == "features" else None,
        given=given,
        stored_size=job.experiment.entry.images.size,
        image_size=wanted.image_size,
        text=job.experiment.text.name,
        text_dim=data.text_dim,
        labels=len(data.labels),
        length=data.train.text.shape[1] if method.sequences else None,
    )


def write_model(
    store: Store, job: Job, model: models.Model, history: list[Epoch], seconds: list[float]
) -> None:
    """The model's files, its card, its metrics, and logs; only the logs tell the time."""
    with tempfile.TemporaryDirectory() as folder:
        _fill(Path(folder), job, model, history, seconds)
        for file in sorted(path for path in Path(folder).rglob("*") if path.is_file()):
            store.write_bytes(f"{job.prefix}/{file.relative_to(folder).as_posix()}", file.read_bytes())


def _fill(folder: Path, job: Job, model: models.Model, history: list[Epoch], seconds: list[float]) -> None:
    models.save(model, folder)
    lines = [json.dumps(asdict(epoch) | {"score": epoch.score}, sort_keys=True) for epoch in history]
    (folder / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines))
    (folder / "README.md").write_text(card(job.experiment, model.facts, history))
    logs = folder / "logs"
    with SummaryWriter(str(logs)) as board:
        for epoch in history:
            for name, value in _scalars(epoch).items():
                board.add_scalar(name, value, epoch.number)
    facts = {"epochs": seconds, "threads": torch.get_num_threads(), "workers": distributed.world_size()}
    (logs / "seconds.json").write_text(json.dumps(facts))


def _scalars(epoch: Epoch) -> dict[str, float]:
    scalars = {f"loss/{name}": value for name, value in epoch.terms.items()}
    scalars |= {f"learning_rate/{name}": value for name, value in epoch.learning_rates.items()}
    return scalars | {
        "validation/map_image_to_text": epoch.map_image_to_text,
        "validation/map_text_to_image": epoch.map_text_to_image,
    }
