"""What every training process does: open the data, build the method, fit, keep checkpoints, write the model.

Imported by Ray's workers, so nothing here needs Prefect.
"""

import json
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from logging import getLogger
from pathlib import Path

import numpy as np
import ray.train
import torch
import zarr
from ray.train.torch import get_device
from safetensors import SafetensorError
from safetensors.numpy import save
from torch.utils.tensorboard import SummaryWriter

from cmh import distributed
from cmh import model as models
from cmh.codes import hamming
from cmh.data.items import Items, read_items
from cmh.hashing.method import Method
from cmh.model_facts import Facts
from cmh.networks import backbones, clip
from cmh.networks.backbones import Backbone
from cmh.training import checkpoint, solver, trainer
from cmh.training.checkpoint import State
from cmh.training.failures import TrainingFailure
from cmh.training.trainer import Epoch
from flows import sources
from flows.run import Run
from flows.stages.model_card import card
from infra import artifacts, logging
from infra.artifacts import Reading, Ref
from infra.logging import TRACEBACK
from infra.storage import Store
from infra.stores import open_store

PROGRESS = "progress.json"


@dataclass(frozen=True)
class TrainingJob:
    """One training run, by addresses."""

    store: str  # URL
    run: Run
    dataset: Ref
    source: Ref  # images, or the features of a frozen backbone
    prefix: str  # in the store, where the model's files go
    folder: str  # in the store, for checkpoints and progress
    threads: int  # of this process


@dataclass(frozen=True)
class TrainingData:
    """What a run reads."""

    train: Items
    validation: Items
    vocabulary: tuple[str, ...]
    labels: tuple[str, ...]

    @property
    def text_dim(self) -> int:
        """Numbers of a text: its features, or the words of the vocabulary."""
        text = self.train.text
        return len(self.vocabulary) if text.dtype == np.int32 else text.shape[1]


_log = getLogger(__name__)


def loop(config: dict[str, TrainingJob]) -> Exception | None:
    """Train on this worker.

    Returns:
        On rank 0, an error that would only come again, for the caller to raise, with the traceback of this
        worker as a note; None if all went well.
    """
    job = config["job"]
    logging.set_up()  # this process was started by Ray, whose log files keep what it prints
    _settle(job.threads)
    try:
        _train(job)
    except (ValueError, TrainingFailure) as error:
        error.add_note(f"{TRACEBACK} on the worker of rank {distributed.rank()}:\n{traceback.format_exc()}")
        return error
    return None


def _train(job: TrainingJob) -> None:
    store = open_store(job.store)
    data = read_data(store, job)
    backbone, method = build(job, data)
    method.to(get_device())
    state, seconds = _last_checkpoint()
    history = trainer.fit(
        method,
        data.train,
        data.validation,
        job.run.trainer_config,
        state=state,
        on_epoch=_keeper(store, job, seconds),
    )
    if distributed.rank() == 0:
        write_model(store, job, model_of(job, method, backbone, data), history, seconds)


def _settle(threads: int) -> None:
    """Set the number of threads, and what gives the same result each time, on GPUs too."""
    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True


def read_data(store: Store, job: TrainingJob) -> TrainingData:
    """Read the training and validation items, and the names of words and labels."""
    dataset = artifacts.open_artifact(store, job.dataset)
    items = zarr.open_group(dataset.zarr("dataset.zarr"), mode="r")
    source = artifacts.open_artifact(store, job.source)
    images = zarr.open_group(source.zarr(f"{job.source.kind}.zarr"), mode="r")
    read = partial(
        read_items,
        items,
        images,
        maps=job.run.grid > 1,
        sequences=job.run.method.sequences,
        image_size=job.run.experiment.backbone.image_size,
    )
    return TrainingData(
        train=read("train"),
        validation=read("validation"),
        vocabulary=_lines(dataset, "vocabulary.txt"),
        labels=_lines(dataset, "labels.txt"),
    )


def _lines(reading: Reading, name: str) -> tuple[str, ...]:
    return tuple(reading.read_bytes(name).decode().splitlines())


def build(job: TrainingJob, data: TrainingData) -> tuple[Backbone, Method]:
    """Return backbone and method with fresh weights, the same on every worker."""
    settings = job.run.experiment.backbone
    torch.manual_seed(job.run.experiment.seed)
    if job.run.brings_features:
        backbone = backbones.without_network(data.train.image_channels)
    else:
        backbone = backbones.load(settings.name, sources.network_weights(settings))
    torch.manual_seed(job.run.experiment.seed)  # whatever the backbone drew
    method = models.build(
        job.run.experiment.method,
        job.run.settings,
        backbone,
        frozen=job.source.kind == "features",
        text_dim=data.text_dim,
        labels=len(data.labels),
    )
    return backbone, method


def _last_checkpoint() -> tuple[State | None, list[float]]:
    """Return the state to go on from, and the seconds each epoch took until then."""
    last = ray.train.get_checkpoint()
    if last is None:
        return None, []
    with last.as_directory() as folder:
        try:
            seconds = json.loads((Path(folder) / "seconds.json").read_text())
            return checkpoint.load(Path(folder)), seconds
        except (SafetensorError, ValueError, KeyError, FileNotFoundError) as error:
            _log.warning("the last checkpoint is damaged (%s); training starts anew", error)
            return None, []


def _keeper(store: Store, job: TrainingJob, seconds: list[float]) -> Callable[[Epoch, State], None]:
    """Return what reports each epoch to Ray, with a checkpoint from rank 0, and to the flow."""
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


def model_of(job: TrainingJob, method: Method, backbone: Backbone, data: TrainingData) -> models.Model:
    """Return what was trained, with all that it takes to encode."""
    facts, text = _facts(job, method, backbone, data), job.run.experiment.text
    network = clip.load_text(Path(sources.network_weights(text))) if text.is_network else None
    return models.Model(method, backbone, facts, data.vocabulary, data.labels, network)


def _facts(job: TrainingJob, method: Method, backbone: Backbone, data: TrainingData) -> Facts:
    settings = job.run.experiment.backbone
    given = data.train.image_channels if job.run.brings_features else None
    return models.facts(
        job.run.experiment.method,
        method,
        job.run.settings,
        settings.name if given is None else "none",
        backbone.pretrained,
        grid=job.run.grid if job.source.kind == "features" else None,
        given=given,
        stored_size=job.run.entry.images.size,
        image_size=settings.image_size,
        text=job.run.experiment.text.name,
        text_dim=data.text_dim,
        labels=len(data.labels),
        length=data.train.text.shape[1] if method.sequences else None,
    )


def write_model(
    store: Store, job: TrainingJob, model: models.Model, history: list[Epoch], seconds: list[float]
) -> None:
    """Write the model's files, its card, its metrics, and logs; only the logs hold times."""
    with tempfile.TemporaryDirectory() as folder:
        _fill(Path(folder), job, model, history, seconds)
        for file in sorted(path for path in Path(folder).rglob("*") if path.is_file()):
            store.write_bytes(f"{job.prefix}/{file.relative_to(folder).as_posix()}", file.read_bytes())


def _fill(
    folder: Path, job: TrainingJob, model: models.Model, history: list[Epoch], seconds: list[float]
) -> None:
    models.save(model, folder)
    lines = [json.dumps(asdict(epoch) | {"score": epoch.score}, sort_keys=True) for epoch in history]
    (folder / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines))
    (folder / "README.md").write_text(card(job.run, model.facts, history))
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


def fit_shallow(store: Store, job: TrainingJob) -> None:
    """Fit a method without phases here, on all training items at once, and write the model's files.

    Writes also unified.safetensors {code (n, P) uint8, row (n,) int64} where the method learns codes of both
    modalities together: those of the training items.

    Raises:
        ValueError: as `cmh.training.solver.fit`.
    """
    torch.set_num_threads(job.threads)
    data = read_data(store, job)
    backbone, method = build(job, data)
    began = time.perf_counter()
    unified_NK = solver.fit(method, data.train, job.run.experiment.seed)
    seconds = time.perf_counter() - began
    write_model(store, job, model_of(job, method, backbone, data), [], [seconds])
    if unified_NK is not None:
        code_NP = np.ascontiguousarray(hamming.pack(unified_NK))  # safetensors writes memory as it lies
        data_bytes = save({"code": code_NP, "row": data.train.row})
        store.write_bytes(f"{job.prefix}/unified.safetensors", data_bytes)
