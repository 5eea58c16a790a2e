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
from numpy.typing import NDArray

from cmh.data import readers, schema, splits
from cmh.data import records as tables
from cmh.data.records import FeatureTable
from data_catalog.catalog import Entry, Published, Split
from flows import sources
from flows.stages import dataset_card, records
from flows.stages.arrays import put
from flows.stages.artifact_task import artifact_task
from flows.stages.dataset import items_table, put_split, write_lines
from infra.artifacts import Draft, Ref, Target
from infra.storage import Store


def features_target(entry: Entry) -> Target:
    """Return the target of the features that the dataset brings."""
    return Target("features", entry.source_name, config=records.origin(entry, None), revision=tables.REVISION)


def dataset_target(features: Ref, entry: Entry) -> Target:
    """Return the target of the dataset over these features."""
    config = records.origin(entry, None) | {"split": entry.split.model_dump()} | records.noise(entry)
    inputs = {"features": features.content}
    return Target("dataset", entry.name, config, inputs, revision=tables.REVISION)


@artifact_task(name="features")
def make_features(store: Store, draft: Draft, entry: Entry) -> None:
    """Fetch the sources and keep the image features as if a backbone had made them."""
    put(zarr.open_group(draft.zarr("features.zarr"), mode="w"), "pooled/stage1", read(entry).image)


@artifact_task(name="dataset")
def make_dataset(store: Store, draft: Draft, entry: Entry) -> None:
    """Keep texts and labels as they are, and the publisher's split; draw one where there is none."""
    table = read(entry)
    count = len(table.id)
    sources.warn_if_counts_differ(entry, records=count, items=count, labels=len(table.labels))
    rows = split_rows(table, entry)
    group = zarr.open_group(draft.zarr("dataset.zarr"), mode="w")
    put(group, "text", table.text)
    wrong = put_split(group, table.label, np.arange(count), rows, entry)
    ids = {"id": table.id, "source": [entry.name] * count, "group": table.id}
    items = items_table(ids, [""] * count, table.labels, table.label, rows)
    draft.write_table("items.parquet", items)
    draft.write_table("rejected.parquet", pa.Table.from_pylist([], schema.REJECTED))
    write_lines(
        draft, "vocabulary.txt", [f"feature-{number}" for number in range(1, table.text.shape[1] + 1)]
    )
    write_lines(draft, "labels.txt", table.labels)
    dataset_card.write(draft, [""] * count, table.id, table.labels, table.label, rows, wrong)


def split_rows(table: FeatureTable, entry: Entry) -> dict[str, NDArray[np.int64]]:
    """Return the rows of each split: the publisher's, or drawn item by item where there is none."""
    split = entry.split
    if table.query is None:
        if not isinstance(split, Split):
            raise ValueError(
                f"the data of {entry.name} states no split, and its entry asks for another kind than shares; "
                "give shares of query, validation and train in its entry"
            )
        return splits.grouped(table.id, **split.model_dump())
    if not isinstance(split, Published):
        raise ValueError(
            f"{entry.name} comes with its publisher's split; write `split: {{published: true}}` in its entry"
        )
    return splits.published(table.query, split.validation, split.seed)


def read(entry: Entry) -> FeatureTable:
    """Return what the entry's reader gives.

    Raises:
        ValueError, FetchError: a source is missing, damaged, or not what its reader understands.
    """
    return readers.load_features(entry.reader).vectors(sources.paths(entry), entry.options)
