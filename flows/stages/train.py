"""Train one hashing method on one dataset: dataset and images (or their features) in, model out.

Reads:   the dataset; the images, or the features where the backbone is frozen
Writes:  model.safetensors, backbone.safetensors, config.json, vocabulary.txt, labels.txt, metrics.jsonl
         (one epoch a line; none where a method is solved for), README.md (the model card), logs/
         (TensorBoard, seconds.json), unified.safetensors (of some methods, see `train_worker.fit_shallow`)
Resumes: from the last checkpoint of the same target, after a lost worker or after the whole flow died;
         checkpoints lie beside the artifact, in `ray-run`, until training has ended
"""

import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from cmh.training import trainer
from flows import prefect_ui, sources
from flows.experiment import Resources
from flows.run import Run
from flows.stages import train_worker
from flows.stages.artifact_task import artifact_task
from infra import ray_cluster
from infra.artifacts import Draft, Ref, Target
from infra.logging import Advance
from infra.storage import Store

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
    return Target(
        "model",
        f"{experiment.method}-{run.entry.name}",
        config={
            "method": experiment.method,
            "settings": run.settings,
            "training": training | {"seed": experiment.seed},
            "trainer": trainer.REVISION,
            "backbone": backbone,
        },
        inputs={"dataset": dataset.content, source.kind: source.content},
        revision=run.method.REVISION,
    )


@artifact_task(name="train")
def make(store: Store, draft: Draft, run: Run, dataset: Ref, source: Ref, resources: Resources) -> None:
    """Fit the method with Ray Train, the global batch split over the workers; or solve for it, here.

    Raises:
        ValueError, TrainingFailure: as `cmh.training.trainer.fit`.
    """
    folder = f"{draft.target.address}/ray-run"
    cpus = max(1, resources.threads // resources.workers)
    job = train_worker.TrainingJob(store.url, run, dataset, source, draft.prefix, folder, cpus)
    if run.is_shallow:
        draft.run |= {"threads": cpus}
        train_worker.fit_shallow(store, job)
        return
    draft.run |= {"workers": resources.workers, "threads": cpus, "gpu": resources.gpu}
    with (
        ray_cluster.connect(resources.ray, cpus=cpus * resources.workers) as dashboard,
        prefect_ui.progress("epochs of training", run.experiment.training.epochs) as advance,
        _followed(store, folder, advance),
    ):
        draft.run["dashboard"] = dashboard
        error = ray_cluster.train(
            train_worker.loop,
            {"job": job},
            store=store,
            folder=folder,
            workers=resources.workers,
            cpus=cpus,
            gpu=resources.gpu,
        )
    if error is not None:
        raise error
    store.delete(folder)


def _told(epoch: dict[str, Any]) -> str:
    """Return an epoch in a line of the log."""
    return (
        f"epoch {epoch['number']}: loss {sum(epoch['terms'].values()):.4g}, validation MAP image to text "
        f"{epoch['map_image_to_text']:.3f}, text to image {epoch['map_text_to_image']:.3f}"
    )


@contextmanager
def _followed(store: Store, folder: str, advance: Advance) -> Iterator[None]:
    """Advance by each epoch that the workers report as done."""
    ended = threading.Event()

    def follow() -> None:
        seen = 0
        while True:
            last = ended.wait(_LOOK_EVERY)
            epoch: dict[str, Any] = {"number": 0}
            with suppress(FileNotFoundError, ValueError):  # not yet, or being written
                epoch = json.loads(store.read_bytes(f"{folder}/{train_worker.PROGRESS}"))
            done = epoch["number"]
            if done > seen:
                advance(done - seen)
                _log.info(_told(epoch))
                seen = done
            if last:
                return

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
