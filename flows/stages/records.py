"""Read the records of a dataset again wherever they are needed: in the flow, and on every Dask worker."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
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


def request(entry: Entry, found: dict[str, Path], limit: int | None) -> str:
    """Return all that a worker needs to read the same records, as text: small, and a key for its cache."""
    paths = {name: str(path) for name, path in found.items()}
    return json.dumps({**origin(entry, limit), "limit": limit, "paths": paths}, sort_keys=True)


def read(request: str) -> Iterator[Record]:
    """Read the records of a request; of a trial, whole groups until there are enough."""
    settings = json.loads(request)
    paths = {name: Path(path) for name, path in settings["paths"].items()}
    records = readers.load(settings["reader"]).read(paths, settings["options"])
    if settings["limit"] is None:
        yield from records
        return
    # A trial takes whole groups, so that it holds every source's image of a concept.
    every = list(records)
    size = Counter(record.group for record in every)
    taken, count = set(), 0
    for group in sorted(size, key=lambda group: sha256(group.encode()).hexdigest()):
        if count < settings["limit"]:
            taken.add(group)
            count += size[group]
    yield from [record for record in every if record.group in taken][: settings["limit"]]


def one_per_image(records: Iterable[Record]) -> list[Record]:
    """Return the first record of each image, in order: records may share one."""
    first: dict[str, Record] = {}
    for record in records:
        first.setdefault(record.image_name, record)
    return list(first.values())


@lru_cache(maxsize=1)
def images_on_worker(request: str) -> Sequence[Record]:
    """Return a record per image on a worker, read once and not once per shard."""
    return one_per_image(read(request))
