"""Compare methods: a pipeline for each dataset, method, length and seed, and one table of them all.

Reads:   the report of every run
Writes:  runs.parquet (a row per run and direction), comparison.parquet (mean and interval over seeds, and
         what papers print for the dataset), README.md, comparison.tex, map_<dataset>.png and .svg
Resumes: run by run; images, dataset and features are made by the first run and found by the others

Runs follow one another, each with all threads.  Several comparisons on one machine take turns if Prefect has
a global concurrency limit of that name: `prefect gcl create cross-modal-hashing --limit 1`.
"""

from collections.abc import Callable
from itertools import product
from typing import Any, NamedTuple

import pyarrow as pa
from prefect import flow
from prefect.concurrency.sync import concurrency
from pydantic import BaseModel, Field

from cmh.evaluation import comparison, figures, report
from cmh.evaluation.report_page import markdown
from cmh.methods import display_name
from cmh.training.failures import TrainingFailure
from data_catalog import catalog, paper_figures
from flows import pipeline, preflight
from flows.experiment import (
    BackboneSettings,
    EvaluationSettings,
    Experiment,
    Resources,
    TextSettings,
    TrainingSettings,
)
from flows.run import Run
from flows.run import resolve as run_of
from flows.stages.artifact_task import artifact_task
from flows.variants import Variant, parse
from infra import artifacts
from infra.artifacts import Draft, Ref, Target
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
        description="files of cmh/methods, or method:variant; `cmh methods NAME` lists them",
    )
    datasets: tuple[str, ...] = Field(
        ("emoji",), description="entries of data_catalog, or .yaml files of the same form"
    )
    bits: tuple[int, ...] = Field((16, 32, 64), description="code lengths, each trained for")
    seeds: int = Field(3, ge=1, description="runs of each, with the seeds 0, 1, …")
    limit: int | None = Field(None, ge=32, description="only this many records of each dataset")
    backbone: BackboneSettings = BackboneSettings()
    text: TextSettings = TextSettings()
    training: TrainingSettings = TrainingSettings()


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
    entries = [catalog.load(dataset).absolute() for dataset in wanted.datasets]
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
    return Resolved(wanted, names, runs)


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
        limit=wanted.limit,
        backbone=wanted.backbone,
        text=wanted.text,
        training=training,
        evaluation=EvaluationSettings(bits=lengths),
    )


def plan(wanted: Comparison, resources: Resources) -> list[dict[str, Any]]:
    """Return a row per run with what it would compute; nothing is computed."""
    rows = []
    for one in resolve(wanted).runs:
        preflight.check(one.run, resources)
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
    reports: dict[str, str] = {}
    resolved = resolve(wanted)
    for one in resolved.runs:  # now, and not when its turn comes
        preflight.check(one.run, resources)
    for number, one in enumerate(resolved.runs, start=1):
        bits, seed = one.run.experiment.bits, one.run.experiment.seed
        key = f"{one.run.entry.name}/{one.variant.name}/{bits}/{seed}"
        with concurrency(LIMIT, occupy=1):
            made, measured = _run(store, one, resources)
        rows += measured
        if made is not None:
            reports[key] = made.content
        if report_run is not None:
            figures_of = ", ".join(
                f"{r['direction']} {r['error'] or format(r['map'], '.3f')}"
                for r in measured
                if r["bits"] == bits
            )
            report_run(f"{number} of {len(resolved.runs)}  {key}  {figures_of}")
    target = Target(
        "comparison",
        "-".join(resolved.datasets),
        config=wanted.model_dump(mode="json"),
        inputs=reports,
        revision=comparison.REVISION,
    )
    return tables(store, target, pa.Table.from_pylist(rows, comparison.RUNS), resolved.datasets)


def _run(store: Store, one: ComparedRun, resources: Resources) -> tuple[Ref | None, list[dict[str, Any]]]:
    """Run one pipeline; return its report, and a row per length and direction."""
    about = {"dataset": one.run.entry.name, "method": one.variant.name, "seed": one.run.experiment.seed}
    places = list(product(one.lengths, report.CROSS_MODAL))
    try:
        refs = {done.ref.kind: done.ref for done in pipeline.start_resolved(one.run, resources)}
    except TrainingFailure as error:
        return None, [about | {"bits": b, "direction": d, "error": str(error)} for b, d in places]
    metrics = artifacts.open_artifact(store, refs["report"]).read_table("metrics.parquet")
    about |= {"minutes": _minutes(store, refs["model"]), "error": None}
    return refs["report"], [about | _figures(metrics, one, bits, direction) for bits, direction in places]


def _figures(metrics: pa.Table, one: ComparedRun, bits: int, direction: str) -> dict[str, Any]:
    ranking = None if bits == one.run.experiment.bits else one.variant.ranking
    return {
        "bits": bits,
        "direction": direction,
        "map": report.value(metrics, "map", direction, bits, ranking),
        "ndcg_at_100": _ndcg(metrics, direction, bits, ranking),
        "chance": report.value(metrics, "chance", direction, bits),
    }


def _ndcg(metrics: pa.Table, direction: str, bits: int, ranking: str | None) -> float | None:
    """Read NDCG@100 as the report has it: of codes as they are stored, and of no other ranking."""
    rows = report.select(metrics, "ndcg_at_100", ranking or report.STORED[0])
    found = [row["value"] for row in rows if (row["direction"], row["bits"]) == (direction, bits)]
    return found[0] if found else None


def _minutes(store: Store, model: Ref) -> float | None:
    """Read the minutes of training from the model's logs."""
    reading = artifacts.open_artifact(store, model)
    if "logs/seconds.json" not in reading.files:
        return None
    return float(sum(reading.read_json("logs/seconds.json")["epochs"])) / 60


@artifact_task(name="tables")
def tables(store: Store, draft: Draft, runs: pa.Table, datasets: tuple[str, ...]) -> None:
    """Write the tables and figures of these runs."""
    summed = comparison.summary(runs)
    lengths = set(summed["bits"].to_pylist())
    printed = [
        {"metric": "map"} | figure._asdict()
        for name in datasets
        for figure in paper_figures.figures(name)
        if figure.bits in lengths
    ]
    summed = pa.concat_tables([summed, pa.Table.from_pylist(printed, comparison.SUMMARY)])
    draft.write_table("runs.parquet", runs)
    draft.write_table("comparison.parquet", summed)
    names = {name: display_name(name) for name in summed["method"].to_pylist()}
    page, tex = ["# Comparison"], []
    for dataset in datasets:
        page.append(f"## {dataset}")
        for (metric, name), direction in product(comparison.METRICS.items(), report.CROSS_MODAL):
            rows = comparison.table(summed, dataset, direction, metric, names=names)
            title = f"{name}, {comparison.ARROWS[direction]}, {dataset}"
            page += [f"{title}:", markdown(rows)]
            tex.append(comparison.latex(rows, f"{title}."))
        page += _draw(draft, summed, runs, dataset)
    page.append(
        "MAP over the whole ranking: an item that shares any label is relevant. NDCG@100 over the first 100 "
        "ranks: an item gains the labels that it shares. Ties in expectation; ± is half the 95% interval of "
        "the mean over seeds (Student's t); real-valued methods are ranked by the cosine of embeddings, of "
        "as many numbers as codes have bits; minutes are wall time of training on the machine that ran it. "
        "Published figures are for the papers' own splits and networks."
    )
    draft.write_bytes("README.md", ("\n\n".join(page) + "\n").encode())
    draft.write_bytes("comparison.tex", ("\n\n".join(tex) + "\n").encode())


def _draw(draft: Draft, summed: pa.Table, runs: pa.Table, dataset: str) -> list[str]:
    """Draw MAP by length, a line per method; of a single length, a row per method.

    Returns the lines of the page that show the figure.
    """
    lines: dict[str, dict[str, dict[int, tuple[float, float, float]]]] = {d: {} for d in report.CROSS_MODAL}
    for row in summed.to_pylist():
        ours = {"dataset": dataset, "metric": "map", "source": None}
        if not ours.items() <= row.items() or row["value"] is None:
            continue
        points = lines[row["direction"]].setdefault(display_name(row["method"]), {})
        low, high = (row["value"] if end is None else end for end in (row["low"], row["high"]))
        points[row["bits"]] = (row["value"], low, high)
    floors = [r["chance"] for r in runs.to_pylist() if r["dataset"] == dataset and r["chance"] is not None]
    lengths = {bits for panel in lines.values() for points in panel.values() for bits in points}
    if not lengths:  # every training failed
        return []
    draw = figures.map_by_bits if len(lengths) > 1 else figures.map_by_method
    figure = draw(lines, max(floors, default=0.0))
    draft.write_bytes(f"map_{dataset}.png", figures.render(figure, "png"))
    draft.write_bytes(f"map_{dataset}.svg", figures.render(figure, "svg"))
    return [f"![MAP](map_{dataset}.png)"]
