"""A collection: images or texts of one's own, encoded by a trained model, in a folder that a search can read.

    collection.json     what its items are, and the address of the model they were encoded with
    model/              the model's files (`cmh.model`)
    part-00000/ …       codes and names of items, as they were added (`cmh.codes.index_files`)

A part is whole or not there.  What is in the collection is not encoded again: to add what is new in a folder,
or to go on after an addition was broken off, add the folder once more.
"""

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_args

import numpy as np
import pyarrow as pa
import torch

from cmh import model as models
from cmh.codes import hamming, index_files
from cmh.codes.hamming import Codes
from cmh.codes.search import Index
from cmh.model import Model
from flows import publish
from flows.experiments import Resources
from flows.retrieval import Engine, What, newest, read_image
from infra import artifacts, dask_cluster
from infra.storage import Store

FORMAT = 1
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
    Raises: ValueError if `source` is neither, or `to` holds something else or items of the other kind, or
    the model cannot be searched with.
    """
    what: What = "image" if source.is_dir() else "text"
    named = _images(source) if what == "image" else _texts(source)
    _prepare(to, what, store, model)
    there = {name for part in _parts(to) for name in part.ids.tolist()}
    waiting = [name for name in named if name not in there]
    done = Added(known=len(named) - len(waiting))
    if not waiting:
        return done
    encode = _encode_images if what == "image" else _encode_texts
    with publish.progress(f"encoding {what}s", len(waiting)) as advance:
        for codes_NP, names, rejected in encode(waiting, to / "model", resources):
            done.rejected |= rejected
            done.items += len(names)
            if names:
                _write_part(to, codes_NP, names)
            advance(len(names) + len(rejected))
    if done.rejected and not done.items and not there:
        name, reason = next(iter(done.rejected.items()))
        raise ValueError(f"none of the {len(waiting)} {what}s of {source} can be encoded; {name}: {reason}")
    return done


def open_collection(folder: Path) -> Engine:
    """Search a collection.

    Raises:
        ValueError: there is none, or nothing is in it.
    """
    what, parts = _about(folder)["what"], _filled(folder)
    model = models.load(folder / "model")
    names = pa.chunked_array([pa.array(part.ids.tolist(), pa.string()) for part in parts])
    return Engine(
        model,
        Index(np.concatenate([part.codes() for part in parts]), model.bits),
        what,
        lambda row: (names[row].as_py(), "") if what == "image" else ("", names[row].as_py()),
        lambda row: read_image(Path(names[row].as_py()), model.facts.stored_size),
    )


def joined(folder: Path) -> Index:
    """All codes of a collection, with their names as ids.

    Raises:
        ValueError: there is none, or nothing is in it.
    """
    _about(folder)
    parts = _filled(folder)
    codes_NP = np.concatenate([part.codes() for part in parts])
    return Index(codes_NP, parts[0].bits, np.concatenate([part.ids for part in parts]))


def is_collection(folder: Path) -> bool:
    return (folder / "collection.json").is_file()


def _about(folder: Path) -> dict[str, Any]:
    if not is_collection(folder):
        raise ValueError(f"{folder} is no collection; make one with `cmh index photos/ --to {folder}`")
    about: dict[str, Any] = json.loads((folder / "collection.json").read_text())
    if about.get("format") != FORMAT or about.get("what") not in get_args(What):
        raise ValueError(f"{folder}/collection.json is of another format; make the collection anew")
    return about


def _parts(folder: Path) -> list[Index]:
    return [index_files.load(part) for part in sorted(folder.glob("part-*"))]


def _filled(folder: Path) -> list[Index]:
    parts = _parts(folder)
    if not parts:
        raise ValueError(f"{folder} is empty; add to it with `cmh index photos/ --to {folder}`")
    return parts


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
    """The texts of a file, in their order, each once."""
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


def _prepare(to: Path, what: What, store: Store, model: str | None) -> None:
    """Make the collection, or see that what is there takes these items."""
    if is_collection(to):
        about = _about(to)
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
    about = {"format": FORMAT, "what": what, "model": trained.ref.address}
    (draft / "collection.json").write_text(json.dumps(about, indent=2) + "\n")
    draft.rename(to)


def _write_part(to: Path, codes_NP: Codes, names: Sequence[str]) -> None:
    bits = json.loads((to / "model" / "config.json").read_text())["order"]
    draft = to / f".part-{os.getpid()}"
    shutil.rmtree(draft, ignore_errors=True)
    index_files.save(Index(codes_NP, len(bits), np.array(names)), draft)
    place = to / f"part-{len(list(to.glob('part-*'))):05}"
    if place.exists():
        raise ValueError(f"{place} is there already: another process adds to {to}; wait until it is done")
    draft.rename(place)


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
        dask_cluster.provided(client, partial(_load, place)) as provided,
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
    """One part, of what its tasks gave in their order."""
    rejected = {name: reason for _, bad in found for name, reason in bad.items()}
    kept = [name for name in names if name not in rejected]
    return np.concatenate([codes_NP for codes_NP, _ in found]), kept, rejected


def _on_worker(provided: str, task: Task) -> tuple[Codes, dict[str, str]]:
    return _encode(dask_cluster.resource(provided), task)


def _encode(model: Model, task: Task) -> tuple[Codes, dict[str, str]]:
    """Codes (n, P) of the images that can be read, in their order, and why the others cannot."""
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
