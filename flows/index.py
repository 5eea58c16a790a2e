"""Add a folder of images, or a file of texts, to a collection (`cmh.collection`): what is new is encoded.

What is in the collection is not encoded again: to add what is new in a folder, or to go on after an addition
was broken off, add the folder once more.  An image is known by its absolute path; if its size or time of
change differs, it is encoded again.
"""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch

from cmh import collection_files
from cmh import model as models
from cmh.codes import hamming
from cmh.codes.hamming import Codes
from cmh.collection_files import Contents, FileState
from cmh.data import image_files
from cmh.data.batches import Side
from cmh.data.images import read_image
from cmh.model import Model
from flows import prefect_ui
from flows.experiment import Resources
from infra import artifacts, dask_cluster
from infra.artifacts import newest
from infra.storage import Store

TASK = 128  # images of a Dask task
PART = 1 << 14  # items of a part, at most
SECONDS = 60  # of work that is lost at most, or that of a task, when an addition is broken off

Item = TypeVar("Item")


class Task(NamedTuple):
    """Some images: their names in the collection, which are their paths."""

    names: tuple[str, ...]


@dataclass
class Added:
    """What an addition did."""

    items: int = 0
    known: int = 0  # were there already
    changed: int = 0  # of the items: files that changed since they were encoded
    gone: list[str] = field(default_factory=list)  # items below the folder whose file is no longer there
    rejected: dict[str, str] = field(default_factory=dict)  # name → reason
    skipped: Counter[str] = field(default_factory=Counter)  # suffix → files that are no images


def add(
    store: Store, source: Path, to: Path, model: str | None, resources: Resources, *, prune: bool = False
) -> Added:
    """Add a folder of images, or a text file of one text a line, to the collection in the folder `to`.

    model: address of a model in the store, where the collection is new; None: the newest.
    prune: remove items below the folder whose file is no longer there.

    Raises:
        ValueError: if `source` is neither, or `to` holds something else or items of the other kind, or the
            model cannot be searched with, or another process changes the collection.
    """
    what: Side = "image" if source.is_dir() else "text"
    if prune and what == "text":
        raise ValueError("--prune removes images whose file is gone; it needs a folder of images")
    done = Added()
    named = _images(source, done) if what == "image" else _texts(source)
    _prepare(to, what, store, model)
    with collection_files.lock(to):
        contents = collection_files.read(to)
        collection_files.check(to, contents)
        contents, waiting = _what_is_new(to, contents, source, named, done, prune)
        if waiting:
            _encode_and_add(to, contents, waiting, what, resources, done)
    if done.rejected and not done.items and not contents.parts:
        name, reason = next(iter(done.rejected.items()))
        raise ValueError(
            f"none of the {len(done.rejected)} {what}s of {source} can be encoded; {name}: {reason}"
        )
    return done


def _what_is_new(
    to: Path, contents: Contents, source: Path, named: Sequence[str], done: Added, prune: bool
) -> tuple[Contents, list[str]]:
    """Return what is to be encoded, after removing items whose file changed or, if asked for, is gone."""
    if contents.what == "text":
        there = {name for part in collection_files.read_parts(to, contents) for name in part.ids.tolist()}
        waiting = [name for name in named if name not in there]
        done.known = len(named) - len(waiting)
        return contents, waiting
    known = collection_files.states(to, contents)
    changed = {name for name in named if name in known and FileState.of(Path(name)) != known[name]}
    here, below = set(named), f"{source.resolve()}/"
    done.gone = sorted(name for name in known if name.startswith(below) and name not in here)
    stale = changed | (set(done.gone) if prune else set())
    if stale:
        contents = collection_files.remove(to, contents, stale)
    waiting = [name for name in named if name not in known or name in changed]
    done.changed, done.known = len(changed), len(named) - len(waiting)
    return contents, waiting


def _encode_and_add(
    to: Path, contents: Contents, waiting: list[str], what: Side, resources: Resources, done: Added
) -> None:
    encode = _encode_images if what == "image" else _encode_texts
    with prefect_ui.progress(f"encoding {what}s", len(waiting)) as advance:
        for codes_NP, names, rejected, files in encode(waiting, to / "model", resources):
            done.rejected |= rejected
            done.items += len(names)
            if names:
                contents = collection_files.add_part(to, contents, codes_NP, names, files)
            advance(len(names) + len(rejected))


def _images(folder: Path, done: Added) -> list[str]:
    """Return the whole path of each image below a folder; note what is none in `done`."""
    found = image_files.find(folder.resolve())
    done.rejected |= found.rejected
    done.skipped = found.skipped
    if not found.images:
        others = ", ".join(f"{count} {suffix}" for suffix, count in found.skipped.most_common(5))
        raise ValueError(
            f"{folder} holds no images; those are files that end with {', '.join(image_files.SUFFIXES)}"
            + (f"; it holds {others}" if others else "")
        )
    return [str(path) for path in found.images]


def _texts(file: Path) -> list[str]:
    """Return the texts of a file, in their order, each once."""
    if not file.is_file() or file.suffix.lower() != ".txt":
        raise ValueError(
            f"{file} is neither a folder of images nor a .txt file with one text a line; give one of these"
        )
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    texts = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not texts:
        raise ValueError(f"{file} holds no text; it takes one a line")
    return texts


def _prepare(to: Path, what: Side, store: Store, model: str | None) -> None:
    """Make the collection, or see that what is there takes these items."""
    if collection_files.is_collection(to):
        contents = collection_files.read(to)
        if contents.what != what:
            raise ValueError(f"{to} holds {contents.what}s, and these are {what}s; give another --to")
        if model is not None and model != contents.model:
            raise ValueError(
                f"{to} was encoded with {contents.model}, not {model}, and their codes cannot be compared; "
                "leave out --model, or give another --to"
            )
        return
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise ValueError(f"{to} is there and is no collection; give a new folder as --to")
    trained = artifacts.open_artifact(store, model or newest(store, "model"))
    if trained.ref.kind != "model":
        raise ValueError(f"{trained.ref.address} is a {trained.ref.kind}, not a model; see `cmh ls model`")
    folder = trained.local()
    loaded = models.load(folder)
    if loaded.method.real_valued or loaded.facts.given is not None:
        raise ValueError(
            f"{trained.ref.address} gives no codes of images and words: it is "
            + ("real-valued" if loaded.method.real_valued else "over features that its dataset brought")
            + "; give another with --model (`cmh ls model`)"
        )
    collection_files.create(to, folder, what, trained.ref.address)


Encoded = Iterator[tuple[Codes, list[str], dict[str, str], list[FileState] | None]]
"""Codes, the names they belong to, names of what was rejected, with the reason, and the states of files."""


def _encode_images(waiting: Sequence[str], model: Path, resources: Resources) -> Encoded:
    """On Dask workers, which must see the images and the model under the same paths; a few images here."""
    place = str(model.resolve())
    if resources.dask is None and len(waiting) <= TASK:
        yield _gathered(waiting, [_encode(_load(place), Task(tuple(waiting)))])
        return
    with (
        dask_cluster.connect(resources.dask, workers=resources.threads, threads=1) as client,
        dask_cluster.on_every_worker(client, partial(_load, place)) as loaded,
    ):
        first = TASK * 4 * max(1, sum(client.nthreads().values()))
        for names in _paced(waiting, first):
            tasks = [Task(tuple(some)) for some in _chunks(names, TASK)]
            work = partial(_on_worker, loaded)
            results = dask_cluster.map_parts(client, work, tasks, describe=lambda task: task.names[0])
            yield _gathered(names, results)


def _paced(items: Sequence[Item], first: int) -> Iterator[list[Item]]:
    """Yield the items in portions that take about SECONDS each, as measured between one and the next."""
    start, size = 0, first
    while start < len(items):
        began = time.monotonic()
        yield list(items[start : start + size])
        start += size
        rate = size / max(time.monotonic() - began, 1e-3)
        size = int(min(PART, max(first, rate * SECONDS)))


def _load(folder: str) -> Model:
    torch.set_num_threads(1)  # the sums of a code must not depend on the number of cores
    return models.load(Path(folder))


Result = tuple[Codes, dict[str, str], dict[str, FileState]]
"""Codes of a task's images, reasons of those that were rejected, states of the files of the others."""


def _gathered(
    names: Sequence[str], results: Sequence[Result]
) -> tuple[Codes, list[str], dict[str, str], list[FileState]]:
    """Return one portion, of what its tasks gave in their order."""
    rejected = {name: reason for _, bad, _ in results for name, reason in bad.items()}
    files = {name: state for _, _, good in results for name, state in good.items()}
    kept = [name for name in names if name not in rejected]
    codes_NP = np.concatenate([codes_NP for codes_NP, _, _ in results])
    return codes_NP, kept, rejected, [files[name] for name in kept]


def _on_worker(loaded: str, task: Task) -> Result:
    return _encode(dask_cluster.worker_object(loaded), task)


def _encode(model: Model, task: Task) -> Result:
    """Return codes (n, P) of the images that can be read, in their order, and why the others cannot."""
    images, rejected, files = [], {}, {}
    for name in task.names:
        try:
            state = FileState.of(Path(name))  # before reading: a change meanwhile shows the next time
            images.append(read_image(Path(name), model.facts.stored_size))
            files[name] = state
        except (OSError, ValueError) as error:
            rejected[name] = str(error) or type(error).__name__
    if not images:
        return np.empty((0, hamming.width(model.bits)), np.uint8), rejected, files
    return model.encode_images(images), rejected, files


def _encode_texts(waiting: Sequence[str], model: Path, resources: Resources) -> Encoded:
    torch.set_num_threads(resources.threads)
    trained = models.load(model)
    for texts in _paced(waiting, 1 << 12):
        known = [
            text
            for some in _chunks(texts, 1024)
            for text, is_known in zip(some, trained.knows(some), strict=True)
            if is_known
        ]
        rejected = dict.fromkeys(set(texts) - set(known), "no word that the model knows")
        codes = [trained.encode_texts(some) for some in _chunks(known, 1024)]
        empty = np.empty((0, hamming.width(trained.bits)), np.uint8)
        yield np.concatenate(codes) if codes else empty, known, rejected, None


def _chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some
