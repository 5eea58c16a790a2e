"""From images and the records again to a dataset: texts, labels and the split.

Reads:   images.parquet, and the records again for texts and labels
Writes:  dataset.zarr {text, tokens, label, image_row, split/*}, items.parquet, rejected.parquet,
         vocabulary.txt, labels.txt; README.md and quality.json: leakage and quality, counted; where the entry
         asks for noise, dataset.zarr/train_label

Labels, texts and split can be changed without decoding an image again.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import zarr
from numpy.typing import NDArray

from cmh.data import label_noise, labels, quality, readers, schema, splits, texts
from cmh.data.records import Record
from data_catalog.catalog import Entry, Sizes
from flows import rejections, sources
from flows.stages import dataset_card, records
from flows.stages.arrays import put, put_blocks
from flows.stages.artifact_task import artifact_task
from infra import artifacts
from infra.artifacts import Draft, Ref, Target
from infra.storage import Store

if TYPE_CHECKING:  # scikit-learn is loaded by what counts words
    from sklearn.feature_extraction.text import CountVectorizer

_log = logging.getLogger(__name__)


def target(images: Ref, entry: Entry, limit: int | None = None) -> Target:
    """Return the target of the dataset over these images."""
    settings = entry.model_dump(mode="json", include={"text", "labels", "unlabelled", "split"})
    config = records.origin(entry, limit) | settings | records.noise(entry)
    inputs = {"images": images.content}
    return Target("dataset", entry.name, config, inputs, revision=schema.DATASET_REVISION)


@dataclass(frozen=True)
class Assembled:
    """The items of a dataset, before they are written.

    Attributes:
        reasons: of each record, why it is left out; None: it is an item.
        items: the records that are.
        said: text of each item, words dropped as the entry says.
        names: the labels.
        label_NL: uint8, multi-hot.
        split: rows by name of the split.
        words: the counter of the words of the training texts.
    """

    reasons: list[str | None]
    items: list[Record]
    said: list[str]
    names: list[str]
    label_NL: NDArray[np.uint8]
    split: dict[str, NDArray[np.int64]]
    words: "CountVectorizer"


def assemble(every: Sequence[Record], damaged: Mapping[str, str], entry: Entry) -> Assembled:
    """Choose the items, and make their texts, labels and split; words are those of the training texts only.

    Args:
        every: all records of the sources.
        damaged: image → why it cannot be used.
        entry: what is asked for.

    Raises:
        ValueError: too few labels, groups or words to go on with.
    """
    names, label_ML = labels.assign([record.traits for record in every], entry.labels)
    if entry.unlabelled == "left out":
        labels.check_enough(names)
    reasons = [
        damaged.get(record.image_name) or rejections.reason_to_reject(record, label_L, entry)
        for record, label_L in zip(every, label_ML, strict=True)
    ]
    accepted = np.array([row for row, reason in enumerate(reasons) if reason is None], np.int64)
    items, drop = [every[row] for row in accepted], entry.text
    said = [texts.drop_words(item.text, drop.drop, seed=drop.seed, key=item.id) for item in items]
    split = _split(items, label_ML[accepted], entry)
    words = texts.vectorizer(min_df=drop.min_df, max_features=drop.max_features)
    words.fit([said[row] for row in split["train"]])
    return Assembled(reasons, items, said, names, label_ML[accepted], split, words)


@artifact_task(name="dataset")
def make(store: Store, draft: Draft, images: Ref, entry: Entry, limit: int | None) -> None:
    """Make texts, labels and the split; texts are counted with the words of the training items only."""
    described = artifacts.open_artifact(store, images).read_table("images.parquet")
    paths = sources.paths(entry)
    for remark in readers.remarks(entry.reader, paths, entry.options):
        _log.info(remark)
    every = list(records.read(entry, paths, limit))
    row_of = {name: number for number, name in enumerate(described["id"].to_pylist())}
    if list(dict.fromkeys(record.image_name for record in every)) != list(row_of):
        raise ValueError(f"the sources of {entry.name} changed since their images were made; run again")
    damaged = described.filter(pc.is_valid(described["reason"]))
    reason_of = dict(zip(damaged["id"].to_pylist(), damaged["reason"].to_pylist(), strict=True))
    made = assemble(every, reason_of, entry)
    rejections.log_left_out(entry, made.reasons)
    items = made.items
    if limit is None:
        sources.warn_if_counts_differ(entry, records=len(every), items=len(items), labels=len(made.names))
    vocabulary = made.words.get_feature_names_out().tolist()
    group = zarr.open_group(draft.zarr("dataset.zarr"), mode="w")
    said, length = made.said, entry.text.length
    put_blocks(group, "text", len(said), lambda a, b: texts.bag_of_words(said[a:b], vocabulary))
    put_blocks(group, "tokens", len(said), lambda a, b: texts.sequences(said[a:b], vocabulary, length))
    put(group, "group", np.unique([item.group for item in items], return_inverse=True)[1])
    image_row_N = np.array([row_of[item.image_name] for item in items], np.int64)
    wrong = put_split(group, made.label_NL, image_row_N, made.split, entry)
    ids = {name: [getattr(item, name) for item in items] for name in ("id", "source", "group")}
    draft.write_table("items.parquet", items_table(ids, said, made.names, made.label_NL, made.split))
    rejected = [
        {"id": record.id, "source": record.source, "reason": reason}
        for record, reason in zip(every, made.reasons, strict=True)
        if reason is not None
    ]
    draft.write_table("rejected.parquet", pa.Table.from_pylist(rejected, schema.REJECTED))
    write_lines(draft, "vocabulary.txt", vocabulary)
    write_lines(draft, "labels.txt", made.names)
    hash_N = described["hash"].fill_null(0).to_numpy()[image_row_N]
    for line in quality.of_validation(ids["group"], made.split):
        _log.warning("%s: %s", entry.name, line)
    dataset_card.write(draft, said, ids["group"], made.names, made.label_NL, made.split, wrong, hash_N)


def _split(
    items: Sequence[Record], label_NL: NDArray[np.uint8], entry: Entry
) -> dict[str, NDArray[np.int64]]:
    """Return the rows of each split: as the records say, else drawn as the entry says."""
    groups, settings = [item.group for item in items], entry.split
    if any(item.split for item in items):
        validation = 0.0 if isinstance(settings, Sizes) else settings.validation
        return splits.given([item.split for item in items], groups, validation=validation, seed=settings.seed)
    if not isinstance(settings, Sizes):
        return splits.grouped(groups, **settings.model_dump())
    train = None if settings.train == "database" else settings.train
    if settings.by_label is None:
        return splits.drawn(
            len(items), query=settings.query, train=train, validation=settings.validation, seed=settings.seed
        )
    first, others = settings.by_label
    return splits.drawn_by_label(
        label_NL, first=first, others=others, train=train, validation=settings.validation, seed=settings.seed
    )


def put_split(
    group: zarr.Group,
    label_NL: NDArray[np.uint8],
    image_row_N: NDArray[np.int64],
    split: Mapping[str, NDArray[np.int64]],
    entry: Entry,
) -> dict[str, Any] | None:
    """Write labels, rows of images and rows of each split beside the texts, and check the whole.

    Returns the noise of the entry, with the number of `items` that it met; None: there is none.
    """
    put(group, "label", label_NL)
    wrong = None
    if (noise := entry.label_noise) is not None:
        noisy_NL = label_noise.exchange(label_NL, split["train"], noise.rate, noise.seed)
        put(group, "train_label", noisy_NL)
        wrong = noise.model_dump() | {"items": int((noisy_NL != label_NL).any(axis=1).sum())}
    put(group, "image_row", image_row_N)
    for name, rows in split.items():
        put(group, f"split/{name}", rows)
    schema.validate(group, schema.DATASET)
    return wrong


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
    row_m, column_m = np.nonzero(label_NL)
    ends = np.append(0, np.cumsum(np.bincount(row_m, minlength=len(label_NL)))).astype(np.int32)
    named = pa.ListArray.from_arrays(ends, pa.array(names, pa.string()).take(pa.array(column_m)))
    columns = [*(list(ids[name]) for name in ("id", "source", "group")), list(said), named, split_of.tolist()]
    return pa.table(columns, schema=schema.ITEMS)


def write_lines(draft: Draft, name: str, lines: Sequence[str]) -> None:
    """Write a text file of one line each."""
    draft.write_bytes(name, "".join(f"{line}\n" for line in lines).encode())
