"""Tune methods alike, then train the tuned and the untuned with three seeds, and print a Markdown table.

    python -m tests.bench.tuned wiki-validation --bits 32 --trials 20 joint scahn dcmh ...

`DATASET-PROTOCOL` or a dataset; recipes go to `data_catalog/tuned`, and every run is in the store, so that a
search that was broken off goes on.  MAP is over the whole ranking, with 95 % intervals that draw whole groups
of queries, of the first seed.
"""

import argparse
import statistics
from pathlib import Path
from typing import Any

from cmh.evaluation import report
from data_catalog import catalog, recipes
from flows import pipeline
from flows import tune as tuning
from flows.experiment import EvaluationSettings, Experiment, TrainingSettings
from flows.resources import Resources
from flows.tune import Tuning
from infra import artifacts, stores

FIXED: dict[str, dict[str, Any]] = {"scahn": {"stages": 1}}
"""What a method needs on features that the dataset brings, which have one stage."""
SEEDS = 3
ARROWS = ("image_to_text", "text_to_image")


def main() -> None:
    """Tune, train and print."""
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("dataset")
    given.add_argument("methods", nargs="+")
    given.add_argument("--bits", type=int, default=32)
    given.add_argument("--trials", type=int, default=20)
    given.add_argument("--epochs", type=int, default=15)
    given.add_argument("--to", type=Path)
    given.add_argument("--limit", type=int, help="only this many records")
    given.add_argument("--only-tune", action="store_true")
    asked = given.parse_args()
    dataset, _, protocol = asked.dataset.partition("-")
    entry = catalog.load(dataset) if not protocol else catalog.load(dataset).under(protocol)
    file = asked.to or recipes.path(entry.name)
    resources, training = Resources(threads=1, ray=None, dask=None), TrainingSettings(epochs=asked.epochs)
    common: dict[str, Any] = {"dataset": dataset, "bits": asked.bits, "training": training}
    common |= {"protocol": protocol} if protocol else {}
    common |= {"limit": asked.limit} if asked.limit else {}
    for method in asked.methods:
        fixed = FIXED.get(method, {}) if dataset == "wiki" else {}
        try:
            tuned = tuning.tune(
                Tuning(method=method, settings=fixed, trials=asked.trials, **common), resources, print
            )
        except (ValueError, RuntimeError) as error:
            print(f"{method}: {error}", flush=True)
            continue
        recipes.write(file, tuned.dataset, [tuned.recipe])
        if asked.only_tune:
            continue
        cells = [method, f"{tuned.recipe.untuned} → {tuned.recipe.validation}"]
        for recipe in ("short", str(file)):
            runs = [
                Experiment(
                    method=method, settings=fixed, recipe=recipe, seed=seed,
                    evaluation=EvaluationSettings(bits=(asked.bits,)), **common,
                )
                for seed in range(SEEDS)
            ]  # fmt: skip
            cells.append(" / ".join(_figures(runs, resources)))
        print("| " + " | ".join(cells) + " |", flush=True)


def _figures(runs: list[Experiment], resources: Resources) -> list[str]:
    """Return the mean over seeds both ways, and the interval of the first seed."""
    store = stores.open_store()
    metrics = [
        artifacts.open_artifact(store, pipeline.start(run, resources)[-1].ref).read_table("metrics.parquet")
        for run in runs
    ]
    bits = runs[0].bits
    cells = []
    for arrow in ARROWS:
        values = [report.value(one, "map", arrow, bits) for one in metrics]
        first = next(
            row
            for row in report.select(metrics[0], "map", *report.STORED)
            if (row["direction"], row["bits"]) == (arrow, bits)
        )
        cells.append(f"{statistics.mean(values):.3f} [{first['low']:.3f}, {first['high']:.3f}]")
    return cells


if __name__ == "__main__":
    main()
