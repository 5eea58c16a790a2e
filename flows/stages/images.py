"""From the sources of a catalog entry to images.

Reads:   the sources, fetched and verified
Writes:  images.zarr {image}, images.parquet: a row per image, zeros and a reason where damaged
Resumes: shard by shard; one Dask task decodes the records of one shard and writes it whole
"""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import zarr

from cmh.data import images, readers, schema
from cmh.data.images import decode_image
from data_catalog.catalog import Entry
from flows import prefect_ui, sources
from flows.experiment import Resources
from flows.stages import arrays, parts, records, rejections
from flows.stages.artifact_task import artifact_task
from infra.artifacts import Draft, Target
from infra.storage import Store

SHARD_BYTES = 32 << 20  # before compression; a shard is what one task decodes and keeps in memory
CHUNK = 64  # images; read alone by those who want a few


@dataclass(frozen=True)
class Part:
    """Records start...stop of a request, and where their images go."""

    request: str
    start: int
    stop: int
    size: int
    out: Any  # Zarr store, picklable


def target(entry: Entry, limit: int | None = None) -> Target:
    """Return the target of an entry's images, or of `limit` of them; local files are read for checksums."""
    readers.load(entry.reader)
    config = records.origin(entry, limit) | entry.images.model_dump()
    return Target("images", entry.name, config=config, revision=images.REVISION)


@artifact_task(name="images")
def make(store: Store, draft: Draft, entry: Entry, limit: int | None, resources: Resources) -> None:
    """Fetch the sources, decode every image on Dask workers, put damaged ones aside."""
    with prefect_ui.progress("fetching", len(entry.sources)) as advance:
        paths = sources.paths(entry, advance)
    request = records.request(entry, paths, limit)
    every = list(records.read(request))
    rejections.check_records(every, entry)
    every = records.one_per_image(every)
    out = draft.zarr("images.zarr")
    shards = _shards(zarr.open_group(out, mode="a"), request, len(every), entry.images.size, out)
    rows = shards[0].stop
    damaged: dict[str, str] = {}

    def keep_reasons(part: Part, reasons: dict[str, str]) -> None:
        draft.write_json(_reasons(part), reasons)
        damaged.update(reasons)
        rejections.stop_if_damaged(entry, damaged, len(every))  # at once, and not after all the others

    parts.make_parts(
        draft, shards, _decode, title="decoding", resources=resources, on_done=keep_reasons,
        files=lambda part: [f"images.zarr/image/c/{part.start // rows}/0/0/0", _reasons(part)],
    )  # fmt: skip
    reasons: dict[str, str] = {}
    for part in shards:
        reasons |= json.loads(draft.store.read_bytes(draft.path(_reasons(part))))
    rejections.stop_if_damaged(entry, reasons, len(every))
    table = [{"id": r.image_name, "source": r.source, "reason": reasons.get(r.image_name)} for r in every]
    draft.write_table("images.parquet", pa.Table.from_pylist(table, schema.IMAGE_ROWS))
    schema.validate(zarr.open_group(out, mode="r"), schema.IMAGES)


def _shards(group: zarr.Group, request: str, total: int, size: int, out: Any) -> list[Part]:
    """Create the array of images; return its shards."""
    chunk = max(1, min(CHUNK, SHARD_BYTES // (size * size * 3)))
    rows = chunk * max(1, SHARD_BYTES // (chunk * size * size * 3))
    arrays.create(
        group, "image", shape=(total, size, size, 3), dtype="uint8", chunks=(chunk, size, size, 3),
        shards=(rows, size, size, 3), compressors=arrays.COMPRESSORS,
    )  # fmt: skip
    return [Part(request, a, min(a + rows, total), size, out) for a in range(0, total, rows)]


def _decode(part: Part) -> dict[str, str]:
    """Decode and write one shard, on a worker; return why records are damaged, by id."""
    reasons: dict[str, str] = {}
    block = np.zeros((part.stop - part.start, part.size, part.size, 3), np.uint8)
    for row, record in enumerate(records.images_on_worker(part.request)[part.start : part.stop]):
        try:
            block[row] = decode_image(record.image(), record.media_type, part.size)
        except (OSError, ValueError) as error:
            reasons[record.image_name] = str(error) or type(error).__name__
    arrays.to_fill(part.out, "image")[part.start : part.stop] = block
    return reasons


def _reasons(part: Part) -> str:
    return f"logs/{parts.name(part)}.json"
