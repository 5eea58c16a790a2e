"""Items that cannot be used: what they lack, when it is said, and when it stops a run."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmh.data import labels, texts
from cmh.data.records import Record
from data_catalog.catalog import Entry
from infra import metrics

NO_TEXT, NO_LABEL = "its text is empty", "no label"
SHOWN = 5  # damaged items listed in an error

_log = logging.getLogger(__name__)


def check_records(records: Sequence[Record], entry: Entry) -> None:
    """Refuse records that would make later stages fail, before the long work."""
    if not records and entry.reader == "folder":
        raise ValueError(
            f"{entry.name}: the table of items names its columns and has no item; give it one a line"
        )
    if not records:
        raise ValueError(
            f"{entry.name}: the reader {entry.reader!r} found no items in its sources; `cmh catalog show "
            f"{entry.name}` names them, and `cmh inspect PATH` says what a file or folder of your own holds"
        )
    repeated = [name for name, count in Counter(record.id for record in records).items() if count > 1]
    if repeated:
        raise ValueError(
            f"{entry.name}: {len(repeated)} id(s) occur twice, such as {', '.join(repeated[:SHOWN])}; each "
            "item needs an id of its own (without a column 'id' it is the image's name)"
        )
    empty = {record.id: NO_TEXT for record in records if not _words(record)}
    stop_if_damaged(entry, empty, len(records))
    if entry.unlabelled == "left out":
        labels.check_enough(labels.assign([record.traits for record in records], entry.labels)[0])


def _words(record: Record) -> bool:
    return bool(texts.words(record.text))


def reason_to_reject(record: Record, label_L: np.ndarray[Any, Any], entry: Entry) -> str | None:
    """Return why an item whose image is whole is left out all the same; None if it is not."""
    if not _words(record):
        return NO_TEXT
    return None if label_L.any() or entry.unlabelled == "kept" else NO_LABEL


def check_texts(name: str, known_N: NDArray[np.bool_], split: Mapping[str, NDArray[np.int64]]) -> None:
    """Refuse texts of which none has a word that the training texts have; warn where some have none.

    Args:
        name: of the dataset, for messages.
        known_N: whether a text has a word of the vocabulary, that is, of the training texts.
        split: rows by name of the split.

    Raises:
        ValueError: no text of the queries or of the validation set has a known word.
    """
    for part in ("query", "validation"):
        rows = split[part]
        unknown = int((~known_N[rows]).sum())
        if unknown and unknown == len(rows):
            raise ValueError(
                f"{name}: none of the {len(rows)} {part} texts has a word that occurs in the "
                f"{len(split['train'])} training texts, so no text can be told from another; give texts "
                "that share words, or more of them, or have them read by a network, such as --text.name "
                "minilm_l6_v2"
            )
        if unknown:
            _log.warning(f"{name}: {unknown} of {len(rows)} {part} texts have no word of the training texts")


def check_labels(
    name: str,
    labels: Sequence[str],
    label_NL: NDArray[np.uint8],
    split: Mapping[str, NDArray[np.int64]],
) -> None:
    """Refuse labels from which nothing can be learnt or measured; warn of queries that find nothing.

    Args:
        name: of the dataset, for messages.
        labels: their names.
        label_NL: multi-hot labels.
        split: rows of labelled items by name of the split.

    Raises:
        ValueError: no two training items share a label, or all share one, or no query shares one with the
            database.
    """
    if len(split["train"]) > 1 and label_NL[split["train"]].sum(axis=0).max() < 2:
        raise ValueError(
            f"{name}: every label occurs at most once among the {len(split['train'])} training "
            "items, so nothing tells which belong together; give labels that several items share, or take a "
            "method that learns from pairs alone, such as --method joint"
        )
    everywhere_L = label_NL[split["train"]].all(axis=0)
    if len(split["train"]) > 1 and everywhere_L.any():
        raise ValueError(
            f"{name}: each of the {len(split['train'])} training items has the label "
            f"{labels[int(everywhere_L.argmax())]!r}, so all items would be relevant to each other; leave "
            "that label out, or take a method that learns from pairs alone, such as --method joint"
        )
    if not len(split["query"]):
        raise ValueError(
            f"{name}: no query has a label, so nothing can be measured; label some of them, or take a method "
            "that learns from pairs alone, such as --method joint"
        )
    labels_in_database_L = label_NL[split["database"]].any(axis=0)
    alone = int((~(label_NL[split["query"]] & labels_in_database_L).any(axis=1)).sum())
    if alone == len(split["query"]):
        raise ValueError(
            f"{name}: none of the {alone} queries shares a label with an item of the database, so "
            "nothing can be measured; give labels that several items share"
        )
    if alone:
        _log.warning(
            f"{name}: {alone} of {len(split['query'])} queries have no relevant item in the database "
            "and count as 0"
        )


def log_left_out(entry: Entry, reasons: Sequence[str | None]) -> None:
    """Log in one line what is not in the dataset; each item's reason is in rejected.parquet."""
    counts = Counter("damaged image" if r not in (None, NO_TEXT, NO_LABEL) else r for r in reasons)
    total = counts.total()
    metrics.add(metrics.REJECTED, total - counts[None], dataset=entry.name)
    left_out = {reason: count for reason, count in counts.items() if reason is not None}
    if left_out:
        told = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
        _log.info(f"{entry.name}: {sum(left_out.values())} of {total} items left out: {told}")


def stop_if_damaged(entry: Entry, reasons: dict[str, str], total: int) -> None:
    """Refuse more damaged items (id → reason) than the entry takes."""
    if len(reasons) > entry.max_rejected * total:
        shown = "\n".join(f"  {name}: {reason}" for name, reason in list(reasons.items())[:SHOWN])
        raise ValueError(
            f"{entry.name}: at least {len(reasons)} of {total} items are unusable, more than "
            f"{entry.max_rejected:.0%}:\n{shown}\n"
            "mend them, or take them out of the table; or have them left out, by a larger max_rejected in "
            "the catalog entry (for data of your own write one as data_catalog/README.md shows; with the "
            "name `folder`, images that were decoded are not decoded again)"
        )
