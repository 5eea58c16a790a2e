"""Train one hashing method on one dataset: dataset and images (or their features) in, model out.

Reads:   the dataset; the images, or the features where the backbone is frozen
Writes:  model.safetensors, backbone.safetensors, config.json, vocabulary.txt, labels.txt, metrics.jsonl
         (one epoch a line; none where a method is solved for), README.md (the model card), logs/
         (TensorBoard, seconds.json), unified.safetensors (of some methods, see `solve_worker.fit`)
Resumes: from the last checkpoint of the same target, after a lost worker or after the whole flow died;
         checkpoints lie beside the artifact, in `checkpoints`, until training has ended
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from cmh.training import trainer
from flows import prefect_ui, sources
from flows.resources import HERE, Resources
from flows.run import Run
from flows.stages import checkpoints, solve_worker, train_worker
from flows.stages.artifact_task import artifact_task
from infra import metrics, process_pool
from infra.artifacts import Draft, Ref, Target
from infra.logging import Advance
from infra.storage import StorageError, Store

_log = logging.getLogger(__name__)
_LOOK_EVERY = 1.0  # seconds between two looks at how far the run is


def target(run: Run, dataset: Ref, source: Ref) -> Target:
    """Return the target of the model that a run trains; `source` holds images or their features."""
    experiment = run.experiment
    # What a method without phases learns depends on no epochs and batches.
    training = {} if run.is_shallow else experiment.training.model_dump()
    backbone: dict[str, Any] = {}  # none, where the dataset brings features
    if not run.brings_features:
        backbone = experiment.backbone.model_dump() | {
            "weights": sources.identity_of_weights(experiment.backbone)
        }
    start = {} if run.start is None else {"start_from": run.start.content}
    kept = run.start is not None and not run.start.is_folder  # in the store, whose lineage then leads to it
    return Target(
        "model",
        f"{experiment.method}-{run.entry.name}",
        config={
            "method": experiment.method,
            "settings": run.settings,
            "training": training | {"seed": experiment.seed},
            "trainer": trainer.REVISION,
            "backbone": backbone,
        }
        | ({} if kept else start),
        inputs={"dataset": dataset.content, source.kind: source.content} | (start if kept else {}),
        revision=run.method.REVISION,
    )


@artifact_task(name="train")
def make(store: Store, draft: Draft, run: Run, dataset: Ref, source: Ref, resources: Resources) -> None:
    """Fit the method, the global batch split over the workers; or solve for it, here.

    Raises:
        ValueError, TrainingFailure: as `cmh.training.trainer.fit`.
    """
    folder = f"{draft.target.address}/checkpoints"
    cpus = max(1, resources.threads // resources.workers)
    job = train_worker.TrainingJob(store.url, run, dataset, source, draft.prefix, folder, cpus)
    if run.is_shallow:
        draft.run |= {"threads": cpus}
        solve_worker.fit(store, job)
        return
    draft.run |= {"workers": resources.workers, "threads": cpus, "gpu": resources.gpu}
    with (
        prefect_ui.progress("epochs of training", run.experiment.training.epochs) as advance,
        _followed(store, folder, run, advance),
    ):
        error = _in_a_process(job) if resources.trains_in_a_process else _on_ray(store, draft, job, resources)
    if error is not None:
        raise error
    store.delete(folder)


@artifact_task(name="train")
def make_here(store: Store, draft: Draft, run: Run, dataset: Ref, source: Ref) -> None:
    """Fit the method on one thread of this process, which is one of many that each train a model.

    Raises:
        ValueError, TrainingFailure: as `cmh.training.trainer.fit`.
    """
    folder = f"{draft.target.address}/checkpoints"
    job = train_worker.TrainingJob(store.url, run, dataset, source, draft.prefix, folder, threads=1)
    draft.run |= {"workers": 1, "threads": 1, "gpu": False}
    if run.is_shallow:
        solve_worker.fit(store, job)
        return
    error = train_worker.loop(job)
    if error is not None:
        raise error
    store.delete(folder)


def _in_a_process(job: train_worker.TrainingJob) -> Exception | None:
    """Train in one process of this machine: if it dies, another goes on."""
    with process_pool.start(1) as pool:
        return pool.map_parts(train_worker.loop, [job], describe=lambda job: f"training {job.folder}")[0]


def _on_ray(
    store: Store, draft: Draft, job: train_worker.TrainingJob, resources: Resources
) -> Exception | None:
    from infra import ray_cluster  # which others are spared

    address = None if resources.ray == HERE else resources.ray
    batch = job.run.trainer_config.batch_size
    with ray_cluster.connect(address, cpus=job.threads * resources.workers) as dashboard:
        draft.run["dashboard"] = dashboard
        error: Exception | None = ray_cluster.train(
            train_worker.loop,
            job,
            store=store,
            folder=f"{job.folder}/ray",
            workers=resources.workers,
            cpus=job.threads,
            gpu=resources.gpu,
            fewer=[count for count in range(1, resources.workers) if batch % count == 0],
        )
    return error


def _told(epoch: dict[str, Any]) -> str:
    """Return an epoch in a line of the log."""
    measured = ", ".join(
        f"{name.replace('map_', 'MAP ').replace('_', ' ')} {value:.3f}"
        for name, value in epoch["validation"].items()
    )
    return f"epoch {epoch['number']}: loss {sum(epoch['terms'].values()):.4g}, validation {measured}"


def _look(store: Store, folder: str) -> checkpoints.Progress | None:
    with suppress(StorageError):  # an outage; whoever trains says so if it lasts
        return checkpoints.progress(store, folder)
    return None


def _figures(epoch: dict[str, Any]) -> dict[str, float]:
    """Return the figures of an epoch, by the names that logs and metrics have for them."""
    return {"epoch": epoch["number"], "loss": sum(epoch["terms"].values()), **epoch["validation"]}


def _count(progress: checkpoints.Progress, seen: int, run: Run) -> None:
    """Count the epochs after `seen`."""
    model = {"method": run.experiment.method, "dataset": run.entry.name, "bits": run.experiment.bits}
    number = progress.epoch["number"]
    metrics.add(metrics.EPOCHS, number - seen, **model)
    metrics.add(metrics.EPOCH_SECONDS, sum(progress.seconds[seen:number]), **model)
    metrics.put(metrics.EPOCH, number, **model)
    metrics.put(metrics.LOSS, sum(progress.epoch["terms"].values()), **model)
    for figure, value in progress.epoch["validation"].items():
        metrics.put(metrics.VALIDATION, value, **model, figure=figure)
    metrics.write()


@contextmanager
def _followed(store: Store, folder: str, run: Run, advance: Advance) -> Iterator[None]:
    """Advance by each epoch that the workers report as done."""
    ended = threading.Event()

    def follow() -> None:
        seen = 0
        before = _look(store, folder)  # of a run that was broken off
        if before is not None:
            seen = before.epoch["number"]
            advance(seen)
        while True:
            last = ended.wait(_LOOK_EVERY)
            progress = _look(store, folder)
            if progress is not None and progress.epoch["number"] > seen:
                advance(progress.epoch["number"] - seen)
                _log.info(_told(progress.epoch), extra={"fields": _figures(progress.epoch)})
                _count(progress, seen, run)
                seen = progress.epoch["number"]
            if last:
                return

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
