"""One trial of a search for settings: a model like any other, and how it does on the validation items.

Workers import this, so nothing here needs Prefect, Ray or Dask.
"""

import json
from dataclasses import dataclass

from cmh import model as models
from cmh.hashing.encoding import relaxed_codes
from cmh.training import validation
from cmh.training.failures import TrainingFailure
from flows.run import Run
from flows.stages import train, train_worker
from infra import artifacts
from infra.artifacts import Ref
from infra.storage import Store
from infra.stores import open_store


@dataclass(frozen=True)
class TrialJob:
    """One training run, by addresses; picklable."""

    number: int  # from 1; the first is the recipe as it stands
    store: str  # URL
    run: Run
    dataset: Ref
    source: Ref  # images, or features of them


@dataclass(frozen=True)
class Outcome:
    """What came of a trial."""

    score: float | None  # the mean of its validation figures, of the best epoch; None where training failed
    cached: bool = False  # whether it had been trained before
    error: str = ""


def made_here(job: TrialJob) -> Outcome:
    """Train in this process, unless that was done before.

    Training that fails is an outcome, too, and so is a batch that is larger than the training set.
    """
    store = open_store(job.store)
    target = train.target(job.run, job.dataset, job.source)
    try:
        model, cached = train.make_here.compute(store, target, job.run, job.dataset, job.source)
        return Outcome(score(store, model, job), cached)
    except (TrainingFailure, ValueError) as error:
        return Outcome(None, error=str(error))


def score(store: Store, model: Ref, job: TrialJob) -> float:
    """Return the figure by which the best epoch is chosen; of a method without epochs, measured here.

    Raises:
        NonFiniteLoss, CollapsedCodes: the codes of the validation items are unusable.
    """
    reading = artifacts.open_artifact(store, model)
    if epochs := [json.loads(line) for line in reading.read_bytes("metrics.jsonl").splitlines()]:
        return max(float(epoch["score"]) for epoch in epochs)
    data = train_worker.read_data(
        store, train_worker.TrainingJob(job.store, job.run, job.dataset, job.source, "", "", threads=1)
    )
    method = models.load(reading.local()).method
    measured = validation.measure(
        method, data.train, data.validation, lambda items, side: relaxed_codes(method, items, side), 0
    )
    return sum(measured.values()) / len(measured)
