"""Features of texts by a frozen network, computed once: a dataset in, and out again with these for its texts.

Reads:   the dataset (items.parquet)
Writes:  everything of the dataset, but for dataset.zarr {text (N, F) float32}, and no tokens
Resumes: shard by shard; one Dask task computes the rows of one shard and writes it whole

A shard is computed in batches of fixed size, so it comes out the same on any number of workers.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import zarr

from cmh.data import schema
from cmh.networks import clip
from flows import publish, sources
from flows.caching import artifact_task
from flows.experiments import Resources, Text
from flows.preprocess import COMPRESSORS
from infra import artifacts, dask_cluster
from infra.artifacts import Draft, Reading, Ref, Target
from infra.storage import Store

REVISION = 1
ROWS = 1024  # of a shard and of a task; it shapes the files, so it is part of the identity
_OURS = ("dataset.zarr/text/", "dataset.zarr/tokens/")  # what is not taken over


@dataclass(frozen=True)
class Part:
    """What one task needs: the texts from row `start` on, and where their features go."""

    start: int
    texts: tuple[str, ...]
    out: Any  # Zarr store, picklable


def target(dataset: Ref, text: Text) -> Target:
    """The dataset with features of its texts."""
    weights = sources.identity_of_weights(text)
    return Target(
        "texts",
        f"{dataset.name}-{text.name}",
        config={"network": text.name, "weights": weights, "rows": ROWS, "batch": clip.TEXT_BATCH},
        inputs={"dataset": dataset.content},
        revision=REVISION,
    )


@artifact_task(name="texts")
def texts(store: Store, draft: Draft, dataset: Ref, text: Text, resources: Resources) -> None:
    """Run the network over every text, on Dask workers with one core each."""
    reading = artifacts.open_artifact(store, dataset)
    given = reading.read_table("items.parquet")["text"].to_pylist()
    out = draft.zarr("dataset.zarr")
    group = zarr.open_group(out, mode="a")
    if "text" not in group:
        shape, chunks = (len(given), clip.TEXT_FEATURES), (ROWS, clip.TEXT_FEATURES)
        group.create_array(
            "text", shape=shape, dtype="float32", chunks=chunks, compressors=COMPRESSORS,
            config={"write_empty_chunks": True},
        )  # fmt: skip
    parts = [Part(a, tuple(given[a : a + ROWS]), out) for a in range(0, len(given), ROWS)]
    waiting = [part for part in parts if not draft.part(_name(part))]
    weights = Path(sources.network_weights(text))
    with (
        publish.progress("features of texts", len(given)) as advance,
        dask_cluster.connect(resources.dask, workers=resources.threads, threads=1) as client,
        dask_cluster.provided(client, partial(_load, weights)) as provided,
    ):
        advance(len(given) - sum(len(part.texts) for part in waiting))

        def done(part: Part, _: None) -> None:
            draft.finish_part(_name(part), [f"dataset.zarr/text/c/{part.start // ROWS}/0"])
            advance(len(part.texts))

        dask_cluster.map_parts(client, partial(_extract, provided), waiting, describe=_name, on_done=done)
    _take_over(reading, draft)
    schema.validate(group, schema.DATASET)


def _take_over(reading: Reading, draft: Draft) -> None:
    """What does not depend on how texts are read, byte for byte."""
    for name in reading.files:
        if not name.startswith(_OURS):
            draft.write_bytes(name, reading.read_bytes(name))


def _load(weights: Path) -> clip.ClipText:
    torch.set_num_threads(1)  # sums must not depend on the number of cores
    return clip.load_text(weights)


def _extract(provided: str, part: Part) -> None:
    """On a worker: compute and write one shard."""
    network: clip.ClipText = dask_cluster.resource(provided)
    array = schema.array(zarr.open_group(part.out, mode="r+"), "text")
    array[part.start : part.start + len(part.texts)] = network.features(part.texts)


def _name(part: Part) -> str:
    return f"rows-{part.start}-{part.start + len(part.texts)}"
