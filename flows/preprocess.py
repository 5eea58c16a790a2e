"""From the sources of a catalog entry to images, and on to a dataset: two artifacts.

`images`   Reads:   the sources, fetched and verified
           Writes:  images.zarr {image}, images.parquet: a row per record, zeros and a reason where damaged
           Resumes: shard by shard; one Dask task decodes the records of one shard and writes it whole
`dataset`  Reads:   images.parquet, and the records again for texts and labels
           Writes:  dataset.zarr {text, tokens, label, image_row, split/*}, items.parquet, rejected.parquet,
                    vocabulary.txt, labels.txt

Labels, texts and split can be changed without decoding an image again.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

from cmh.data import labels, readers, schema, splits
from cmh.data.images import decode_image
from cmh.data.records import Record
from cmh.data.texts import bag_of_words, drop_words, sequences, vectorizer
from data_catalog.catalog import Entry
from flows import publish, sources, unfit
from flows.caching import artifact_task
from flows.experiments import Resources
from infra import artifacts, dask_cluster
from infra.artifacts import Draft, Ref, Target
from infra.storage import Store

IMAGES_REVISION = 2
DATASET_REVISION = 2
SHARD_BYTES = 32 << 20  # before compression; a shard is what one task decodes and keeps in memory
CHUNK = 64  # images; read alone by those who want a few
ROWS = 4096  # of a shard of the dataset's arrays
COMPRESSORS = (ZstdCodec(level=3), Crc32cCodec())  # crc32c: a flipped bit is noticed as the chunk is read


@dataclass(frozen=True)
class Part:
    """What one task needs: decode records start...stop of a request and write them to `out`."""

    request: str
    start: int
    stop: int
    size: int
    out: Any  # Zarr store, picklable


def images_target(entry: Entry, limit: int | None = None) -> Target:
    """The images of an entry, or of `limit` records.  Local files are read for their checksums."""
    readers.load(entry.reader)
    return Target(
        "images",
        entry.name,
        config=_origin(entry, limit) | entry.images.model_dump(),
        revision=IMAGES_REVISION,
    )


def dataset_target(images: Ref, entry: Entry, limit: int | None = None) -> Target:
    """The dataset over these images."""
    settings = entry.model_dump(mode="json", include={"text", "labels", "split"})
    config = _origin(entry, limit) | settings
    return Target("dataset", entry.name, config, inputs={"images": images.content}, revision=DATASET_REVISION)


@artifact_task(name="images")
def images(store: Store, draft: Draft, entry: Entry, limit: int | None, resources: Resources) -> None:
    """Fetch the sources, decode every image on Dask workers, put damaged ones aside."""
    with publish.progress("fetching", len(entry.sources)) as advance:
        found = sources.paths(entry, advance)
    request = _request(entry, found, limit)
    records = list(_read(request))
    unfit.check(records, entry)
    size = entry.images.size
    out = draft.zarr("images.zarr")
    rows = _create(zarr.open_group(out, mode="a"), len(records), size)
    parts = [Part(request, a, min(a + rows, len(records)), size, out) for a in range(0, len(records), rows)]
    waiting = [part for part in parts if not draft.part(_name(part))]
    with (
        publish.progress("decoding", len(records)) as advance,
        dask_cluster.connect(resources.dask, workers=resources.threads, threads=1) as client,
    ):
        advance(len(records) - sum(part.stop - part.start for part in waiting))

        damaged: dict[str, str] = {}

        def done(part: Part, reasons: dict[str, str]) -> None:
            draft.write_json(_reasons(part), reasons)
            files = [f"images.zarr/image/c/{part.start // rows}/0/0/0", _reasons(part)]
            draft.finish_part(_name(part), files)
            advance(part.stop - part.start)
            damaged.update(reasons)
            unfit.stop_if_damaged(entry, damaged, len(records))  # at once, and not after all the others

        dask_cluster.map_parts(client, _decode, waiting, describe=_name, on_done=done)
    reasons: dict[str, str] = {}
    for part in parts:
        reasons |= json.loads(draft.store.read_bytes(draft.path(_reasons(part))))
    unfit.stop_if_damaged(entry, reasons, len(records))
    rows_out = [{"id": r.id, "source": r.source, "reason": reasons.get(r.id)} for r in records]
    draft.write_table("images.parquet", pa.Table.from_pylist(rows_out, schema.IMAGE_ROWS))
    schema.validate(zarr.open_group(out, mode="r"), schema.IMAGES)


@artifact_task(name="dataset")
def dataset(store: Store, draft: Draft, images: Ref, entry: Entry, limit: int | None) -> None:
    """Make texts, labels and the split; texts are counted with the words of the training items only."""
    described = artifacts.open_artifact(store, images).read_table("images.parquet").to_pylist()
    records = list(_read(_request(entry, sources.paths(entry), limit)))
    if [record.id for record in records] != [row["id"] for row in described]:
        raise ValueError(f"the sources of {entry.name} changed since their images were made; run again")
    names, label_ML = labels.assign([record.traits for record in records], entry.labels)
    reasons = [
        row["reason"] or unfit.reason(record, label_L)
        for record, row, label_L in zip(records, described, label_ML, strict=True)
    ]
    unfit.tell(entry, reasons)
    kept = np.array([row for row, reason in enumerate(reasons) if reason is None], np.int64)
    if limit is None:
        sources.warn_if_unlike(entry, records=len(records), items=len(kept), labels=len(names))
    chosen, label_NL = [records[row] for row in kept], label_ML[kept]
    drop = entry.text
    texts = [drop_words(r.text, drop.drop, seed=drop.seed, key=r.id) for r in chosen]
    split = splits.grouped([record.group for record in chosen], **entry.split.model_dump())
    words = vectorizer(min_df=drop.min_df, max_features=drop.max_features)
    vocabulary = words.fit([texts[row] for row in split["train"]]).get_feature_names_out().tolist()
    group = zarr.open_group(draft.zarr("dataset.zarr"), mode="w")
    put(group, "text", bag_of_words(texts, vocabulary))
    put(group, "tokens", sequences(texts, vocabulary, drop.length))
    put(group, "label", label_NL)
    put(group, "image_row", kept)
    for name, rows in split.items():
        put(group, f"split/{name}", rows)
    schema.validate(group, schema.DATASET)
    draft.write_table("items.parquet", _items(chosen, texts, names, label_NL, split))
    rejected = [
        {"id": r.id, "source": r.source, "reason": reason}
        for r, reason in zip(records, reasons, strict=True)
        if reason is not None
    ]
    draft.write_table("rejected.parquet", pa.Table.from_pylist(rejected, schema.REJECTED))
    draft.write_bytes("vocabulary.txt", "".join(f"{word}\n" for word in vocabulary).encode())
    draft.write_bytes("labels.txt", "".join(f"{name}\n" for name in names).encode())


def _origin(entry: Entry, limit: int | None) -> dict[str, Any]:
    """What decides which records there are."""
    found = {"reader": entry.reader, "options": entry.options, "sources": sources.checksums(entry)}
    return found if limit is None else found | {"limit": limit}


def _request(entry: Entry, found: dict[str, Path], limit: int | None) -> str:
    """All that a worker needs to read the same records, as text: small, and a key for its cache."""
    paths = {name: str(path) for name, path in found.items()}
    return json.dumps({**_origin(entry, limit), "limit": limit, "paths": paths}, sort_keys=True)


def _read(request: str) -> Iterator[Record]:
    asked = json.loads(request)
    paths = {name: Path(path) for name, path in asked["paths"].items()}
    records = readers.load(asked["reader"]).read(paths, asked["options"])
    if asked["limit"] is None:
        yield from records
        return
    # A trial takes whole groups, so that it holds every source's image of a concept.
    every = list(records)
    size = Counter(record.group for record in every)
    taken, count = set(), 0
    for group in sorted(size, key=lambda group: sha256(group.encode()).hexdigest()):
        if count < asked["limit"]:
            taken.add(group)
            count += size[group]
    yield from [record for record in every if record.group in taken][: asked["limit"]]


@lru_cache(maxsize=1)
def _records(request: str) -> Sequence[Record]:
    """On a worker: the records, read once and not once per shard."""
    return list(_read(request))


def _decode(part: Part) -> dict[str, str]:
    """On a worker: decode and write one shard; returns the reasons of the damaged records by id."""
    reasons: dict[str, str] = {}
    block = np.zeros((part.stop - part.start, part.size, part.size, 3), np.uint8)
    for row, record in enumerate(_records(part.request)[part.start : part.stop]):
        try:
            block[row] = decode_image(record.image(), record.media_type, part.size)
        except (OSError, ValueError) as error:
            reasons[record.id] = str(error) or type(error).__name__
    array: Any = zarr.open_group(part.out, mode="r+")["image"]
    array[part.start : part.stop] = block
    return reasons


def _create(group: zarr.Group, total: int, size: int) -> int:
    """The array of images; returns the rows of a shard."""
    chunk = max(1, min(CHUNK, SHARD_BYTES // (size * size * 3)))
    rows = chunk * max(1, SHARD_BYTES // (chunk * size * size * 3))
    if "image" not in group:
        group.create_array(
            "image",
            shape=(total, size, size, 3),
            dtype="uint8",
            chunks=(chunk, size, size, 3),
            shards=(rows, size, size, 3),
            compressors=COMPRESSORS,
            config={"write_empty_chunks": True},  # a shard of zeros is a shard, not a gap
        )
    return rows


def put(group: zarr.Group, name: str, values: np.ndarray[Any, Any]) -> None:
    """A compressed array of these values, in chunks of rows."""
    rows = (max(1, min(ROWS, len(values))), *values.shape[1:])
    array = group.create_array(
        name, shape=values.shape, dtype=values.dtype, chunks=rows, compressors=COMPRESSORS
    )
    array[:] = values


def _items(
    records: Sequence[Record],
    texts: Sequence[str],
    names: Sequence[str],
    label_NL: np.ndarray[Any, Any],
    split: dict[str, np.ndarray[Any, Any]],
) -> pa.Table:
    where = np.full(len(records), "database", object)
    for name in ("train", "validation", "query"):
        where[split[name]] = name
    columns = [
        [record.id for record in records],
        [record.source for record in records],
        [record.group for record in records],
        list(texts),
        [[name for name, has in zip(names, row, strict=True) if has] for row in label_NL],
        where.tolist(),
    ]
    return pa.table(columns, schema=schema.ITEMS)


def _name(part: Part) -> str:
    return f"rows-{part.start}-{part.stop}"


def _reasons(part: Part) -> str:
    return f"logs/{_name(part)}.json"
