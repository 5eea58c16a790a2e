"""The pipeline: from the sources of a dataset to a report, one artifact after the other.

`STAGES` is the whole of it, in order.  `start`, and through it every flow, makes what is not in the store
yet; `plan` only looks it up.  To add a stage, write its file in `flows/stages` and its row here.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from flows import engines, prefect_ui, preflight
from flows.experiment import Experiment
from flows.resources import Resources
from flows.run import Run, resolve
from flows.stages import dataset, encode, evaluate, features, images, precomputed, texts, train
from infra import artifacts, logging, metrics, reachable, signals
from infra.artifacts import Ref, Target
from infra.storage import Store
from infra.stores import open_store

Refs = Mapping[str, Ref]
"""Kind → artifact of the stages before."""


@dataclass(frozen=True)
class Place:
    """Where a stage runs and where its artifact goes."""

    store: Store
    resources: Resources


@dataclass(frozen=True)
class Stage:
    """One artifact of the pipeline."""

    kind: str  # of its artifact, and the name of the stage
    needs: Callable[[Run], bool]  # whether a run has this stage
    target: Callable[[Run, Refs], Target]
    make: Callable[[Place, Target, Run, Refs], Ref]


def source(refs: Refs) -> Ref:
    """Return what training reads of the images: features of them, or themselves."""
    return refs.get("features") or refs["images"]


def read_texts(refs: Refs) -> Ref:
    """Return the dataset as the method reads it: with features of its texts, or with words."""
    return refs.get("texts") or refs["dataset"]


STAGES: tuple[Stage, ...] = (
    Stage(
        "features",
        needs=lambda run: run.brings_features,
        target=lambda run, refs: precomputed.features_target(run.entry),
        make=lambda at, target, run, refs: precomputed.make_features(at.store, target, run.entry),
    ),
    Stage(
        "dataset",
        needs=lambda run: run.brings_features,
        target=lambda run, refs: precomputed.dataset_target(refs["features"], run.entry),
        make=lambda at, target, run, refs: precomputed.make_dataset(at.store, target, run.entry),
    ),
    Stage(
        "images",
        needs=lambda run: not run.brings_features,
        target=lambda run, refs: images.target(run.entry, run.experiment.limit),
        make=lambda at, target, run, refs: images.make(
            at.store, target, run.entry, run.experiment.limit, at.resources
        ),
    ),
    Stage(
        "dataset",
        needs=lambda run: not run.brings_features,
        target=lambda run, refs: dataset.target(refs["images"], run.entry, run.experiment.limit),
        make=lambda at, target, run, refs: dataset.make(
            at.store, target, refs["images"], run.entry, run.experiment.limit
        ),
    ),
    Stage(
        "texts",
        needs=lambda run: not run.brings_features and run.text.is_network,
        target=lambda run, refs: texts.target(refs["dataset"], run.text),
        make=lambda at, target, run, refs: texts.make(
            at.store, target, refs["dataset"], run.text, at.resources
        ),
    ),
    Stage(
        "features",
        needs=lambda run: not run.brings_features and run.experiment.backbone.frozen,
        target=lambda run, refs: features.target(refs["images"], run.experiment.backbone, run.grid),
        make=lambda at, target, run, refs: features.make(
            at.store, target, refs["images"], run.experiment.backbone, at.resources, run.grid
        ),
    ),
    Stage(
        "model",
        needs=lambda run: True,
        target=lambda run, refs: train.target(run, read_texts(refs), source(refs)),
        make=lambda at, target, run, refs: train.make(
            at.store, target, run, read_texts(refs), source(refs), at.resources
        ),
    ),
    Stage(
        "codes",
        needs=lambda run: True,
        target=lambda run, refs: encode.target(refs["model"], read_texts(refs), source(refs)),
        make=lambda at, target, run, refs: encode.make(
            at.store, target, refs["model"], read_texts(refs), refs.get("images") or refs["features"],
            source(refs), at.resources,
        ),
    ),
    Stage(
        "report",
        needs=lambda run: True,
        target=lambda run, refs: evaluate.target(refs["codes"], read_texts(refs), run.experiment.evaluation),
        make=lambda at, target, run, refs: evaluate.make(
            at.store, target, refs["codes"], read_texts(refs), run.experiment.evaluation, at.resources
        ),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Done:
    """A stage that was run."""

    ref: Ref
    state: str  # computed, or cached
    seconds: float


@dataclass(frozen=True)
class Planned:
    """A stage that was looked up."""

    stage: str
    state: str
    address: str | None = None
    size: int | None = None  # bytes in the store


def stages(run: Run, until: str = "report") -> list[Stage]:
    """Return the stages of a run, in order, as far as the one that makes `until`.

    Raises:
        ValueError: this run has no such stage.
    """
    every = [stage for stage in STAGES if stage.needs(run)]
    kinds = [stage.kind for stage in every]
    if until not in kinds:
        raise ValueError(
            f"this run has no stage {until}: its backbone is trained along, and no features of it are kept; "
            f"it has {', '.join(kinds)}"
        )
    return every[: kinds.index(until) + 1]


def start(experiment: Experiment, resources: Resources, until: str = "report") -> list[Done]:
    """Run the pipeline as far as `until`, as the Prefect flow `cross-modal-hashing`.

    Raises:
        ValueError, OSError: the run cannot work; said before Prefect's server is started for it.
        TrainingFailure: training went wrong.
    """
    return start_resolved(_checked(experiment, resources, until), resources, until)


def start_resolved(run: Run, resources: Resources, until: str = "report") -> list[Done]:
    """Run the pipeline for a run that `preflight` has checked; without Prefect where all is in the store."""
    if (done := _all_cached(run, until)) is not None:
        return done
    engines.prepare(resources)
    from prefect import flow  # after the line above: both take seconds

    # Prefect keeps parameters: these say what was asked for, and hold none of the sources' addresses.
    @flow(name="cross-modal-hashing", flow_run_name=run.name, persist_result=False, validate_parameters=False)
    def chain(experiment: Experiment, resources: Resources, until: str) -> list[Done]:
        signals.take_back()
        return _chain(run, resources, until)

    return chain(run.experiment, resources, until)


def run_within_flow(experiment: Experiment, resources: Resources, until: str) -> list[Done]:
    """Run the pipeline in the Prefect flow that calls it, such as that of a deployment; raises as `start`."""
    return _chain(_checked(experiment, resources, until), resources, until)


def _checked(experiment: Experiment, resources: Resources, until: str) -> Run:
    run = resolve(experiment)
    stages(run, until)
    preflight.check(run, resources)
    return run


def _chain(run: Run, resources: Resources, until: str) -> list[Done]:
    flow_run = prefect_ui.note_flow_run()
    place = Place(open_store(), resources)
    facts = {"run": run.name, **flow_run, "method": run.experiment.method, "dataset": run.entry.name}
    with logging.within(**facts), reachable.watched("PREFECT_API_URL", prefect_ui.server()):
        done = list(_each(place, run, until))
    prefect_ui.links(place.store, [one.ref for one in done])
    return done


def _each(place: Place, run: Run, until: str) -> Iterator[Done]:
    """Make one artifact after the other."""
    refs: dict[str, Ref] = {}
    wanted = stages(run, until)
    for stage in wanted:
        began = time.perf_counter()
        target = stage.target(run, refs)
        cached = artifacts.lookup(place.store, target) is not None
        refs[stage.kind] = stage.make(place, target, run, refs)
        yield Done(refs[stage.kind], "cached" if cached else "computed", time.perf_counter() - began)
        if stage.kind == "dataset" and _trains(wanted):
            preflight.check_dataset(place.store, refs["dataset"], run)
        if stage.kind == "report":
            prefect_ui.report(place.store, refs["report"])


def _trains(wanted: Sequence[Stage]) -> bool:
    return any(stage.kind == "model" for stage in wanted)


def plan(experiment: Experiment, resources: Resources, until: str = "report") -> list[Planned]:
    """Look every stage up and compute nothing; an address is known once the stages before are done.

    Raises:
        ValueError, OSError: the run cannot work.
    """
    return plan_resolved(_checked(experiment, resources, until), until)


def plan_resolved(run: Run, until: str = "report") -> list[Planned]:
    """Look up every stage of a run that `preflight` has checked."""
    store, planned = open_store(), []
    wanted = stages(run, until)
    for stage, target, ref in _looked_up(store, run, wanted):
        if ref is None:
            planned.append(Planned(stage.kind, "to compute", target.address))
            break
        files = artifacts.open_artifact(store, ref).files
        planned.append(Planned(stage.kind, "cached", ref.address, sum(file.size for file in files.values())))
        if stage.kind == "dataset" and _trains(wanted):
            preflight.check_dataset(store, ref, run)
    return planned + [Planned(stage.kind, "to compute") for stage in wanted[len(planned) :]]


def _looked_up(store: Store, run: Run, wanted: Sequence[Stage]) -> Iterator[tuple[Stage, Target, Ref | None]]:
    """Yield each stage with its artifact, as far as the first that is not there yet."""
    refs: dict[str, Ref] = {}
    for stage in wanted:
        target = stage.target(run, refs)
        ref = artifacts.lookup(store, target)
        yield stage, target, ref
        if ref is None:
            return
        refs[stage.kind] = ref


def _all_cached(run: Run, until: str) -> list[Done] | None:
    """Return every stage of a run, if all of them are in the store."""
    done, began = [], time.perf_counter()
    for _, _, ref in _looked_up(open_store(), run, stages(run, until)):
        if ref is None:
            return None
        done.append(Done(ref, "cached", time.perf_counter() - began))
        began = time.perf_counter()
    for one in done:
        metrics.add(metrics.STAGES, stage=one.ref.kind, result="cached")
    metrics.write()
    return done
