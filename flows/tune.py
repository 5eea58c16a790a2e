"""Tune a method on a dataset: train at points around its recipe, and keep the one that validates best.

Reads:   the dataset, and images or features of them, which are made once
Writes:  a model for each trial, as `cmh run` would with its settings; the recipe is returned
Resumes: trial by trial, also of an earlier and smaller search

The query split is never read.  Without Ray or a GPU, trials are parts of work like any other: on processes of
this machine with a thread each, or on the workers of a Dask cluster.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from prefect import flow
from pydantic import AfterValidator, BaseModel, Field

from cmh import methods
from cmh.training import search_space
from cmh.training.failures import TrainingFailure
from cmh.training.search_space import Trial
from data_catalog.recipes import Budget, Recipe
from flows import engines, pipeline, prefect_ui, preflight
from flows.experiment import BackboneSettings, Experiment, TextSettings, TrainingSettings
from flows.resources import Resources
from flows.run import Run, resolve
from flows.stages import train, trials
from flows.stages.trials import Outcome, TrialJob
from infra import provenance
from infra.artifacts import Ref
from infra.storage import Store
from infra.stores import open_store

_log = logging.getLogger(__name__)
_OF = Experiment.model_fields


def _known_method(name: str) -> str:
    methods.load(name)
    return name


class Tuning(BaseModel, frozen=True, extra="forbid"):
    """What is tuned on what, and for how long."""

    method: Annotated[str, AfterValidator(_known_method)] = Field(description="a file of cmh/methods")
    dataset: str = Field("emoji", description=_OF["dataset"].description)
    trials: int = Field(20, ge=1, le=1000, description="training runs, the recipe as it stands among them")
    images: Path | None = Field(None, description=_OF["images"].description)
    items: Path | None = Field(None, description=_OF["items"].description)
    columns: str = Field("", description=_OF["columns"].description)
    protocol: str | None = Field(None, description=_OF["protocol"].description)
    bits: Annotated[int, _OF["bits"]] = 64
    seed: int = Field(0, ge=0, description="of every trial, and of where the search looks")
    settings: dict[str, Any] = Field(
        default_factory=dict, description="fields of the method's Config that stay as they are given"
    )
    limit: int | None = Field(None, ge=32, description=_OF["limit"].description)
    backbone: BackboneSettings = BackboneSettings()
    text: TextSettings = TextSettings()
    training: TrainingSettings = TrainingSettings()

    @property
    def experiment(self) -> Experiment:
        """Return the run of the recipe as it stands."""
        return Experiment(**{name: getattr(self, name) for name in self.model_fields_set & _OF.keys()})


@dataclass(frozen=True)
class Tried:
    """A trial and what came of it."""

    number: int  # from 1
    trial: Trial
    outcome: Outcome


@dataclass(frozen=True)
class Tuned:
    """What a search gave."""

    dataset: str
    recipe: Recipe
    tried: list[Tried]


def plan(wanted: Tuning, resources: Resources) -> list[Trial]:
    """Return what would be tried.

    Raises:
        ValueError, OSError: the search cannot work.
    """
    return _trials(wanted, _checked(wanted, resources))


@flow(name="tune", persist_result=False, validate_parameters=False)
def tune(wanted: Tuning, resources: Resources, report: Callable[[str], None] | None = None) -> Tuned:
    """Train every trial that is not there yet, and return the recipe of the best.

    Raises:
        ValueError, OSError: the search cannot work; said before any work.
        TrainingFailure: every trial failed.
    """
    run = _checked(wanted, resources)
    planned = _trials(wanted, run)
    engines.prepare(resources)
    jobs = _jobs(wanted, resources, run, planned)
    tried: list[Tried] = []
    with prefect_ui.progress("trials", len(jobs)) as advance:

        def note(job: TrialJob, outcome: Outcome) -> None:
            tried.append(Tried(job.number, planned[job.number - 1], outcome))
            advance(1)
            if report is not None:
                report(_line(tried[-1], len(jobs)))

        _train_all(jobs, resources, note)
    return _best(wanted, run, sorted(tried, key=lambda one: one.number))


def _checked(wanted: Tuning, resources: Resources) -> Run:
    run = resolve(wanted.experiment)
    preflight.check(run, resources)
    if not run.entry.split.validation:
        raise ValueError(
            f"{run.entry.name} has no validation items, by which trials are told apart; name a protocol that "
            "has some (--protocol, `cmh catalog NAME`), or copy its entry to a file of yours and add "
            "`validation: 0.1` to its split"
        )
    return run


def _trials(wanted: Tuning, run: Run) -> list[Trial]:
    batch_size = None if run.is_shallow else wanted.training.batch_size
    return search_space.trials(run.config, wanted.settings, batch_size, wanted.trials, wanted.seed)


def _jobs(wanted: Tuning, resources: Resources, run: Run, planned: list[Trial]) -> list[TrialJob]:
    """Make what all trials read, and return a job for each."""
    done = pipeline.run_within_flow(wanted.experiment, resources, _until(run))
    refs: dict[str, Ref] = {one.ref.kind: one.ref for one in done}
    dataset, source = pipeline.read_texts(refs), pipeline.source(refs)
    preflight.check_dataset(open_store(), refs["dataset"], run)
    return [
        TrialJob(number, open_store().url, resolve(_with(wanted.experiment, one), run.entry), dataset, source)
        for number, one in enumerate(planned, start=1)
    ]


def _until(run: Run) -> str:
    """Return the last stage before training."""
    return [stage.kind for stage in pipeline.stages(run, "model")][-2]


def _with(experiment: Experiment, trial: Trial) -> Experiment:
    training = experiment.training.model_copy(update={"batch_size": trial.batch_size})
    if methods.is_shallow(experiment.method):
        training = experiment.training
    return experiment.model_copy(update={"settings": trial.settings, "training": training})


def _train_all(jobs: list[TrialJob], resources: Resources, note: Callable[[TrialJob, Outcome], None]) -> None:
    """Train side by side; on Ray, or with a GPU, one after the other, each as `cmh run` trains."""
    if resources.trains_in_a_process:
        with engines.workers(resources) as workers:
            workers.map_parts(
                trials.made_here, jobs, describe=lambda job: f"trial {job.number}", on_done=note
            )
        return
    for job in jobs:
        note(job, _on_ray(open_store(), job, resources))


def _on_ray(store: Store, job: TrialJob, resources: Resources) -> Outcome:
    target = train.target(job.run, job.dataset, job.source)
    try:
        model = train.make(store, target, job.run, job.dataset, job.source, resources)
        return Outcome(trials.score(store, model, job))
    except (TrainingFailure, ValueError) as error:
        return Outcome(None, error=str(error))


def _line(tried: Tried, count: int) -> str:
    """Return a trial in a line."""
    outcome = tried.outcome
    found = f"{outcome.score:.4f}" if outcome.score is not None else f"failed: {outcome.error}"
    settings = ", ".join(f"{name} {value}" for name, value in tried.trial.settings.items())
    there = ", was there" if outcome.cached else ""
    what = settings if tried.number > 1 else "the recipe as it stands"
    return f"trial {tried.number} of {count}{there}: {found}  {what}"


def _best(wanted: Tuning, run: Run, tried: list[Tried]) -> Tuned:
    ended = [one for one in tried if one.outcome.score is not None]
    if not ended:
        raise TrainingFailure(
            f"all {len(tried)} trials failed, the last: {tried[-1].outcome.error}; nothing was chosen: give "
            f"other --settings (`cmh methods {wanted.method}`), or more data"
        )
    best = max(ended, key=_score)
    recipe = Recipe(
        method=wanted.method,
        images=run.read.images,
        texts=run.read.texts,
        settings=best.trial.settings,
        batch_size=None if run.is_shallow else best.trial.batch_size,
        budget=Budget(trials=len(tried), epochs=None if run.is_shallow else wanted.training.epochs),
        failed=len(tried) - len(ended),
        bits=wanted.bits,
        seed=wanted.seed,
        validation=round(_score(best), 4),
        untuned=None if tried[0].outcome.score is None else round(_score(tried[0]), 4),
        commit=provenance.commit(),
    )
    return Tuned(run.entry.name, recipe, tried)


def _score(tried: Tried) -> float:
    assert tried.outcome.score is not None
    return tried.outcome.score


def changes(tuned: Tuned) -> dict[str, tuple[Any, Any]]:
    """Return what the recipe changes: setting → the value of the short recipe, and the new one."""
    recipe = tuned.recipe
    first = tuned.tried[0].trial
    short = methods.config(recipe.method, bits=recipe.bits, **methods.load(recipe.method).SHORT)
    changed = {name: (getattr(short, name), value) for name, value in recipe.settings.items()}
    if recipe.batch_size not in (None, first.batch_size):
        changed["batch_size"] = (first.batch_size, recipe.batch_size)
    return changed
