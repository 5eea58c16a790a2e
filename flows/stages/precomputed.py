"""Datasets that bring features in place of images: from the sources to features, and on to a dataset.

`features`  Reads:   the sources, fetched and verified
            Writes:  features.zarr {pooled/stage1 (N, F) float32}, row by row as the reader has them
`dataset`   Reads:   the features, and the sources again for texts, labels and the split
            Writes:  dataset.zarr {text float32, label, image_row, split/*}, items.parquet, rejected.parquet
                     (empty), vocabulary.txt (the text features' numbers), labels.txt
"""

import numpy as np
import pyarrow as pa
import zarr

from cmh.data import readers, schema, splits
from cmh.data import records as tables
from cmh.data.records import FeatureTable
from data_catalog.catalog import Entry, Published
from flows import sources
from flows.stages import records
from flows.stages.arrays import put
from flows.stages.artifact_task import artifact_task
from flows.stages.dataset import items_table, put_split, write_lines
from infra.artifacts import Draft, Ref, Target
from infra.storage import Store


def features_target(entry: Entry) -> Target:
    """Return the target of the features that the dataset brings."""
    return Target("features", entry.name, config=records.origin(entry, None), revision=tables.REVISION)


def dataset_target(features: Ref, entry: Entry) -> Target:
    """Return the target of the dataset over these features."""
    config = records.origin(entry, None) | {"split": entry.split.model_dump()}
    inputs = {"features": features.content}
    return Target("dataset", entry.name, config, inputs, revision=tables.REVISION)


@artifact_task(name="features")
def make_features(store: Store, draft: Draft, entry: Entry) -> None:
    """Fetch the sources and keep the image features as if a backbone had made them."""
    put(zarr.open_group(draft.zarr("features.zarr"), mode="w"), "pooled/stage1", read(entry).image)


@artifact_task(name="dataset")
def make_dataset(store: Store, draft: Draft, entry: Entry) -> None:
    """Keep texts and labels as they are, and the publisher's split."""
    table, split = read(entry), entry.split
    if not isinstance(split, Published):
        raise ValueError(
            "this dataset comes with its publisher's split; write `split: {published: true}` in its entry"
        )
    count = len(table.id)
    sources.warn_if_counts_differ(entry, records=count, items=count, labels=len(table.labels))
    rows = splits.published(table.query, split.validation, split.seed)
    group = zarr.open_group(draft.zarr("dataset.zarr"), mode="w")
    put(group, "text", table.text)
    put_split(group, table.label, np.arange(count), rows)
    ids = {"id": table.id, "source": [entry.name] * count, "group": table.id}
    items = items_table(ids, [""] * count, table.labels, table.label, rows)
    draft.write_table("items.parquet", items)
    draft.write_table("rejected.parquet", pa.Table.from_pylist([], schema.REJECTED))
    write_lines(
        draft, "vocabulary.txt", [f"feature-{number}" for number in range(1, table.text.shape[1] + 1)]
    )
    write_lines(draft, "labels.txt", table.labels)


def read(entry: Entry) -> FeatureTable:
    """Return what the entry's reader gives.

    Raises:
        ValueError, FetchError: a source is missing, damaged, or not what its reader understands.
    """
    return readers.load_features(entry.reader).vectors(sources.paths(entry), entry.options)
