"""What every training process does: open the data, build the method, fit, keep checkpoints, write the model.

Imported by the processes that train, so nothing here needs Prefect or Ray.
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
import torch
import zarr

from cmh import distributed
from cmh import model as models
from cmh.data import schema
from cmh.data.items import Items, read_items
from cmh.hashing.method import Method
from cmh.hashing.model_facts import Facts
from cmh.networks import backbones
from cmh.networks.backbones import Backbone
from cmh.networks.text_encoders import WORDS
from cmh.training import trainer
from cmh.training.checkpoint import State
from cmh.training.failures import TrainingFailure
from cmh.training.trainer import Epoch
from flows import sources
from flows.run import Run
from flows.stages import checkpoints
from flows.stages.model_card import card
from infra import artifacts, logging
from infra.artifacts import Reading, Ref
from infra.logging import TRACEBACK
from infra.storage import Store
from infra.stores import open_store


@dataclass(frozen=True)
class TrainingJob:
    """One training run, by addresses."""

    store: str  # URL
    run: Run
    dataset: Ref
    source: Ref  # images, or the features of a frozen backbone
    prefix: str  # in the store, where the model's files go
    folder: str  # in the store, for the checkpoint
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


def loop(job: TrainingJob, device: torch.device | str = "cpu") -> Exception | None:
    """Train in this process, from the last checkpoint on; with Ray, as one of a group.

    Returns:
        On rank 0, an error that would only come again, for the caller to raise, with the traceback of this
        worker as a note; None if all went well.
    """
    logging.set_up_worker()  # Ray's log files keep what it prints, or the terminal
    _settle(job.threads)
    try:
        _train(job, device)
    except (ValueError, TrainingFailure) as error:
        error.add_note(f"{TRACEBACK} on the worker of rank {distributed.rank()}:\n{traceback.format_exc()}")
        return error
    return None


def _train(job: TrainingJob, device: torch.device | str) -> None:
    store = open_store(job.store)
    data = read_data(store, job)
    backbone, method = build(job, data)
    if job.run.start is not None:
        models.adopt(method, data.vocabulary, models.load(job.run.start.folder(store)))
    method.to(device)
    state, seconds = checkpoints.last(store, job.folder)
    history = trainer.fit(
        method,
        data.train,
        data.validation,
        job.run.trainer_config,
        state=state,
        on_epoch=_keeper(store, job, seconds),
        trained=job.run.start is not None,
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
    rows = {name: schema.array(items, f"split/{name}")[:] for name in ("train", "validation")}
    if job.run.method.reads_labels == "always":  # items without labels would be taken for irrelevant to all
        rows = {name: schema.labelled(items, row_n) for name, row_n in rows.items()}
    return TrainingData(
        train=read(rows["train"], labels="train_label" if "train_label" in items else "label"),
        validation=read(rows["validation"]),
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


def _keeper(store: Store, job: TrainingJob, seconds: list[float]) -> Callable[[Epoch, State], None]:
    """Return what keeps a checkpoint after each epoch, on rank 0."""
    began = time.perf_counter()

    def keep(epoch: Epoch, state: State) -> None:
        nonlocal began
        seconds.append(time.perf_counter() - began)
        if distributed.rank() == 0:
            checkpoints.keep(store, job.folder, epoch, state, seconds)
        began = time.perf_counter()

    return keep


def model_of(job: TrainingJob, method: Method, backbone: Backbone, data: TrainingData) -> models.Model:
    """Return what was trained, with all that it takes to encode."""
    facts, text = _facts(job, method, backbone, data), job.run.text
    network = sources.text_encoder(text) if text.is_network else None
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
        text=job.run.text.name or WORDS,
        words=job.run.text.words,
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
    from torch.utils.tensorboard import SummaryWriter  # which plans go without

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
    return scalars | {f"validation/{name}": value for name, value in epoch.validation.items()}
