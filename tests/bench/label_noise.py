"""NRCH beside methods that trust their labels, with wrong labels in training: MAP on Wiki, 32 bits.

    nice python -m tests.bench.label_noise 3      # seeds; needs CMH_SHARED_DATA, as the tests

What `cmh compare --label-noise RATE` gives, without a store: 217 of the 2,173 training items choose the
epoch, and of the others a share has one label exchanged.  Features are standardised by the training items,
as Wiki's histograms differ so little that towers with biases give all items one code.  Short recipes, 15
epochs, batches of 128, one thread; the noise is the same for all methods and seeds.  Prints a line per run,
then a Markdown table of MAP, image → text / text → image, ties in expectation, means over the seeds.
"""

from dataclasses import replace

import cyclopts
import numpy as np
import torch
from numpy.typing import NDArray

from cmh import methods
from cmh.codes import hamming
from cmh.data import label_noise, splits
from cmh.data.items import Items
from cmh.evaluation import metrics
from cmh.hashing import encoding
from cmh.training import trainer
from tests.cmh.methods import shallow

METHODS = ("nrch", "dcmh", "scahn", "joint")
RATES, BITS = (0.0, 0.2, 0.5, 0.8), 32
SETTINGS = {"scahn": {"stages": 1}}  # Wiki's features are of one stage, not of four


def maps(name: str, rate: float, seed: int) -> tuple[float, float]:
    """Return MAP of image → text and text → image of one run."""
    database, query = shallow.wiki()
    rows = splits.published(np.zeros(len(database), bool), 0.1, 0)
    noisy_NL = label_noise.exchange(database.label, rows["train"], rate, 0)
    database, query = (standardised(items, database.take(rows["train"])) for items in (database, query))
    train = replace(database, label=noisy_NL).take(rows["train"])
    torch.manual_seed(seed)
    method = shallow.build(name, train, bits=BITS, **methods.load(name).SHORT, **SETTINGS.get(name, {}))
    config = trainer.Config(epochs=15, batch_size=128, seed=seed)
    trainer.fit(method, train, database.take(rows["validation"]), config)
    asked, held = (
        [hamming.pack(encoding.relaxed_codes(method, items, side)) for side in ("image", "text")]
        for items in (query, database)
    )
    labels = query.label, database.label
    image, text = (
        metrics.evaluate(one, other, *labels, BITS, threads=1).map
        for one, other in zip(asked, reversed(held), strict=True)
    )
    return image, text


def standardised(items: Items, train: Items) -> Items:
    """Return the items with features of mean 0 and deviation 1 over the training items."""

    def scaled(x: NDArray[np.float32], of: NDArray[np.float32]) -> NDArray[np.float32]:
        return ((x - of.mean(axis=0)) / (of.std(axis=0) + 1e-3 * of.std())).astype(np.float32)

    image = scaled(items.image[0], train.image[0])
    return replace(items, image=(image,), text=scaled(items.text, train.text))


def main(seeds: int = 3) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    lines = [f"| wrong labels | {' | '.join(METHODS)} |", "|" + " --- |" * (len(METHODS) + 1)]
    for rate in RATES:
        cells = []
        for name in METHODS:
            found = []
            for seed in range(seeds):
                found.append(maps(name, rate, seed))
                print(rate, name, seed, *(f"{value:.3f}" for value in found[-1]), flush=True)
            cells.append(" / ".join(f"{value:.3f}" for value in np.mean(found, axis=0)))
        lines.append(f"| {100 * rate:g} % | {' | '.join(cells)} |")
    print("\n".join(lines))


if __name__ == "__main__":
    cyclopts.run(main)
