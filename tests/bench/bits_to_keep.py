"""Which bits a short SCAHN code should keep: MAP of the validation items, by which end of its ranking.

    python -m tests.bench.bits_to_keep emoji flickr8k wiki-validation --epochs 15 --seeds 2

The 64-bit model's codes are cut to 16 and 32 bits; the queries of the split have no part in it.  Prints a
Markdown table, a row for each dataset and seed, MAP as the mean of both directions.
"""

import argparse
import math

import numpy as np
import torch

from cmh import model as models
from cmh.data.items import Items
from cmh.hashing.bit_order import Criterion, order_bits
from cmh.hashing.encoding import relaxed_codes
from cmh.hashing.method import Method
from cmh.training import validation
from flows import pipeline
from flows.experiment import Experiment, TrainingSettings
from flows.resources import Resources
from flows.run import resolve
from flows.stages import train_worker
from infra import artifacts, stores

ENDS: tuple[Criterion, ...] = ("most", "least", "absolute", "random")
BITS, LENGTHS = 64, (16, 32)


def main() -> None:
    """Train what is not in the store yet, and print."""
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("datasets", nargs="+")
    given.add_argument("--epochs", type=int, default=15)
    given.add_argument("--seeds", type=int, default=2)
    asked = given.parse_args()
    heads = [f"{end}, {bits}" for bits in LENGTHS for end in ENDS]
    print(f"| | {' | '.join(heads)} |\n|{' --- |' * (len(heads) + 1)}", flush=True)
    for name in asked.datasets:
        for seed in range(asked.seeds):
            cells = measured(name, seed, asked.epochs)
            print(f"| {name}, seed {seed} | {' | '.join(cells)} |", flush=True)


def measured(name: str, seed: int, epochs: int) -> list[str]:
    """Return the figures of one model, in the order of the heads."""
    dataset, _, protocol = name.partition("-")
    experiment = Experiment(
        dataset=dataset,
        protocol=protocol or None,
        method="scahn",
        bits=BITS,
        seed=seed,
        settings={"stages": 1} if dataset == "wiki" else {},
        training=TrainingSettings(epochs=epochs),
    )
    done = pipeline.start(experiment, Resources(threads=1, ray=None, dask=None), "model")
    refs = {one.ref.kind: one.ref for one in done}
    store = stores.open_store()
    dataset_ref, source = pipeline.read_texts(refs), pipeline.source(refs)
    job = train_worker.TrainingJob(store.url, resolve(experiment), dataset_ref, source, "", "", threads=1)
    data = train_worker.read_data(store, job)
    method = models.load(artifacts.open_artifact(store, refs["model"]).local()).method
    database = data.train.every(math.ceil(len(data.train) / validation.DATABASE))
    return [
        f"{_map(method, data.validation, database, order_bits(_significance(method), end)[:bits]):.3f}"
        for bits in LENGTHS
        for end in ENDS
    ]


def _significance(method: Method) -> torch.Tensor:
    found = method.significance()
    assert found is not None
    return found


def _map(method: Method, queries: Items, database: Items, kept: list[int]) -> float:
    """Return MAP by the kept bits, the mean of both directions."""
    codes = {
        (items, side): relaxed_codes(method, {"q": queries, "d": database}[items], side)[:, kept]  # type: ignore[arg-type]
        for items in "qd"
        for side in ("image", "text")
    }
    method.bits, before = len(kept), method.bits
    ways = [
        validation.mean_average_precision(
            method, codes["q", one], codes["d", other], queries.label, database.label
        )
        for one, other in (("image", "text"), ("text", "image"))
    ]
    method.bits = before
    return float(np.mean(ways))


if __name__ == "__main__":
    main()
