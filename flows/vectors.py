"""Datasets that bring features in place of images: from the sources to features, and on to a dataset.

`features`  Reads:   the sources, fetched and verified
            Writes:  features.zarr {pooled/stage1 (N, F) float32}, row by row as the reader has them
`dataset`   Reads:   the features, and the sources again for texts, labels and the split
            Writes:  dataset.zarr {text float32, label, image_row, split/*}, items.parquet, rejected.parquet
                     (empty), vocabulary.txt (the text features' numbers), labels.txt
"""

from typing import Any

import numpy as np
import pyarrow as pa
import zarr
from numpy.typing import NDArray

from cmh.data import readers, schema
from cmh.data.records import FeatureTable
from data_catalog.catalog import Entry, Published
from flows import sources
from flows.caching import artifact_task
from flows.preprocess import put
from infra.artifacts import Draft, Ref, Target
from infra.storage import Store

REVISION = 1


def features_target(entry: Entry) -> Target:
    """The features that the dataset brings."""
    return Target("features", entry.name, config=_origin(entry), revision=REVISION)


def dataset_target(features: Ref, entry: Entry) -> Target:
    """The dataset over these features."""
    config = _origin(entry) | {"split": entry.split.model_dump()}
    return Target("dataset", entry.name, config, inputs={"features": features.content}, revision=REVISION)


@artifact_task(name="features")
def features(store: Store, draft: Draft, entry: Entry) -> None:
    """Fetch the sources and keep the image features as if a backbone had made them."""
    found = read(entry)
    put(zarr.open_group(draft.zarr("features.zarr"), mode="w"), "pooled/stage1", found.image)


@artifact_task(name="dataset")
def dataset(store: Store, draft: Draft, entry: Entry) -> None:
    """Keep texts and labels as they are, and the publisher's split."""
    found = read(entry)
    sources.warn_if_unlike(entry, records=len(found.id), items=len(found.id), labels=len(found.labels))
    split = split_rows(found.query, entry.split)
    group = zarr.open_group(draft.zarr("dataset.zarr"), mode="w")
    put(group, "text", found.text)
    put(group, "label", found.label)
    put(group, "image_row", np.arange(len(found.id)))
    for name, rows in split.items():
        put(group, f"split/{name}", rows)
    schema.validate(group, schema.DATASET)
    draft.write_table("items.parquet", _items(found, entry.name, split))
    draft.write_table("rejected.parquet", pa.Table.from_pylist([], schema.REJECTED))
    numbers = range(1, found.text.shape[1] + 1)
    draft.write_bytes("vocabulary.txt", "".join(f"feature-{number}\n" for number in numbers).encode())
    draft.write_bytes("labels.txt", "".join(f"{name}\n" for name in found.labels).encode())


def read(entry: Entry) -> FeatureTable:
    """What the entry's reader gives.  Raises: ValueError, FetchError."""
    return readers.load_features(entry.reader).vectors(sources.paths(entry), entry.options)


def split_rows(query_N: NDArray[np.bool_], split: Any) -> dict[str, NDArray[np.int64]]:
    """Ascending rows of query, database, train and validation.

    Raises:
        ValueError: the entry does not take the publisher's split.
    """
    if not isinstance(split, Published):
        raise ValueError(
            "this dataset comes with its publisher's split; write `split: {published: true}` in its entry"
        )
    database = np.flatnonzero(~query_N)
    count = round(split.validation * len(database))
    drawn = np.random.default_rng(split.seed).permutation(database)
    return {
        "query": np.flatnonzero(query_N),
        "database": database,
        "train": np.sort(drawn[count:]),
        "validation": np.sort(drawn[:count]),
    }


def _origin(entry: Entry) -> dict[str, Any]:
    return {"reader": entry.reader, "options": entry.options, "sources": sources.checksums(entry)}


def _items(found: FeatureTable, source: str, split: dict[str, NDArray[np.int64]]) -> pa.Table:
    where = np.full(len(found.id), "database", object)
    for name in ("train", "validation", "query"):
        where[split[name]] = name
    named = [[name for name, has in zip(found.labels, row, strict=True) if has] for row in found.label]
    empty = [""] * len(found.id)
    columns = [list(found.id), [source] * len(found.id), list(found.id), empty, named, where.tolist()]
    return pa.table(columns, schema=schema.ITEMS)
