"""Add a folder of images, or a file of texts, to a collection (`cmh.collection`): what is new is encoded.

What is in the collection is not encoded again: to add what is new in a folder, or to go on after an addition
was broken off, add the folder once more.
"""

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch

from cmh import collection
from cmh import model as models
from cmh.codes import hamming
from cmh.codes.hamming import Codes
from cmh.data.batches import Side
from cmh.data.images import read_image
from cmh.model import Model
from flows import prefect_ui
from flows.experiment import Resources
from infra import artifacts, dask_cluster
from infra.artifacts import newest
from infra.storage import Store

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".svg", ".webp")
TASK = 128  # images of a Dask task
PART = 1 << 14  # items of a part: what is lost at most when an addition is broken off

Item = TypeVar("Item")


class Task(NamedTuple):
    """Some images: their names in the collection, and where they are."""

    names: tuple[str, ...]
    paths: tuple[str, ...]


@dataclass
class Added:
    """What an addition did."""

    items: int = 0
    known: int = 0  # were there already
    rejected: dict[str, str] = field(default_factory=dict)  # name → reason


def add(store: Store, source: Path, to: Path, model: str | None, resources: Resources) -> Added:
    """Add a folder of images, or a text file of one text a line, to the collection in the folder `to`.

    model: address of a model in the store, where the collection is new; None: the newest.

    Raises:
        ValueError: if `source` is neither, or `to` holds something else or items of the other kind, or the
            model cannot be searched with.
    """
    what: Side = "image" if source.is_dir() else "text"
    named = _images(source) if what == "image" else _texts(source)
    _prepare(to, what, store, model)
    there = {name for part in collection.read_parts(to) for name in part.ids.tolist()}
    waiting = [name for name in named if name not in there]
    done = Added(known=len(named) - len(waiting))
    if not waiting:
        return done
    encode = _encode_images if what == "image" else _encode_texts
    with prefect_ui.progress(f"encoding {what}s", len(waiting)) as advance:
        for codes_NP, names, rejected in encode(waiting, to / "model", resources):
            done.rejected |= rejected
            done.items += len(names)
            if names:
                collection.write_part(to, codes_NP, names)
            advance(len(names) + len(rejected))
    if done.rejected and not done.items and not there:
        name, reason = next(iter(done.rejected.items()))
        raise ValueError(f"none of the {len(waiting)} {what}s of {source} can be encoded; {name}: {reason}")
    return done


def _images(folder: Path) -> dict[str, Path]:
    """Name of each image file below a folder → where it is; the name is the path as it was given.

    Hidden files are left out, such as the doubles that macOS writes beside images.
    """
    found = {
        str(path): path.resolve()
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    }
    if not found:
        raise ValueError(f"{folder} holds no images; those are files that end with {', '.join(SUFFIXES)}")
    return found


def _texts(file: Path) -> dict[str, None]:
    """Return the texts of a file, in their order, each once."""
    if not file.is_file() or file.suffix.lower() != ".txt":
        raise ValueError(
            f"{file} is neither a folder of images nor a .txt file with one text a line; give one of these"
        )
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    found: dict[str, None] = dict.fromkeys(line.strip() for line in lines if line.strip())
    if not found:
        raise ValueError(f"{file} holds no text; it takes one a line")
    return found


def _prepare(to: Path, what: Side, store: Store, model: str | None) -> None:
    """Make the collection, or see that what is there takes these items."""
    if collection.is_collection(to):
        about = collection.read_about(to)
        if about["what"] != what:
            raise ValueError(f"{to} holds {about['what']}s, and these are {what}s; give another --to")
        if model is not None and model != about["model"]:
            raise ValueError(
                f"{to} was encoded with {about['model']}, not {model}, and their codes cannot be compared; "
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
    draft = to.with_name(f".{to.name}-{os.getpid()}")
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(folder, draft / "model")
    about = {"format": collection.FORMAT, "what": what, "model": trained.ref.address}
    (draft / "collection.json").write_text(json.dumps(about, indent=2) + "\n")
    draft.rename(to)


Encoded = Iterator[tuple[Codes, list[str], dict[str, str]]]
"""Codes, the names they belong to, and names of what was rejected, with the reason; part by part."""


def _encode_images(waiting: Sequence[str], model: Path, resources: Resources) -> Encoded:
    """On Dask workers, which must see the images and the model under the same paths; a few images here."""
    place = str(model.resolve())
    if resources.dask is None and len(waiting) <= TASK:
        yield _gathered(waiting, [_encode(_load(place), _task(waiting))])
        return
    with (
        dask_cluster.connect(resources.dask, workers=resources.threads, threads=1) as client,
        dask_cluster.on_every_worker(client, partial(_load, place)) as provided,
    ):
        for names in _chunks(waiting, PART):
            tasks = [_task(some) for some in _chunks(names, TASK)]
            work = partial(_on_worker, provided)
            found = dask_cluster.map_parts(client, work, tasks, describe=lambda task: task.names[0])
            yield _gathered(names, found)


def _load(folder: str) -> Model:
    torch.set_num_threads(1)  # the sums of a code must not depend on the number of cores
    return models.load(Path(folder))


def _task(names: Sequence[str]) -> Task:
    return Task(tuple(names), tuple(str(Path(name).resolve()) for name in names))


def _gathered(
    names: Sequence[str], found: Sequence[tuple[Codes, dict[str, str]]]
) -> tuple[Codes, list[str], dict[str, str]]:
    """Return one part, of what its tasks gave in their order."""
    rejected = {name: reason for _, bad in found for name, reason in bad.items()}
    kept = [name for name in names if name not in rejected]
    return np.concatenate([codes_NP for codes_NP, _ in found]), kept, rejected


def _on_worker(provided: str, task: Task) -> tuple[Codes, dict[str, str]]:
    return _encode(dask_cluster.worker_object(provided), task)


def _encode(model: Model, task: Task) -> tuple[Codes, dict[str, str]]:
    """Return codes (n, P) of the images that can be read, in their order, and why the others cannot."""
    images, rejected = [], {}
    for name, path in zip(task.names, task.paths, strict=True):
        try:
            images.append(read_image(Path(path), model.facts.stored_size))
        except (OSError, ValueError) as error:
            rejected[name] = str(error) or type(error).__name__
    if not images:
        return np.empty((0, hamming.width(model.bits)), np.uint8), rejected
    return model.encode_images(images), rejected


def _encode_texts(waiting: Sequence[str], model: Path, resources: Resources) -> Encoded:
    torch.set_num_threads(resources.threads)
    trained = models.load(model)
    for texts in _chunks(waiting, PART):
        known = [
            text
            for some in _chunks(texts, 1024)
            for text, is_known in zip(some, trained.knows(some), strict=True)
            if is_known
        ]
        rejected = dict.fromkeys(set(texts) - set(known), "no word that the model knows")
        codes = [trained.encode_texts(some) for some in _chunks(known, 1024)]
        yield (
            np.concatenate(codes) if codes else np.empty((0, hamming.width(trained.bits)), np.uint8),
            known,
            rejected,
        )


def _chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some
