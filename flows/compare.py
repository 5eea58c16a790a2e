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
from pydantic import BaseModel, Field, model_validator

from cmh.evaluation import comparison, figures, report
from cmh.evaluation.report_page import markdown
from cmh.methods import display_name
from cmh.training.failures import CollapsedCodes, NonFiniteLoss
from data_catalog import catalog, published
from flows import feasible, pipeline
from flows.caching import artifact_task
from flows.contenders import Contender, contender
from flows.experiments import Backbone, Evaluation, Experiment, Resources, Text, Training
from infra import artifacts
from infra.artifacts import Draft, Ref, Target
from infra.storage import Store, open_store

REVISION = 4
LIMIT = "cross-modal-hashing"


class Run(NamedTuple):
    """One pipeline, and the lengths whose figures are read from its report."""

    contender: Contender
    experiment: Experiment
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
    backbone: Backbone = Backbone()
    text: Text = Text()
    training: Training = Training()

    @model_validator(mode="after")
    def _nothing_twice(self) -> "Comparison":
        for what, names in (("datasets", self.names), ("methods", self.methods)):
            if twice := sorted({name for name in names if names.count(name) > 1}):
                told = ", ".join(twice)
                raise ValueError(f"{what} named {told} take part twice; leave one out, or rename it")
        return self

    @model_validator(mode="after")
    def _runs_are_possible(self) -> "Comparison":
        experiments = [run.experiment for run in self.runs()]
        for experiment in {(e.dataset, e.method): e for e in experiments}.values():
            experiment.check()
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Of the datasets, as their entries have them."""
        return tuple(catalog.load(dataset).name for dataset in self.datasets)

    def runs(self) -> list[Run]:
        """The runs, those that share a dataset one after the other."""
        return [
            Run(who, self._experiment(dataset, who, trained, read, seed), read)
            for dataset, who in product(self.datasets, map(contender, self.methods))
            for (trained, read), seed in product(who.trained(self.bits).items(), range(self.seeds))
        ]

    def _experiment(
        self, dataset: str, who: Contender, trained: int, read: tuple[int, ...], seed: int
    ) -> Experiment:
        training = self.training
        if nested := who.prefixes(self.bits):
            training = training.model_copy(update={"prefixes": nested})
        return Experiment(
            dataset=dataset,
            method=who.method,
            bits=trained,
            settings=dict(who.settings),
            seed=seed,
            limit=self.limit,
            backbone=self.backbone,
            text=self.text,
            training=training,
            evaluation=Evaluation(bits=read),
        )


def plan(wanted: Comparison, resources: Resources) -> list[dict[str, Any]]:
    """What each run would compute; nothing is."""
    return [
        {"dataset": run.experiment.entry.name, "method": run.contender.name}
        | {"bits": run.experiment.bits, "seed": run.experiment.seed}
        | {
            "to compute": ", ".join(
                s.stage for s in pipeline.plan(run.experiment, resources) if s.state != "cached"
            )
            or "nothing"
        }
        for run in wanted.runs()
    ]


@flow(name="compare", persist_result=False, validate_parameters=False)
def compare(wanted: Comparison, resources: Resources, tell: Callable[[str], None] | None = None) -> Ref:
    """Make every run that is not there yet, then the table; runs whose training fails are told in it."""
    store = open_store()
    rows: list[dict[str, Any]] = []
    reports: dict[str, str] = {}
    every = wanted.runs()
    for run in every:  # now, and not when its turn comes
        feasible.check(run.experiment, resources)
    for number, run in enumerate(every, start=1):
        experiment = run.experiment
        key = f"{experiment.entry.name}/{run.contender.name}/{experiment.bits}/{experiment.seed}"
        with concurrency(LIMIT, occupy=1):
            made, found = _run(store, run, resources)
        rows += found
        if made is not None:
            reports[key] = made.content
        if tell is not None:
            told = ", ".join(
                f"{r['direction']} {r['error'] or format(r['map'], '.3f')}"
                for r in found
                if r["bits"] == experiment.bits
            )
            tell(f"{number} of {len(every)}  {key}  {told}")
    target = Target(
        "comparison",
        "-".join(wanted.names),
        config=wanted.model_dump(mode="json"),
        inputs=reports,
        revision=REVISION,
    )
    return tables(store, target, pa.Table.from_pylist(rows, comparison.RUNS), wanted.names)


def _run(store: Store, run: Run, resources: Resources) -> tuple[Ref | None, list[dict[str, Any]]]:
    """One pipeline: its report, and a row per length and direction."""
    experiment = run.experiment
    about = {"dataset": experiment.entry.name, "method": run.contender.name, "seed": experiment.seed}
    places = list(product(run.lengths, report.CROSS_MODAL))
    try:
        done = {one.ref.kind: one.ref for one in pipeline.start(experiment, resources)}
    except (CollapsedCodes, NonFiniteLoss) as error:
        return None, [about | {"bits": b, "direction": d, "error": str(error)} for b, d in places]
    metrics = artifacts.open_artifact(store, done["report"]).read_table("metrics.parquet")
    about |= {"minutes": _minutes(store, done["model"]), "error": None}
    return done["report"], [about | _figures(metrics, run, bits, direction) for bits, direction in places]


def _figures(metrics: pa.Table, run: Run, bits: int, direction: str) -> dict[str, Any]:
    ranking = None if bits == run.experiment.bits else run.contender.ranking
    return {
        "bits": bits,
        "direction": direction,
        "map": report.value(metrics, "map", direction, bits, ranking),
        "ndcg_at_100": _ndcg(metrics, direction, bits, ranking),
        "chance": report.value(metrics, "chance", direction, bits),
    }


def _ndcg(metrics: pa.Table, direction: str, bits: int, ranking: str | None) -> float | None:
    """As the report has it: of codes as they are stored, and of no other ranking."""
    rows = report.select(metrics, "ndcg_at_100", ranking or report.STORED[0])
    found = [row["value"] for row in rows if (row["direction"], row["bits"]) == (direction, bits)]
    return found[0] if found else None


def _minutes(store: Store, model: Ref) -> float | None:
    """Of training, as the model's logs have it."""
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
        for figure in published.figures(name)
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
    """MAP by length, a line per method; of a single length, a row per method.  Returns what shows it."""
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
