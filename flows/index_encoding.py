"""Encode what is added to a collection, in portions that each become a part."""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from cmh.codes import embeddings
from cmh.codes.embeddings import Kind
from cmh.collection_files.parts import FileState, Items
from cmh.data import images, shard_images
from cmh.onnx import exported
from cmh.onnx.exported import ExportedModel
from flows import engines
from flows.resources import Resources
from infra import stores
from infra.workers import worker_object

TASK = 32  # images that a thread or a worker decodes and encodes at once
PART = 1 << 14  # items of a part, at most
SECONDS = 60  # of work that is lost at most, or that of a task, when an addition is broken off

Item = TypeVar("Item")
Image = tuple[str, str]
"""Name of an image in the collection, and its path."""


class Portion(NamedTuple):
    """Items that were encoded, and why others were not, by name."""

    items: Items
    rejected: dict[str, str]


class Task(NamedTuple):
    """Some images, and how their embeddings are kept."""

    images: tuple[Image, ...]
    kind: Kind


Encode = Callable[[Sequence[Task]], list[Portion]]


def encode_images(
    waiting: Sequence[Image], model: Path, kind: Kind, resources: Resources
) -> Iterator[Portion]:
    """In threads; or on Dask workers, which must see the images and the model under the same paths."""
    with _encoders(str(model.resolve()), resources) as (encode, count):
        for some in _paced(waiting, TASK * count):
            results = encode([Task(tuple(few), kind) for few in _chunks(some, TASK)])
            rejected = {name: reason for _, bad in results for name, reason in bad.items()}
            yield Portion(Items.together([items for items, _ in results]), rejected)


@contextmanager
def _encoders(folder: str, resources: Resources) -> Iterator[tuple[Encode, int]]:
    """Yield what encodes tasks, and how many it takes at first."""
    if resources.dask is None:
        work = partial(_encode, _load(folder))
        with ThreadPoolExecutor(resources.threads) as threads:
            yield (lambda tasks: list(threads.map(work, tasks))), resources.threads
        return
    with (
        engines.workers(resources) as workers,
        workers.on_every_worker(partial(_load, folder)) as loaded,
    ):
        on_worker = partial(_on_worker, loaded)
        yield (
            (lambda tasks: workers.map_parts(on_worker, tasks, describe=lambda task: task.images[0][0])),
            4 * workers.count,
        )


def encode_texts(
    waiting: Sequence[tuple[str, str]], model: Path, kind: Kind, resources: Resources
) -> Iterator[Portion]:
    """In this process; `waiting`: name and text of each."""
    trained = exported.load(model, threads=resources.threads, cache=stores.graphs())
    for portion in _paced(waiting, 1 << 12):
        kept: dict[str, str] = {}
        rejected: dict[str, str] = {}
        for some in _chunks(portion, 1024):
            for (name, text), known in zip(some, trained.knows([text for _, text in some]), strict=True):
                if known:
                    kept[name] = text
                else:
                    rejected[name] = "no word that the model knows" if text else "it has no text"
        relaxed = [trained.relax_texts(some) for some in _chunks(kept.values(), 1024)]
        items = _items(trained, relaxed, list(kept), None, kind)
        named = any(name != text for name, text in kept.items())
        yield Portion(replace(items, texts=list(kept.values()) if named else None), rejected)


def _items(
    model: ExportedModel,
    relaxed: Sequence[NDArray[np.float32]],
    names: Sequence[str],
    files: Sequence[FileState] | None,
    kind: Kind,
) -> Items:
    u_NK = np.concatenate([np.empty((0, model.bits), np.float32), *relaxed])
    return Items(model.pack(u_NK), names, files, embeddings.shrink(u_NK, kind))


def _paced(items: Sequence[Item], first: int) -> Iterator[list[Item]]:
    """Yield the items in portions that take about SECONDS each, as measured between one and the next."""
    start, size = 0, first
    while start < len(items):
        began = time.monotonic()
        yield list(items[start : start + size])
        start += size
        rate = size / max(time.monotonic() - began, 1e-3)
        size = int(min(PART, max(first, rate * SECONDS)))


def _load(folder: str) -> ExportedModel:
    # One thread: the sums of a code must not depend on the number of cores.
    return exported.load(Path(folder), threads=1, cache=stores.graphs())


def _on_worker(loaded: str, task: Task) -> Portion:
    return _encode(worker_object(loaded), task)


def _encode(model: ExportedModel, task: Task) -> Portion:
    """Encode the images that can be read, in their order."""
    pixels: list[Any] = []
    kept: dict[str, FileState] = {}
    rejected: dict[str, str] = {}
    for name, path in task.images:
        try:
            state = FileState.of(Path(path))  # before reading: a change meanwhile shows the next time
            data = shard_images.read_bytes(Path(path), in_order=True)
            pixels.append(images.decode_named(path, data, model.facts.stored_size))
            kept[name] = FileState(state.size, state.modified, hashlib.sha256(data).hexdigest())
        except (OSError, ValueError) as error:
            rejected[name] = str(error) or type(error).__name__
    relaxed = [model.relax_images(pixels)] if pixels else []
    return Portion(_items(model, relaxed, list(kept), list(kept.values()), task.kind), rejected)


def _chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some
