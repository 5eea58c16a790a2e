"""LEMON on Wiki in five runs, each of which adds a fifth of the items, beside one run on all: MAP both ways.

    python -m tests.bench.online_chunks        # needs CMH_SHARED_DATA, as the tests

Every run goes through the stages of the pipeline; those that add start from the model before
(`cmh run … --method lemon --start-from MODEL`), and codes of former runs are compared bit for bit.  500
bases, ties in database order, as the digits to compare with have them, means of three seeds with the standard
deviation.  One thread.  Prints a Markdown table: the database coded by each modality, and by both together
(unified).
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from safetensors.numpy import load
from scipy.io import savemat

from cmh import model
from cmh.codes import hamming
from cmh.evaluation import stable_metrics
from cmh.hashing import encoding
from data_catalog import catalog
from flows import preflight
from flows.experiment import Experiment
from flows.resources import Resources
from flows.run import resolve
from flows.stages import precomputed, train
from infra import artifacts
from infra.storage import Store
from infra.stores import open_store
from tests.cmh.methods import shallow

PARTS, SEEDS, LENGTHS = 5, 3, (16, 32, 64)
Held = dict[str, NDArray[Any]]


def entry(folder: Path, name: str, items: int) -> str:
    """Write a catalog entry of the first training items and all queries."""
    train_items, query = shallow.wiki()
    held: Held = {}
    for part, rows in (("tr", train_items.every(1).take(np.arange(items))), ("te", query)):
        held |= {f"I_{part}": rows.image[0][:, :, 0, 0], f"T_{part}": rows.text, f"L_{part}": rows.label}
    savemat(folder / f"{name}.mat", held)
    fields = catalog.load("wiki").model_dump(mode="json", exclude_none=True) | {"name": name, "counts": {}}
    fields["sources"] = {"features": {"kind": "path", "path": str(folder / f"{name}.mat")}}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(fields))
    return str(folder / f"{name}.yaml")


def fit(store: Store, wanted: Experiment) -> Path:
    """Return the folder of the model of a run."""
    run = resolve(wanted)
    preflight.check_settings(run)
    features = precomputed.make_features.compute(store, precomputed.features_target(run.entry), run.entry).ref
    target = precomputed.dataset_target(features, run.entry)
    dataset = precomputed.make_dataset.compute(store, target, run.entry).ref
    preflight.check_dataset(store, dataset, run)
    target = train.target(run, dataset, features)
    made = train.make.compute(store, target, run, dataset, features, Resources(threads=1)).ref
    return artifacts.open_artifact(store, made).local()


def maps(folder: Path) -> list[float]:
    """Return MAP of image → text and text → image, per modality and unified."""
    train_items, query = shallow.wiki()
    method = model.load(folder).method
    asked, codes = (
        [hamming.pack(encoding.relaxed_codes(method, items, side)) for side in ("image", "text")]
        for items in (query, train_items)
    )
    unified = load((folder / "unified.safetensors").read_bytes())["code"]
    measures = {"map": stable_metrics.average_precision}
    return [
        float(stable_metrics.evaluate(one, held, query.label, train_items.label, measures)["map"].mean())
        for one, held in zip(asked * 2, [codes[1], codes[0], unified, unified], strict=True)
    ]


def main() -> None:
    """Print a row per length and number of runs."""
    torch.set_num_threads(1)
    total = len(shallow.wiki()[0])
    print(
        "| bits | runs | image → text | text → image | image → unified | text → unified |\n|" + " --- |" * 6
    )
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        store = open_store(str(folder / "store"))
        ends = [len(part) for part in np.array_split(np.arange(total), PARTS)]
        grown = [entry(folder, f"wiki-{n}", int(sum(ends[:n]))) for n in range(1, PARTS + 1)]
        for bits in LENGTHS:
            found: dict[int, list[list[float]]] = {1: [], PARTS: []}
            for seed in range(SEEDS):
                same = {"method": "lemon", "bits": bits, "seed": seed}
                found[1].append(maps(fit(store, Experiment(dataset=grown[-1], **same))))
                last = fit(store, Experiment(dataset=grown[0], **same))
                for dataset in grown[1:]:
                    more = fit(store, Experiment(dataset=dataset, start_from=str(last), **same))
                    old, new = (load((f / "unified.safetensors").read_bytes())["code"] for f in (last, more))
                    assert np.array_equal(old, new[: len(old)])
                    last = more
                found[PARTS].append(maps(last))
            for runs, values in found.items():
                spread = zip(np.mean(values, axis=0), np.std(values, axis=0), strict=True)
                cells = " | ".join(f"{mean:.3f} ± {deviation:.3f}" for mean, deviation in spread)
                print(f"| {bits} | {runs} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
