"""Features of a frozen backbone, computed once: images in, features out.

Reads:   images.zarr
Writes:  features.zarr {pooled/stage1…S (M, C) float32, and with a grid maps/stage1…S (M, C, G, G) float16},
         row by row as in images.zarr
Resumes: shard by shard; one task computes the rows of one shard and writes it whole

A shard is computed in batches of fixed size, so it comes out the same on any number of workers.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import zarr

from cmh.data import schema
from cmh.networks import backbones, runtime
from cmh.networks import features as extraction
from flows import sources
from flows.experiment import BackboneSettings
from flows.resources import Resources
from flows.stages import arrays, parts
from flows.stages.artifact_task import artifact_task
from infra import artifacts
from infra.artifacts import Draft, Ref, Target
from infra.storage import Store
from infra.workers import worker_object

ROWS = 512  # of a shard and of a task: 2 s on one core; it shapes the files, so it is part of the identity
BATCH = extraction.BATCH


@dataclass(frozen=True)
class Part:
    """What one task needs: rows start...stop of the images, from where, to where."""

    start: int
    stop: int
    images: Any  # Zarr stores, picklable
    out: Any


def target(images: Ref, backbone: BackboneSettings, grid: int = 1) -> Target:
    """Return features of these images; `grid` > 1 adds maps of that side, for methods that look at places."""
    config = {
        "backbone": backbone.name,
        "weights": sources.identity_of_weights(backbone),
        "image_size": backbone.image_size,
    }
    config |= {"grid": grid, "rows": ROWS, "batch": BATCH}
    name = f"{images.name}-{backbone.name}"
    return Target("features", name, config, inputs={"images": images.content}, revision=extraction.REVISION)


@artifact_task(name="features")
def make(
    store: Store, draft: Draft, images: Ref, backbone: BackboneSettings, resources: Resources, grid: int = 1
) -> None:
    """Run the backbone over every image, on workers with one core each."""
    source = artifacts.open_artifact(store, images).zarr("images.zarr")
    total = schema.array(zarr.open_group(source, mode="r"), "image").shape[0]
    out = draft.zarr("features.zarr")
    weights = sources.network_weights(backbone)
    channels = backbones.load(backbone.name, "none").channels
    dims = _create(zarr.open_group(out, mode="a"), total, channels, grid)
    draft.run |= {
        "threads_per_worker": 1,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        **runtime.versions(),
    }
    shards = [Part(a, min(a + ROWS, total), source, out) for a in range(0, total, ROWS)]

    def files(part: Part) -> list[str]:
        shard = part.start // ROWS
        return [f"features.zarr/{name}/c/{shard}{'/0' * rest}" for name, rest in dims.items()]

    parts.make_parts(
        draft, shards, _extract, title="features", resources=resources, files=files,
        provide=partial(_load, backbone.name, weights, backbone.image_size, grid),
    )  # fmt: skip


def _create(group: zarr.Group, total: int, channels: tuple[int, ...], grid: int) -> dict[str, int]:
    """Create the arrays; return how many dimensions follow the rows in each."""
    shapes: dict[str, tuple[str, tuple[int, ...]]] = {}
    for number, count in enumerate(channels, start=1):
        shapes[f"pooled/stage{number}"] = ("float32", (count,))
        if grid > 1:
            shapes[f"maps/stage{number}"] = ("float16", (count, grid, grid))
    for name, (dtype, rest) in shapes.items():
        arrays.create(
            group, name, shape=(total, *rest), dtype=dtype, chunks=(ROWS, *rest),
            compressors=arrays.COMPRESSORS,
        )  # fmt: skip
    return {name: len(rest) for name, (_, rest) in shapes.items()}


def _load(name: str, weights: str, image_size: int, grid: int) -> extraction.Extractor:
    # One thread: with more, sums may be ordered by the number of cores and the last bits with them.
    torch.set_num_threads(1)
    backbone = backbones.load(name, weights).eval()
    return extraction.Extractor(backbone, image_size=image_size, grid=grid, batch=BATCH, threads=1)


def _extract(key: str, part: Part) -> None:
    """Compute and write one shard of every array, on a worker."""
    image: Any = zarr.open_group(part.images, mode="r")["image"]
    extractor: extraction.Extractor = worker_object(key)
    for name, values in extractor(np.asarray(image[part.start : part.stop])).items():
        arrays.to_fill(part.out, name)[part.start : part.stop] = values
