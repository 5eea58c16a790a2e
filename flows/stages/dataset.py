"""From images and the records again to a dataset: texts, labels and the split.

Reads:   images.parquet, and the records again for texts and labels
Writes:  dataset.zarr {text, tokens, label, image_row, split/*}, items.parquet, rejected.parquet,
         vocabulary.txt, labels.txt

Labels, texts and split can be changed without decoding an image again.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import zarr
from numpy.typing import NDArray

from cmh.data import labels, readers, schema, splits, texts
from cmh.data.records import Record
from data_catalog.catalog import Entry
from flows import sources
from flows.stages import records, rejections
from flows.stages.arrays import put
from flows.stages.artifact_task import artifact_task
from infra import artifacts
from infra.artifacts import Draft, Ref, Target
from infra.storage import Store

_log = logging.getLogger(__name__)


def target(images: Ref, entry: Entry, limit: int | None = None) -> Target:
    """Return the target of the dataset over these images."""
    settings = entry.model_dump(mode="json", include={"text", "labels", "split"})
    config = records.origin(entry, limit) | settings
    inputs = {"images": images.content}
    return Target("dataset", entry.name, config, inputs, revision=schema.DATASET_REVISION)


@artifact_task(name="dataset")
def make(store: Store, draft: Draft, images: Ref, entry: Entry, limit: int | None) -> None:
    """Make texts, labels and the split; texts are counted with the words of the training items only."""
    described = artifacts.open_artifact(store, images).read_table("images.parquet").to_pylist()
    paths = sources.paths(entry)
    for remark in readers.remarks(entry.reader, paths, entry.options):
        _log.info(remark)
    every = list(records.read(records.request(entry, paths, limit)))
    row_of = {row["id"]: number for number, row in enumerate(described)}
    if list(dict.fromkeys(record.image_name for record in every)) != list(row_of):
        raise ValueError(f"the sources of {entry.name} changed since their images were made; run again")
    image_row_M = np.array([row_of[record.image_name] for record in every], np.int64)
    names, label_ML = labels.assign([record.traits for record in every], entry.labels)
    reasons = [
        described[row]["reason"] or rejections.reason_to_reject(record, label_L)
        for record, row, label_L in zip(every, image_row_M, label_ML, strict=True)
    ]
    rejections.log_left_out(entry, reasons)
    accepted = np.array([row for row, reason in enumerate(reasons) if reason is None], np.int64)
    if limit is None:
        sources.warn_if_counts_differ(entry, records=len(every), items=len(accepted), labels=len(names))
    items, label_NL = [every[row] for row in accepted], label_ML[accepted]
    drop = entry.text
    said = [texts.drop_words(item.text, drop.drop, seed=drop.seed, key=item.id) for item in items]
    split = _split(items, entry)
    words = texts.vectorizer(min_df=drop.min_df, max_features=drop.max_features)
    vocabulary = words.fit([said[row] for row in split["train"]]).get_feature_names_out().tolist()
    bag_ND = texts.bag_of_words(said, vocabulary)
    rejections.check_usable(entry, bag_ND.max(axis=1, initial=0) > 0, label_NL, split)
    group = zarr.open_group(draft.zarr("dataset.zarr"), mode="w")
    put(group, "text", bag_ND)
    put(group, "tokens", texts.sequences(said, vocabulary, drop.length))
    put_split(group, label_NL, image_row_M[accepted], split)
    ids = {name: [getattr(item, name) for item in items] for name in ("id", "source", "group")}
    draft.write_table("items.parquet", items_table(ids, said, names, label_NL, split))
    rejected = [
        {"id": record.id, "source": record.source, "reason": reason}
        for record, reason in zip(every, reasons, strict=True)
        if reason is not None
    ]
    draft.write_table("rejected.parquet", pa.Table.from_pylist(rejected, schema.REJECTED))
    write_lines(draft, "vocabulary.txt", vocabulary)
    write_lines(draft, "labels.txt", names)


def _split(items: Sequence[Record], entry: Entry) -> dict[str, NDArray[np.int64]]:
    """Return the rows of each split: as the records say, else drawn as the entry says."""
    groups, drawn = [item.group for item in items], entry.split.model_dump()
    if not any(item.split for item in items):
        return splits.grouped(groups, **drawn)
    return splits.given(
        [item.split for item in items], groups, validation=drawn["validation"], seed=drawn["seed"]
    )


def put_split(
    group: zarr.Group,
    label_NL: NDArray[np.uint8],
    image_row_N: NDArray[np.int64],
    split: Mapping[str, NDArray[np.int64]],
) -> None:
    """Write labels, rows of images and rows of each split beside the texts, and check the whole."""
    put(group, "label", label_NL)
    put(group, "image_row", image_row_N)
    for name, rows in split.items():
        put(group, f"split/{name}", rows)
    schema.validate(group, schema.DATASET)


def items_table(
    ids: Mapping[str, Sequence[str]],
    said: Sequence[str],
    names: Sequence[str],
    label_NL: NDArray[Any],
    split: Mapping[str, NDArray[np.int64]],
) -> pa.Table:
    """Return items.parquet: a row per item with its ids, text, labels by name, and split.

    Args:
        ids: "id", "source" and "group" of each item.
        said: the text of each item.
        names: the labels.
        label_NL: uint8, multi-hot.
        split: rows by name of the split.
    """
    split_of = np.full(len(said), "database", object)
    for name in ("train", "validation", "query"):
        split_of[split[name]] = name
    named = [[name for name, has in zip(names, row, strict=True) if has] for row in label_NL]
    columns = [*(list(ids[name]) for name in ("id", "source", "group")), list(said), named, split_of.tolist()]
    return pa.table(columns, schema=schema.ITEMS)


def write_lines(draft: Draft, name: str, lines: Sequence[str]) -> None:
    """Write a text file of one line each."""
    draft.write_bytes(name, "".join(f"{line}\n" for line in lines).encode())
