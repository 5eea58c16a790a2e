"""Compare methods: a pipeline for each dataset, method, length and seed, and one table of them all.

Reads:   the report of every run
Writes:  the comparison (`flows.stages.tables`)
Resumes: run by run; images, dataset and features are made by the first run and found by the others

Runs follow one another, each with all threads.  Several comparisons on one machine take turns if Prefect has
a global concurrency limit of that name: `prefect gcl create cross-modal-hashing --limit 1`.
"""

from collections.abc import Callable, Mapping
from itertools import product
from typing import Any, NamedTuple

import pyarrow as pa
from prefect import flow
from prefect.concurrency.sync import concurrency
from pydantic import BaseModel, Field

from cmh.evaluation import comparison, instance_recall, paired_tests, report
from cmh.evaluation.paired_tests import ScoredQueries
from cmh.training.failures import TrainingFailure
from data_catalog import catalog
from flows import pipeline, preflight
from flows.experiment import (
    BackboneSettings,
    EvaluationSettings,
    Experiment,
    Recipe,
    TextSettings,
    TrainingSettings,
)
from flows.resources import Resources
from flows.run import Run, read_entry
from flows.run import resolve as run_of
from flows.stages import tables
from flows.variants import Variant, parse
from infra import artifacts
from infra.artifacts import Ref, Target
from infra.storage import Store
from infra.stores import open_store

LIMIT = "cross-modal-hashing"


class ComparedRun(NamedTuple):
    """One pipeline, and the lengths whose figures are read from its report."""

    variant: Variant
    run: Run
    lengths: tuple[int, ...]


class Comparison(BaseModel, frozen=True, extra="forbid"):
    """Which runs are made: every method on every dataset at every length, with every seed."""

    methods: tuple[str, ...] = Field(
        ("scahn", "dspah"),
        min_length=1,
        description="files of cmh/methods, or method:variant; `cmh methods NAME` lists them",
    )
    datasets: tuple[str, ...] = Field(
        ("emoji",), min_length=1, description="entries of data_catalog, or .yaml files of the same form"
    )
    bits: tuple[int, ...] = Field((16, 32, 64), min_length=1, description="code lengths, each trained for")
    seeds: int = Field(3, ge=1, description="runs of each, with the seeds 0, 1, …")
    recipe: Recipe = Field(
        "short", description="as of a run; tuned recipes must have been given the same number of trials"
    )
    protocol: str | None = Field(None, description="how papers take the datasets, as their entries name it")
    limit: int | None = Field(None, ge=32, description="only this many records of each dataset")
    label_noise: float | None = Field(
        None, gt=0, le=1, description="share of the training items that get a wrong label, on purpose"
    )
    backbone: BackboneSettings = BackboneSettings()
    text: TextSettings = TextSettings()
    training: TrainingSettings = TrainingSettings()


class Measured(NamedTuple):
    """What a run adds to a comparison."""

    report: Ref | None  # None where training failed
    rows: list[dict[str, Any]]  # per length and direction, as `comparison.RUNS` has them
    scored: list[ScoredQueries]  # per length and direction


class Resolved(NamedTuple):
    """A comparison with the runs that it consists of."""

    comparison: Comparison
    datasets: tuple[str, ...]  # names, as their entries have them
    runs: list[ComparedRun]  # those that share a dataset one after the other


def resolve(wanted: Comparison) -> Resolved:
    """Read every dataset's entry once, and resolve all runs of a comparison.

    Raises:
        ValueError: a method or dataset is unknown or takes part twice, or a run cannot work.
    """
    entries = [_entry(wanted, dataset) for dataset in wanted.datasets]
    names = tuple(entry.name for entry in entries)
    for what, given in (("datasets", names), ("methods", wanted.methods)):
        if twice := sorted({name for name in given if given.count(name) > 1}):
            raise ValueError(f"{what} named {', '.join(twice)} take part twice; leave one out, or rename it")
    runs = [
        ComparedRun(
            variant, run_of(_experiment(wanted, dataset, variant, trained, lengths, seed), entry), lengths
        )
        for (dataset, entry), variant in product(
            zip(wanted.datasets, entries, strict=True), map(parse, wanted.methods)
        )
        for (trained, lengths), seed in product(
            variant.lengths_to_train(wanted.bits).items(), range(wanted.seeds)
        )
    ]
    for run in {(one.run.entry.name, one.run.experiment.method): one.run for one in runs}.values():
        preflight.check_settings(run)
    _check_budgets([one.run for one in runs])
    return Resolved(wanted, names, runs)


def _entry(wanted: Comparison, dataset: str) -> catalog.Entry:
    """Read the entry as a run does, so that both have the same artifacts."""
    same = {name: getattr(wanted, name) for name in ("protocol", "label_noise", "backbone")}
    return read_entry(Experiment(dataset=dataset, **same))


def _check_budgets(runs: list[Run]) -> None:
    """Refuse tuned recipes of unlike budgets: the order of methods would be that of the budgets."""
    tuned = [(run, run.tuned.recipe.budget) for run in runs if run.tuned is not None]
    for what in ("trials", "epochs"):  # shallow methods have no epochs
        given = {getattr(budget, what): run for run, budget in tuned if getattr(budget, what) is not None}
        if len(given) > 1:
            listed = ", ".join(
                f"{run.experiment.method} with {count} on {run.entry.name}" for count, run in given.items()
            )
            raise ValueError(
                f"methods are compared by recipes of equal budget, and their {what} differ: {listed}; tune "
                "them alike with `cmh tune`"
            )


def _experiment(
    wanted: Comparison, dataset: str, variant: Variant, trained: int, lengths: tuple[int, ...], seed: int
) -> Experiment:
    training = wanted.training
    if nested := variant.prefixes(wanted.bits):
        training = training.model_copy(update={"prefixes": nested})
    return Experiment(
        dataset=dataset,
        method=variant.method,
        bits=trained,
        settings=dict(variant.settings),
        seed=seed,
        recipe=wanted.recipe,
        protocol=wanted.protocol,
        limit=wanted.limit,
        label_noise=wanted.label_noise,
        backbone=wanted.backbone,
        text=wanted.text,
        training=training,
        evaluation=EvaluationSettings(bits=lengths),
    )


def checked(wanted: Comparison, resources: Resources) -> Resolved:
    """Resolve a comparison, and refuse now, and not when its turn comes, a run that cannot work.

    Raises:
        ValueError, OSError: as `resolve` and `preflight.check`.
    """
    resolved = resolve(wanted)
    for one in resolved.runs:
        preflight.check(one.run, resources)
    return resolved


def plan(wanted: Comparison, resources: Resources) -> list[dict[str, Any]]:
    """Return a row per run with what it would compute; nothing is computed."""
    rows = []
    for one in checked(wanted, resources).runs:
        missing = [step.stage for step in pipeline.plan_resolved(one.run) if step.state != "cached"]
        rows.append(
            {"dataset": one.run.entry.name, "method": one.variant.name}
            | {"bits": one.run.experiment.bits, "seed": one.run.experiment.seed}
            | {"to compute": ", ".join(missing) or "nothing"}
        )
    return rows


@flow(name="compare", persist_result=False, validate_parameters=False)
def compare(wanted: Comparison, resources: Resources, report_run: Callable[[str], None] | None = None) -> Ref:
    """Make every run that is not there yet, then the table; failed runs are listed with their error."""
    store = open_store()
    rows: list[dict[str, Any]] = []
    scored: list[ScoredQueries] = []
    reports: dict[str, str] = {}
    resolved = checked(wanted, resources)
    for number, one in enumerate(resolved.runs, start=1):
        bits, seed = one.run.experiment.bits, one.run.experiment.seed
        key = f"{one.run.entry.name}/{one.variant.name}/{bits}/{seed}"
        with concurrency(LIMIT, occupy=1):
            measured = _run(store, one, resources)
        rows += measured.rows
        scored += measured.scored
        if measured.report is not None:
            reports[key] = measured.report.content
        if report_run is not None:
            figures_of = ", ".join(
                f"{r['direction']} {r['error'] or _told(r)}" for r in measured.rows if r["bits"] == bits
            )
            report_run(f"{number} of {len(resolved.runs)}  {key}  {figures_of}")
    target = Target(
        "comparison",
        "-".join(resolved.datasets),
        config=wanted.model_dump(mode="json"),
        inputs=reports,
        revision=comparison.REVISION,
    )
    runs = pa.Table.from_pylist(rows, comparison.RUNS)
    return tables.make(store, target, runs, paired_tests.pairs(scored), resolved.datasets)


def _told(row: Mapping[str, Any]) -> str:
    return f"{row['map']:.3f}" if row["map"] is not None else f"R@10 {row['recall_at_10'] or 0:.3f}"


def _run(store: Store, one: ComparedRun, resources: Resources) -> Measured:
    about = {"dataset": one.run.entry.name, "method": one.variant.name, "seed": one.run.experiment.seed}
    about |= {"recipe": one.run.recipe}
    places = list(product(one.lengths, report.CROSS_MODAL))
    try:
        refs = {done.ref.kind: done.ref for done in pipeline.start_resolved(one.run, resources)}
    except TrainingFailure as error:
        failed = [about | {"bits": b, "direction": d, "error": str(error)} for b, d in places]
        return Measured(None, failed, [])
    reading = artifacts.open_artifact(store, refs["report"])
    metrics = reading.read_table("metrics.parquet")
    labelled = bool(report.select(metrics, "map"))
    if not labelled and one.variant.ranking not in (None, report.STORED[0]):
        raise ValueError(
            f"{one.variant.name} is measured by labels, and {one.run.entry.name} has none; leave "
            f"{one.variant.name} out, or compare on another dataset"
        )
    queries = reading.read_table("queries.parquet" if labelled else "pairs.parquet")
    about |= {"minutes": _minutes(store, refs["model"]), "error": None}
    return Measured(
        refs["report"],
        [about | _figures(metrics, one, bits, direction) for bits, direction in places],
        [_scored(queries, one, bits, direction, labelled) for bits, direction in places],
    )


def _ranking(one: ComparedRun, bits: int) -> str | None:
    return None if bits == one.run.experiment.bits else one.variant.ranking


def _scored(queries: pa.Table, one: ComparedRun, bits: int, direction: str, labelled: bool) -> ScoredQueries:
    place = one.run.entry.name, one.variant.name, bits, direction
    score = "average_precision" if labelled else "recall_at_10"
    return paired_tests.scored_queries(queries, *place, _ranking(one, bits), score)


def _figures(metrics: pa.Table, one: ComparedRun, bits: int, direction: str) -> dict[str, Any]:
    ranking = _ranking(one, bits)
    return {
        "bits": bits,
        "direction": direction,
        "map": _value(metrics, "map", direction, bits, ranking),
        "ndcg_at_100": _value(metrics, "ndcg_at_100", direction, bits, ranking),
        "chance": _value(metrics, "chance", direction, bits, None),
    } | {
        f"recall_at_{k}": _value(metrics, f"instance_recall_at_{k}", direction, bits, ranking)
        for k in instance_recall.KS
    }


def _value(metrics: pa.Table, metric: str, direction: str, bits: int, ranking: str | None) -> float | None:
    """Read a figure; a report has some of codes as they are stored alone, and some with labels alone."""
    rows = report.select(metrics, metric, *((ranking,) if ranking else report.STORED))
    found = [row["value"] for row in rows if (row["direction"], row["bits"]) == (direction, bits)]
    return found[0] if found else None


def _minutes(store: Store, model: Ref) -> float | None:
    """Read the minutes of training from the model's logs."""
    reading = artifacts.open_artifact(store, model)
    if "logs/seconds.json" not in reading.files:
        return None
    return float(sum(reading.read_json("logs/seconds.json")["epochs"])) / 60
