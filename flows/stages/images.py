"""From the sources of a catalog entry to images.

Reads:   the sources, fetched and verified
Writes:  images.zarr {image}, images.parquet: a row per image with its perceptual hash; zeros and a reason
         where damaged
Resumes: shard by shard; one task decodes the images of one shard and writes it whole

A task is sent what reads its images, so that no worker reads the table.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypedDict

import numpy as np
import pyarrow as pa
import zarr

from cmh.data import images, readers, schema
from cmh.data.archives import Read
from cmh.data.images import decode_image
from cmh.data.near_duplicates import perceptual_hash
from cmh.data.records import Record
from data_catalog.catalog import Entry
from flows import prefect_ui, rejections, sources
from flows.resources import Resources
from flows.stages import arrays, parts, records
from flows.stages.artifact_task import artifact_task
from infra.artifacts import Draft, Target
from infra.storage import Store

SHARD_BYTES = 32 << 20  # before compression; a shard is what one task decodes and keeps in memory
CHUNK = 64  # images; read alone by those who want a few


class Encoded(NamedTuple):
    """An image as its publisher has it."""

    name: str
    media_type: str
    read: Read


@dataclass(frozen=True)
class Part:
    """Images start...stop, what reads them, and where they go."""

    start: int
    stop: int
    images: Sequence[Encoded] = field(repr=False)
    size: int
    out: Any  # Zarr store, picklable


class Found(TypedDict):
    """What a shard tells of its images by name: why some are damaged, and hashes of the others."""

    reasons: dict[str, str]
    hashes: dict[str, int]


def target(entry: Entry, limit: int | None = None) -> Target:
    """Return the target of an entry's images, or of `limit` of them; local files are read for checksums."""
    readers.load(entry.reader)
    config = records.origin(entry, limit) | entry.images.model_dump()
    return Target("images", entry.source_name, config=config, revision=images.REVISION)


@artifact_task(name="images")
def make(store: Store, draft: Draft, entry: Entry, limit: int | None, resources: Resources) -> None:
    """Fetch the sources, decode every image on workers, put damaged ones aside."""
    with prefect_ui.progress("fetching", len(entry.sources)) as advance:
        paths = sources.paths(entry, advance)
    every = list(records.read(entry, paths, limit))
    rejections.check_records(every, entry)
    every = records.one_per_image(every)
    out = draft.zarr("images.zarr")
    shards = _shards(zarr.open_group(out, mode="a"), every, entry.images.size, out)
    rows = shards[0].stop
    damaged: dict[str, str] = {}

    def keep(part: Part, found: Found) -> None:
        draft.write_json(_found(part), found)
        damaged.update(found["reasons"])
        rejections.stop_if_damaged(entry, damaged, len(every))  # at once, and not after all the others

    parts.make_parts(
        draft, shards, _decode, title="decoding", resources=resources, on_done=keep,
        files=lambda part: [f"images.zarr/image/c/{part.start // rows}/0/0/0", _found(part)],
    )  # fmt: skip
    damaged.clear()
    tables = []
    for part in shards:
        found: Found = json.loads(draft.store.read_bytes(draft.path(_found(part))))
        damaged |= found["reasons"]
        names = [image.name for image in part.images]
        columns = [
            names,
            [record.source for record in every[part.start : part.stop]],
            [found["reasons"].get(name) for name in names],
            [found["hashes"].get(name) for name in names],
        ]
        tables.append(pa.table(columns, schema=schema.IMAGE_ROWS))
    rejections.stop_if_damaged(entry, damaged, len(every))
    draft.write_table("images.parquet", pa.concat_tables(tables).combine_chunks())
    schema.validate(zarr.open_group(out, mode="r"), schema.IMAGES)


def _shards(group: zarr.Group, every: Sequence[Record], size: int, out: Any) -> list[Part]:
    """Create the array of images; return its shards."""
    total = len(every)
    chunk = max(1, min(CHUNK, SHARD_BYTES // (size * size * 3)))
    rows = chunk * max(1, SHARD_BYTES // (chunk * size * size * 3))
    arrays.create(
        group, "image", shape=(total, size, size, 3), dtype="uint8", chunks=(chunk, size, size, 3),
        shards=(rows, size, size, 3), compressors=arrays.COMPRESSORS,
    )  # fmt: skip
    images = [Encoded(record.image_name, record.media_type, record.image) for record in every]
    return [Part(a, min(a + rows, total), images[a : a + rows], size, out) for a in range(0, total, rows)]


def _decode(part: Part) -> Found:
    """Decode and write one shard, on a worker."""
    found = Found(reasons={}, hashes={})
    block = np.zeros((part.stop - part.start, part.size, part.size, 3), np.uint8)
    for row, image in enumerate(part.images):
        try:
            block[row] = decode_image(image.read(), image.media_type, part.size)
        except (OSError, ValueError) as error:
            found["reasons"][image.name] = str(error) or type(error).__name__
        else:
            found["hashes"][image.name] = perceptual_hash(block[row])
    arrays.to_fill(part.out, "image")[part.start : part.stop] = block
    return found


def _found(part: Part) -> str:
    return f"logs/{parts.name(part)}.json"
