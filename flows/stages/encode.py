"""Encode every item of a dataset, both modalities, with a trained model: model and dataset in, codes out.

Reads:   model, dataset (dataset.zarr), images or features
Writes:  codes.zarr {image, text}: packed codes by falling significance, and image_relaxed, the relaxed
         codes of the images; or of a real-valued method {image_embedding, text_embedding};
         codes.json: what they are made of;
         unified.safetensors, the model's, where it learnt codes of both modalities of the training items
Resumes: shard by shard; one task encodes the rows of one shard and writes that shard whole
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
import zarr
from numpy.typing import NDArray

from cmh import methods
from cmh import model as models
from cmh.codes import embeddings, hamming
from cmh.data import schema
from cmh.data.items import Items, read_items
from cmh.data.sides import Side
from cmh.hashing import encoding
from cmh.model import Model
from cmh.onnx import exported
from cmh.onnx.exported import ExportedModel
from flows.resources import Resources
from flows.stages import arrays, parts
from flows.stages.artifact_task import artifact_task
from infra import artifacts
from infra.artifacts import Draft, Ref, Target
from infra.storage import Store
from infra.workers import worker_object

ROWS = 2048  # of a shard and of a task; it shapes the files, so it is part of the identity
BATCH = 128
SIDES: tuple[Side, ...] = ("image", "text")


@dataclass(frozen=True)
class Part:
    """What one task needs: rows start...stop, from where, to where."""

    start: int
    stop: int
    dataset: Any  # Zarr stores, picklable
    source: Any
    out: Any
    maps: bool


def target(model: Ref, dataset: Ref, source: Ref) -> Target:
    """Return the codes of all items of `dataset` by `model`; `source` holds their images or features."""
    return Target(
        "codes",
        model.name,
        config={"rows": ROWS, "checksum": "crc32c"},
        inputs={"model": model.content, "dataset": dataset.content, source.kind: source.content},
        revision=encoding.REVISION,
    )


@artifact_task(name="encode")
def make(
    store: Store, draft: Draft, model: Ref, dataset: Ref, images: Ref, source: Ref, resources: Resources
) -> None:
    """Encode on workers, the model loaded once on each.  `images` is only named, for searches."""
    trained = artifacts.open_artifact(store, model)
    facts = trained.read_json("config.json")
    items = artifacts.open_artifact(store, dataset).zarr("dataset.zarr")
    inputs = artifacts.open_artifact(store, source).zarr(f"{source.kind}.zarr")
    total = schema.array(zarr.open_group(items, mode="r"), "text").shape[0]
    out = draft.zarr("codes.zarr")
    specs = _arrays(facts["method"])
    _create(zarr.open_group(out, mode="a"), specs, total, len(facts["order"]))
    maps = (facts["grid"] or 1) > 1
    shards = [Part(a, min(a + ROWS, total), items, inputs, out, maps) for a in range(0, total, ROWS)]
    parts.make_parts(
        draft, shards, _encode, title="encoding", resources=resources,
        files=lambda part: [f"codes.zarr/{name}/c/{part.start // ROWS}/0" for name in specs],
        provide=partial(_load, store, model),
    )  # fmt: skip
    schema.validate(zarr.open_group(out, mode="r"), specs)
    if "unified.safetensors" in trained.files:
        draft.write_bytes("unified.safetensors", trained.read_bytes("unified.safetensors"))
    draft.write_json(
        "codes.json",
        {key: facts[key] for key in ("method", "order", "significance")}
        | {"bits": len(facts["order"])}
        | {"model": model.address, "dataset": dataset.address, images.kind: images.address},
    )


def _arrays(method: str) -> Mapping[str, schema.Array]:
    """Return what is written: for the image and for the text, codes or embeddings."""
    return schema.EMBEDDINGS if methods.load(method).real_valued else schema.CODES


def _create(group: zarr.Group, specs: Mapping[str, schema.Array], items: int, bits: int) -> None:
    for name, spec in specs.items():
        width = bits if spec.dims[1] == "K" else -(-bits // 8)
        layout = {"chunks": (ROWS, width), "shards": (ROWS, width), "compressors": arrays.COMPRESSORS}
        arrays.create(group, name, shape=(items, width), dtype=spec.dtype, **layout)


class Loaded(NamedTuple):
    """A model on torch, whose towers are small, and on ONNX Runtime, for backbones that were trained too."""

    model: Model
    exported: ExportedModel


def _load(store: Store, model: Ref) -> Loaded:
    torch.set_num_threads(1)  # the sums of a code must not depend on the number of cores
    trained = models.load(artifacts.open_artifact(store, model).local())
    return Loaded(trained, exported.of(trained, threads=1))


def _encode(key: str, part: Part) -> None:
    """Encode and write one shard of each modality, on a worker."""
    loaded: Loaded = worker_object(key)
    model = loaded.model
    dataset, source = (zarr.open_group(place, mode="r") for place in (part.dataset, part.source))
    items = read_items(
        dataset,
        source,
        np.arange(part.start, part.stop),
        maps=part.maps,
        sequences=model.method.sequences,
        image_size=model.facts.image_size,
    )
    image_row = schema.array(dataset, "image_row")[part.start : part.stop]
    for side in SIDES:
        u_NK = _relaxed(loaded, items, image_row, side)
        if model.method.real_valued:
            values: dict[str, Any] = {f"{side}_embedding": u_NK}
        else:
            values = {side: hamming.pack_relaxed(u_NK, model.order)}
            if side == "image":
                values["image_relaxed"] = embeddings.shrink(u_NK[:, model.order], "int8")
        for name, array in values.items():
            arrays.to_fill(part.out, name)[part.start : part.stop] = array


def _relaxed(loaded: Loaded, items: Items, image_row_N: NDArray[np.int64], side: Side) -> NDArray[np.float32]:
    """Return relaxed codes (N, K) of a side; an image that several items share is encoded once."""
    model = loaded.model
    if side == "text":
        return encoding.relaxed_codes(model.method, items, side, BATCH)
    _, first, place_N = np.unique(image_row_N, return_index=True, return_inverse=True)
    images = items if len(first) == len(items) else items.take(first)
    if model.facts.grid is None and model.facts.given is None:
        u_NK = loaded.exported.image_outputs(images.image[0])
    else:
        u_NK = encoding.relaxed_codes(model.method, images, side, BATCH)
    return u_NK if images is items else u_NK[place_N]
