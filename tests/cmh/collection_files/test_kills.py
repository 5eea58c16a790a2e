"""SIGKILL at random moments of every kind of change: the collection is as before or as after the change."""

import json
import multiprocessing
import random
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from cmh.codes import embeddings
from cmh.collection_files import changes, manifest
from cmh.collection_files.manifest import Contents
from cmh.collection_files.parts import FileState, read_items

BITS, MOMENTS = 16, 25
Change = Callable[[Path, Contents], Contents]


def added(first: int, count: int, version: int = 0, replaced: tuple[str, ...] = ()) -> Change:
    """The addition of items whose codes and embeddings follow from their number and version."""

    def change(folder: Path, contents: Contents) -> Contents:
        rng = np.random.default_rng([first, version])
        u_NK = rng.normal(size=(count, BITS)).astype(np.float32)
        names = [f"{number}.jpg" for number in range(first, first + count)]
        states = [FileState(number, version, f"{number}-{version}") for number in range(first, first + count)]
        codes_NP = np.packbits(u_NK >= 0, axis=1)
        kept = embeddings.shrink(u_NK, "int8")
        return changes.add_part(folder, contents, codes_NP, names, states, kept, replaced=replaced)

    return change


def columns(count: int) -> Change:
    table = pa.table({"name": [f"{number}.jpg" for number in range(count)], "year": list(range(count))})
    return lambda folder, contents: changes.set_columns(folder, contents, table)


CHANGES: list[Change] = [
    added(0, 400),
    added(400, 300),
    columns(500),
    added(100, 50, 1, tuple(f"{number}.jpg" for number in range(100, 150))),
    lambda folder, contents: changes.remove(folder, contents, {"3.jpg", "450.jpg"}),
    lambda folder, contents: changes.set_root(folder, contents, "/elsewhere"),
    added(700, 200),
    lambda folder, contents: changes.set_states(folder, contents, {"5.jpg": FileState(5, 9, "5-0")}),
    changes.compact,
    columns(900),
    added(900, 100),
    lambda folder, contents: changes.remove(folder, contents, {f"{n}.jpg" for n in range(0, 1000, 7)}),
    changes.compact,
]


def apply(folder: Path, start: int, began: Event) -> None:
    """Apply the changes from one on, each under the lock."""
    began.set()
    for change in CHANGES[start:]:
        with changes.lock(folder):
            change(folder, manifest.read(folder))


def create(root: Path) -> Path:
    (root / "trained").mkdir(parents=True)
    (root / "trained" / "config.json").write_text(json.dumps({"order": list(range(BITS))}))
    changes.create(root / "own", root / "trained", "image", "model/a/b", root="/photos", embeddings="int8")
    return root / "own"


def state(folder: Path) -> Any:
    """All that a collection holds, after a check that it is whole; parts' names and number do not count."""
    contents = manifest.read(folder)
    assert changes.damage(folder, contents) == []
    items = {}
    for part in contents.parts:
        held = read_items(folder, contents, part)
        assert held.files is not None
        assert held.embeddings_NK is not None
        for name, *rest in zip(held.names, held.codes_NP, held.files, held.embeddings_NK, strict=True):
            assert name not in items
            items[name] = tuple(one.tobytes() if isinstance(one, np.ndarray) else one for one in rest)
    table = changes.read_columns(folder, contents)
    return items, contents.root, None if table is None else table.to_pydict()


@pytest.mark.slow
def test_kills_at_random_moments(tmp_path: Path) -> None:
    """After each the state is one of the undisturbed sequence, not before the last; going on from there ends
    as if nothing had been, with no file left over."""
    quiet = create(tmp_path / "quiet")
    states, seconds = [state(quiet)], 0.0
    for change in CHANGES:
        before = time.monotonic()
        with changes.lock(quiet):
            change(quiet, manifest.read(quiet))
        seconds += time.monotonic() - before
        states.append(state(quiet))
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.cmh.collection_files.test_kills"])
    dice, killed, rounds, seen = random.Random(0), 0, 0, set()
    while killed < MOMENTS:
        rounds += 1
        folder, done = create(tmp_path / f"round-{rounds}"), 0
        while done < len(CHANGES):
            began = processes.Event()
            child: BaseProcess = processes.Process(target=apply, args=(folder, done, began))
            child.start()
            assert began.wait(60)  # a busy machine takes its time to start one
            child.join(dice.uniform(0, seconds) if killed < MOMENTS else 60)
            if child.is_alive():
                child.kill()
                killed += 1
            child.join()
            now = state(folder)
            # two changes that leave the same state, such as `compact`, are both done or can be repeated
            done = max(k for k, known in enumerate(states) if known == now and k >= done)
            seen.add(done)
        with changes.lock(folder):
            pass  # deletes what is left over
        listed = {part.name for part in manifest.read(folder).folders} | {"model", "collection.json", "lock"}
        assert {path.name for path in folder.iterdir() if path.name != ".collection.json"} == listed
        assert state(folder) == states[-1]
    assert len(seen) > 5, "the kills hit too few of the changes"


def test_readers_keep_what_they_opened(tmp_path: Path) -> None:
    """Embeddings that are mapped from a part that is replaced and deleted stay readable."""
    folder = create(tmp_path)
    with changes.lock(folder):
        contents = added(0, 20)(folder, manifest.read(folder))
        held = read_items(folder, contents, contents.parts[0])
        assert held.embeddings_NK is not None
        before = held.embeddings_NK.tobytes()
        contents = changes.remove(folder, contents, {"3.jpg"})
    assert [part.name for part in contents.parts] == ["part-00001"]
    assert not (folder / "part-00000").exists()
    assert held.embeddings_NK.tobytes() == before


def test_compact_joins_parts_in_order_up_to_a_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but the parts changes, and no name of a part is used again."""
    folder = create(tmp_path)
    monkeypatch.setattr(changes, "COMPACT", 100)
    with changes.lock(folder):
        contents = manifest.read(folder)
        for number in range(12):
            contents = added(number * 20, 20)(folder, contents)
        before = state(folder)
        contents = changes.compact(folder, contents)
        assert [part.items for part in contents.parts] == [100, 100, 40]
        assert state(folder) == before
        assert list(state(folder)[0]) == list(before[0])
        again = changes.compact(folder, contents)
        assert again.parts[:2] == contents.parts[:2]
    assert {part.name for part in contents.parts}.isdisjoint(f"part-{number:05}" for number in range(12))


def test_no_joined_part_is_above_the_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of uneven sizes; one that is larger by itself stays as it is."""
    folder = create(tmp_path)
    monkeypatch.setattr(changes, "COMPACT", 100)
    with changes.lock(folder):
        contents, names = manifest.read(folder), 0
        for items in (50, 90, 50, 10, 120, 30):
            contents = added(names, items)(folder, contents)
            names += items
        contents = changes.compact(folder, contents)
    assert [part.items for part in contents.parts] == [50, 90, 60, 120, 30]
