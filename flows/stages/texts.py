"""Features of texts by a frozen network, computed once: a dataset in, and out again with these for its texts.

Reads:   the dataset (items.parquet)
Writes:  everything of the dataset, but for dataset.zarr {text (N, F) float32}, and no tokens
Resumes: shard by shard; one task computes the rows of one shard and writes it whole

A shard is computed in batches of fixed size, so it comes out the same on any number of workers.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import zarr

from cmh.data import schema
from cmh.networks import text_encoders, tokens
from flows import sources
from flows.experiment import TextSettings
from flows.resources import Resources
from flows.stages import arrays, parts
from flows.stages.artifact_task import artifact_task
from infra import artifacts
from infra.artifacts import Draft, Reading, Ref, Target
from infra.storage import Store
from infra.workers import worker_object

ROWS = 1024  # of a shard and of a task; it shapes the files, so it is part of the identity
_OURS = ("dataset.zarr/text/", "dataset.zarr/tokens/")  # what is not taken over


@dataclass(frozen=True)
class Part:
    """What one task needs: the texts from row `start` on, and where their features go."""

    start: int
    texts: tuple[str, ...]
    words: Any  # Zarr store of the dataset whose words are put beside the features; None: none are
    out: Any  # Zarr store, picklable

    @property
    def stop(self) -> int:
        """The row after the last one."""
        return self.start + len(self.texts)


def target(dataset: Ref, text: TextSettings) -> Target:
    """Return the dataset with features of its texts."""
    weights, spec = sources.identity_of_text_weights(text), text_encoders.spec(str(text.name))
    return Target(
        "texts",
        f"{dataset.name}-{text.name}",
        config={"network": text.name, "weights": weights, "rows": ROWS, "batch": spec.batch}
        | ({"words": True} if text.words else {}),
        inputs={"dataset": dataset.content},
        revision=spec.revision,
    )


@artifact_task(name="texts")
def make(store: Store, draft: Draft, dataset: Ref, text: TextSettings, resources: Resources) -> None:
    """Run the network over every text, on workers with one core each."""
    reading = artifacts.open_artifact(store, dataset)
    said = reading.read_table("items.parquet")["text"].to_pylist()
    out, features = draft.zarr("dataset.zarr"), text_encoders.spec(str(text.name)).features
    words = reading.zarr("dataset.zarr") if text.words else None
    if words is not None:
        features += schema.array(zarr.open_group(words, mode="r"), "text").shape[1]
    group = zarr.open_group(out, mode="a")
    arrays.create(
        group, "text", shape=(len(said), features), dtype="float32",
        chunks=(ROWS, features), compressors=arrays.COMPRESSORS,
    )  # fmt: skip
    shards = [Part(a, tuple(said[a : a + ROWS]), words, out) for a in range(0, len(said), ROWS)]
    parts.make_parts(
        draft, shards, _extract, title="features of texts", resources=resources,
        files=lambda part: [f"dataset.zarr/text/c/{part.start // ROWS}/0"],
        provide=partial(_load, text),
    )  # fmt: skip
    _take_over(reading, draft)
    schema.validate(group, schema.DATASET)


def _take_over(reading: Reading, draft: Draft) -> None:
    """Copy what does not depend on how texts are read, byte for byte."""
    for name in reading.files:
        if not name.startswith(_OURS):
            draft.write_bytes(name, reading.read_bytes(name))


def _load(text: TextSettings) -> tokens.Features:
    torch.set_num_threads(1)  # sums must not depend on the number of cores
    return sources.text_encoder(text).on_runtime(threads=1)


def _extract(key: str, part: Part) -> None:
    """Compute and write one shard, on a worker."""
    network: tokens.Features = worker_object(key)
    features = network(part.texts)
    if part.words is not None:
        bag = schema.array(zarr.open_group(part.words, mode="r"), "text")[part.start : part.stop]
        features = text_encoders.with_words(features, bag)
    arrays.to_fill(part.out, "text")[part.start : part.stop] = features
