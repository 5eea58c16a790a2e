"""The files of a collection, which change under a lock and in one step.

    collection.json     what counts: the model's files and the parts, each file with its SHA-256
    model/              the model's files (`cmh.model`)
    part-00000/ …       items: codes and names (`cmh.codes.index_files`), embeddings.npy if they are kept;
                        of images, files.parquet: size and time of each file, or of the shard that holds it,
                        and SHA-256 of the image; of texts that have ids, texts.parquet
    columns-00001/      columns of one's own, columns.parquet: `name`, then the columns

A change writes new parts beside the old ones and replaces `collection.json` last, so it has happened
completely or not at all.  A reader that has the old parts open keeps them.  Parts that `collection.json` does
not list are left over from a change that was broken off, and are deleted by the next one.

Shape suffixes: N = items, K = bits, P = bytes of a code.
"""

import fcntl
import os
import shutil
import socket
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cmh.codes import index_files
from cmh.codes.embeddings import Kind
from cmh.codes.hamming import Codes
from cmh.codes.search import Index
from cmh.collection_files.manifest import (
    Contents,
    Part,
    checksums,
    commit,
    finish,
    is_collection,
    next_place,
    read,
    sha256,
    sync,
    sync_one,
)
from cmh.collection_files.parts import FileState, Items, read_items, read_texts, write
from cmh.data.sides import Side


class Locked(ValueError):
    """Another process changes the collection."""


COMPACT = 1 << 20  # items of a part that `compact` makes, at most: the removal of one writes all of them anew


def damage(folder: Path, contents: Contents) -> list[str]:
    """Return what is wrong with the files of a collection, a line each; nothing if all are as written."""
    listed = {f"model/{name}": checksum for name, checksum in contents.model_files.items()}
    for part in contents.folders:
        listed |= {f"{part.name}/{name}": checksum for name, checksum in part.files.items()}
    problems = []
    for name, checksum in listed.items():
        path = folder / name
        if not path.is_file():
            problems.append(f"{path} is missing")
        elif sha256(path) != checksum:
            problems.append(f"{path} is not what was written: its checksum differs")
    return problems


def check(folder: Path, contents: Contents) -> None:
    """Refuse a collection of which a file is missing or damaged.

    Raises:
        ValueError: naming the files.
    """
    problems = damage(folder, contents)
    if problems:
        shown = "; ".join(problems[:3])
        raise ValueError(
            f"{len(problems)} file(s) of the collection {folder} are damaged: {shown}; restore them from a "
            "backup, or make the collection anew with cmh index"
        )


def read_parts(folder: Path, contents: Contents) -> list[Index]:
    """Return the codes of every part, with the items' names as ids, in the order of addition."""
    return [index_files.load(folder / part.name) for part in contents.parts]


def read_columns(folder: Path, contents: Contents) -> pa.Table | None:
    """Return the columns of one's own, `name` first; None if there are none."""
    if contents.columns is None:
        return None
    table = pq.read_table(folder / contents.columns.name / "columns.parquet")
    if table.column_names[:1] != ["name"] or not pa.types.is_string(table["name"].type):
        raise ValueError(f"{folder / contents.columns.name} is damaged: it does not name its items")
    return table


def states(folder: Path, contents: Contents) -> dict[str, FileState]:
    """Return name → state of its file when it was encoded, of all images of the collection."""
    found: dict[str, FileState] = {}
    for part in contents.parts:
        items = read_items(folder, contents, part)
        found |= dict(zip(items.names, items.files or (), strict=True))
    return found


def texts(folder: Path, contents: Contents) -> dict[str, str]:
    """Return name → text of all texts of the collection."""
    found: dict[str, str] = {}
    for part, index in zip(contents.parts, read_parts(folder, contents), strict=True):
        names = index.ids.tolist()
        found |= dict(zip(names, read_texts(folder, part, names), strict=True))
    return found


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold the collection for changes; the lock ends with the process, however it ends.

    Of a change that fails, as on a full disk, nothing is left over.

    Raises:
        Locked: if another process holds it, naming that process.
    """
    with open(folder / "lock", "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read(200).strip() or "another process"
            raise Locked(f"{holder} is changing {folder}; wait until it is done") from None
        except OSError as error:
            raise OSError(
                error.errno,
                f"{error.strerror}: the file system of {folder} has no locks; keep it on another disk",
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        _delete_left_over(folder)
        try:
            yield
        except Exception:
            with suppress(OSError, ValueError):
                _delete_left_over(folder)
            raise


def create(
    folder: Path, model: Path, what: Side, address: str, *, root: str = "", embeddings: Kind = "none"
) -> None:
    """Make an empty collection with a copy of a model's files.

    Raises:
        ValueError: if another process makes it at the same time.
    """
    draft = folder.with_name(f".{folder.name}-{socket.gethostname()}-{os.getpid()}")
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(model, draft / "model")
    sync(draft / "model")
    commit(draft, Contents(what, address, checksums(draft / "model"), root=root, embeddings=embeddings))
    try:
        draft.rename(folder)
    except OSError:
        shutil.rmtree(draft, ignore_errors=True)
        if not is_collection(folder):
            raise
        raise ValueError(f"another process made {folder} at the same time; run again") from None
    sync_one(folder.parent)


def add_part(
    folder: Path,
    contents: Contents,
    codes_NP: Codes,
    names: Sequence[str],
    files: Sequence[FileState] | None = None,
    embeddings_NK: NDArray[Any] | None = None,
    *,
    texts: Sequence[str] | None = None,
    replaced: Collection[str] = (),
    own: pa.Table | None = None,
) -> Contents:
    """Add items as one part, completely or not at all, and return the new contents; call it under `lock`.

    Args:
        folder: the collection.
        contents: what is in it.
        codes_NP: packed codes of the items, uint8 (N, P).
        names: N names: paths of images below the root, or whole ones; of texts, ids, or the texts themselves.
        files: N states of the image files; None of texts.
        embeddings_NK: (N, K), of the collection's type, where it keeps them.
        texts: N texts, where some have other names.
        replaced: names of items that leave the collection in the same step, such as older versions of these.
        own: all columns of one's own after it, as of `set_columns`.
    """
    contents = _without(folder, contents, set(replaced)) if replaced else contents
    contents = contents if own is None else _with_columns(folder, contents, own)
    return _commit(folder, write(folder, contents, Items(codes_NP, names, files, embeddings_NK, texts)))


def remove(folder: Path, contents: Contents, names: set[str], *, own: pa.Table | None = None) -> Contents:
    """Remove items, all of them or none, and return the new contents; call it under `lock`.

    With `own`, all columns of one's own after it, as of `set_columns`.
    """
    contents = contents if own is None else _with_columns(folder, contents, own)
    return _commit(folder, _without(folder, contents, names))


def set_states(folder: Path, contents: Contents, new: Mapping[str, FileState]) -> Contents:
    """Note other states of the files of some images, whose codes stay; call it under `lock`."""

    def noted(items: Items) -> Items:
        files = zip(items.names, items.files or (), strict=True)
        return replace(items, files=[new.get(name, old) for name, old in files])

    return _commit(folder, _changed(folder, contents, set(new), noted))


def compact(folder: Path, contents: Contents) -> Contents:
    """Join small parts, in their order, up to `COMPACT` items each; call it under `lock`."""
    groups: list[list[Part]] = []
    for part in contents.parts:
        if not groups or sum(one.items for one in groups[-1]) + part.items > COMPACT:
            groups.append([])
        groups[-1].append(part)
    contents = replace(contents, parts=())
    for parts in groups:
        if len(parts) == 1:
            contents = replace(contents, parts=(*contents.parts, parts[0]))
        else:
            joined = Items.together([read_items(folder, contents, part) for part in parts])
            contents = write(folder, contents, joined)
    return _commit(folder, contents)


def set_root(folder: Path, contents: Contents, root: str) -> Contents:
    """Note where the folder of the images is now; call it under `lock`."""
    return _commit(folder, replace(contents, root=root))


def set_columns(folder: Path, contents: Contents, table: pa.Table) -> Contents:
    """Replace the columns of one's own by a table whose first column is `name`; call it under `lock`."""
    return _commit(folder, _with_columns(folder, contents, table))


def _with_columns(folder: Path, contents: Contents, table: pa.Table) -> Contents:
    place, contents = next_place(folder, contents, "columns")
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    pq.write_table(table, place / "columns.parquet")
    return replace(contents, columns=finish(place, len(table)))


def _without(folder: Path, contents: Contents, names: set[str]) -> Contents:
    def kept(items: Items) -> Items:
        return items.take(np.flatnonzero([name not in names for name in items.names]))

    return _changed(folder, contents, names, kept)


def _changed(folder: Path, contents: Contents, names: set[str], change: Any) -> Contents:
    """Return contents in which parts with some of these names are replaced by what `change` makes of them."""
    parts: list[Part] = []
    for part in contents.parts:
        if names.isdisjoint(index_files.load(folder / part.name).ids.tolist()):
            parts.append(part)
            continue
        items = change(read_items(folder, contents, part))
        if len(items.names):
            contents = write(folder, contents, items)
            parts.append(contents.parts[-1])
    return replace(contents, parts=tuple(parts))


def _commit(folder: Path, contents: Contents) -> Contents:
    commit(folder, contents)
    _delete_left_over(folder)
    return contents


def _delete_left_over(folder: Path) -> None:
    listed = {part.name for part in read(folder).folders}
    for kind in ("part-*", "columns-*"):
        for place in folder.glob(kind):
            if place.name not in listed:
                shutil.rmtree(place)
