"""Read the records of a dataset again wherever they are needed."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from cmh.data import readers
from cmh.data.records import Record
from data_catalog.catalog import Entry
from flows import sources


def origin(entry: Entry, limit: int | None) -> dict[str, Any]:
    """Return what decides which records there are: a part of the identity of images and dataset."""
    found: dict[str, Any] = {
        "reader": entry.reader,
        "options": entry.options,
        "sources": sources.checksums(entry),
    }
    if (revision := readers.revision(entry.reader)) > 1:
        found["reader_revision"] = revision
    return found if limit is None else found | {"limit": limit}


def noise(entry: Entry) -> dict[str, Any]:
    """Return the noise in the labels, a part of the identity of the dataset; empty where there is none."""
    return {} if entry.label_noise is None else {"label_noise": entry.label_noise.model_dump()}


def read(entry: Entry, paths: Mapping[str, Path], limit: int | None) -> Iterator[Record]:
    """Read the records of an entry whose sources are at `paths`; of a trial, groups until they are enough."""
    records = readers.load(entry.reader).read(paths, entry.options)
    if limit is None:
        yield from records
        return
    # A trial takes groups, so that it holds every source's image of a concept; the last may be cut.
    every = list(records)
    size = Counter(record.group for record in every)
    taken, count = set(), 0
    for group in sorted(size, key=lambda group: sha256(group.encode()).hexdigest()):
        if count < limit:
            taken.add(group)
            count += size[group]
    yield from [record for record in every if record.group in taken][:limit]


def one_per_image(records: Iterable[Record]) -> list[Record]:
    """Return the first record of each image, in order: records may share one."""
    first: dict[str, Record] = {}
    for record in records:
        first.setdefault(record.image_name, record)
    return list(first.values())
