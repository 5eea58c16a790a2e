"""JOINT without one of its parts at a time: MAP by label and recall of concepts or pairs, three seeds.

    python -m tests.bench.joint_ablations emoji          # or flickr8k; prints a Markdown table, row by row

64 bits, read at 16 too; 5 epochs in batches of 128.  A figure is the mean over seeds; in brackets, the half
width of the 95 % interval that draws whole groups of queries, of the first seed.
"""

import statistics
from collections.abc import Iterator
from typing import Literal

import cyclopts
import pyarrow as pa

from cmh.evaluation import report
from cmh.methods.joint import Joint
from flows import pipeline
from flows.experiment import EvaluationSettings, Experiment, TrainingSettings
from flows.resources import Resources
from infra import artifacts, stores

SEEDS = 3
BITS, SHORT = 64, 16
RECALL = {"emoji": "group_recall_at_10", "flickr8k": "instance_recall_at_10"}


def main(dataset: Literal["emoji", "flickr8k"]) -> None:
    """Train every variant with every seed."""
    print("| | MAP, 16 bits | MAP, 64 bits | R@10, 64 bits |\n| --- | --- | --- | --- |", flush=True)
    for name in ("joint", "nested", *Joint.VARIANTS):
        tables = [_metrics(dataset, name, seed) for seed in range(SEEDS)]
        cells = [
            " / ".join(_figures(tables, metric, bits))
            for metric, bits in (("map", SHORT), ("map", BITS), (RECALL[dataset], BITS))
        ]
        print(f"| {name.replace('_', ' ')} | {' | '.join(cells)} |", flush=True)


def _metrics(dataset: str, name: str, seed: int) -> pa.Table:
    prefixes = {str(SHORT): 0.1, "32": 0.1} if name == "nested" else {}
    experiment = Experiment(
        dataset=dataset,
        method="joint",
        bits=BITS,
        seed=seed,
        settings=dict(Joint.VARIANTS.get(name, {})),
        training=TrainingSettings(epochs=5, batch_size=128, prefixes=prefixes),
        evaluation=EvaluationSettings(bits=(SHORT, BITS)),
    )
    done = pipeline.start(experiment, Resources(threads=1, ray=None, dask=None))
    return artifacts.open_artifact(stores.open_store(), done[-1].ref).read_table("metrics.parquet")


def _figures(tables: list[pa.Table], metric: str, bits: int) -> Iterator[str]:
    """Yield image → text, then text → image."""
    for direction in report.CROSS_MODAL:
        rows = [
            row
            for table in tables
            for row in report.select(table, metric, "stored")
            if (row["direction"], row["bits"]) == (direction, bits)
        ]
        half = "" if rows[0]["low"] is None else f" ± {(rows[0]['high'] - rows[0]['low']) / 2:.3f}"
        yield f"{statistics.mean(row['value'] for row in rows):.3f}{half}"


if __name__ == "__main__":
    cyclopts.run(main)
