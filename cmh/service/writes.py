"""Items that are added and deleted over the port, by the same changes as the command line makes.

A change is made by one thread, holds the collection's lock, and has happened completely or not at all: bytes
and parts are written first, and collection.json is replaced last.  The watch then opens the new state.
"""

import errno
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import pyarrow as pa
import pyarrow.compute as pc

from cmh.codes import embeddings
from cmh.collection_files import changes, manifest, uploads
from cmh.collection_files.manifest import Contents
from cmh.collection_files.parts import FileState
from cmh.data import columns, images
from cmh.data.tables import RepeatedKey, each_key_once
from cmh.engine import Relaxed
from cmh.service.queries import Refused, UnknownItem
from cmh.service.settings import Settings
from cmh.service.snapshots import Snapshot, Snapshots
from cmh.service.workers import Busy, Workers

_FULL = (errno.ENOSPC, errno.EDQUOT)


Kind = Literal["added", "replaced", "unchanged", "deleted"]


class Full(Exception):
    """The disk has no room for the change, of which nothing is left."""


@dataclass(frozen=True)
class Given:
    """An item as it is given: an image or a text, under an id, with columns as JSON."""

    id: str
    image: BinaryIO | None = None
    text: str | None = None
    columns: str | None = None


@dataclass(frozen=True)
class Written:
    """What a change did."""

    name: str  # of the item
    change: Kind
    version: str  # of the collection after it


class Writes:
    """Changes of one collection, one after the other."""

    def __init__(self, snapshots: Snapshots, settings: Settings) -> None:
        self._snapshots = snapshots
        self._workers = Workers(settings, 1, "changes", to_the_end=True)

    async def put(self, given: Given) -> Written:
        """Add an item, or replace the one with this id.

        Raises:
            Refused: it cannot be an item of this collection, saying why.
            Busy: too many wait, or another process changes the collection.
            Full: the disk is full.
        """
        return await self._workers.run(lambda: self._put(given))

    async def delete(self, item: str) -> Written:
        """Remove an item and its columns; a file of the user's stays.

        Raises:
            UnknownItem: there is none.
            Refused: it is the last one.
            Busy, Full: as of `put`.
        """
        return await self._workers.run(lambda: self._delete(item))

    def _put(self, given: Given) -> Written:
        own = _columns(given.columns)
        now = self._snapshots.current
        what = now.engine.what
        if (given.image is None) == (given.text is None) or (what == "image") != (given.text is None):
            raise Refused(f"the items of this collection are {what}s: give one {what} for the id")
        if given.image is not None:
            return self._put_image(now, uploads.name_of(given.id), given.image, own)
        assert given.text is not None
        return self._put_text(now, given.id, given.text, own)

    def _put_image(self, now: Snapshot, name: str, file: BinaryIO, own: dict[str, Any] | None) -> Written:
        model = now.engine.model
        data = file.read(images.MAX_BYTES + 1)
        try:
            pixels = images.decode_image(data, "application/octet-stream", model.facts.stored_size)
        except (ValueError, OSError) as error:
            raise Refused(f"the uploaded image cannot be used: {error}") from error
        relaxed_1K = model.relax_images([pixels])
        with self._change(now) as contents:
            before = changes.states(self._folder, contents).get(name)
            if before is not None and before.sha256 == hashlib.sha256(data).hexdigest():
                return self._same(contents, name, own)
            place, state = uploads.write(self._folder, name, data)
            try:
                return self._add(now, contents, name, relaxed_1K, own, before is not None, state=state)
            except Exception:
                if place not in uploads.paths(self._folder, manifest.read(self._folder)).values():
                    uploads.discard(place)
                raise

    def _put_text(self, now: Snapshot, name: str, text: str, own: dict[str, Any] | None) -> Written:
        model = now.engine.model
        if not model.knows([text]).all():
            raise Refused(f"the model knows no word of {text[:80]!r}")
        relaxed_1K = model.relax_texts([text])
        with self._change(now) as contents:
            there = changes.texts(self._folder, contents)
            if there.get(name) == text:
                return self._same(contents, name, own)
            return self._add(now, contents, name, relaxed_1K, own, name in there, text=text)

    def _add(
        self,
        now: Snapshot,
        contents: Contents,
        name: str,
        relaxed_1K: Relaxed,
        own: dict[str, Any] | None,
        there: bool,
        *,
        state: FileState | None = None,
        text: str | None = None,
    ) -> Written:
        """Add one item as a part, in one step with its columns and with what it replaces."""
        if there:  # a part is written anew, and must not carry damage on
            changes.check(self._folder, contents)
        changes.add_part(
            self._folder,
            contents,
            now.engine.model.pack(relaxed_1K),
            [name],
            None if state is None else [state],
            embeddings.shrink(relaxed_1K, contents.embeddings),
            texts=None if text is None or text == name else [text],
            replaced={name} if there else (),
            own=self._table(contents, name, own),
        )
        return self._written(name, "replaced" if there else "added")

    def _same(self, contents: Contents, name: str, own: dict[str, Any] | None) -> Written:
        """Set the columns of an item that is there already."""
        table = self._table(contents, name, own)
        old = changes.read_columns(self._folder, contents)
        if table is None or (old is not None and _row(old, name) == _row(table, name)):
            return self._written(name, "unchanged")
        changes.set_columns(self._folder, contents, table)
        return self._written(name, "replaced")

    def _table(self, contents: Contents, name: str, own: dict[str, Any] | None) -> pa.Table | None:
        """Return the collection's columns with those of one item; None if it has none."""
        if own is None:
            return None
        try:
            new = {key: columns.usable(key, pa.chunked_array([[cell]])) for key, cell in own.items()}
            table = pa.table({columns.KEY: pa.array([name], pa.string()), **new})
            return columns.update(changes.read_columns(self._folder, contents), table)
        except (pa.ArrowException, ValueError, OverflowError, TypeError) as error:
            raise Refused(f"these columns cannot be kept: {str(error)[:300]}") from error

    def _columns_without(self, contents: Contents, name: str) -> pa.Table | None:
        """Return the collection's columns without those of one item; None if it has none."""
        table = changes.read_columns(self._folder, contents)
        if table is None or _row(table, name) is None:
            return None
        return table.filter(pc.not_equal(table[columns.KEY], name))

    def _delete(self, item: str) -> Written:
        key = self._snapshots.current.key
        with self._change() as contents:
            every = [one for part in changes.read_parts(self._folder, contents) for one in part.ids.tolist()]
            name = next((one for one in every if key(one) == item), None)
            if name is None:
                raise UnknownItem(f"the collection has no item {item[:40]!r}; it may have been removed")
            if len(every) == 1:
                raise Refused("this is the last item, and an empty collection cannot be searched")
            changes.check(self._folder, contents)
            given = uploads.paths(self._folder, contents).get(name)
            changes.remove(self._folder, contents, {name}, own=self._columns_without(contents, name))
            if given is not None:
                uploads.discard(given)
        return self._written(name, "deleted")

    @property
    def _folder(self) -> Path:
        return self._snapshots.folder

    def _written(self, name: str, change: Kind) -> Written:
        return Written(name, change, manifest.version(self._folder))

    @contextmanager
    def _change(self, now: Snapshot | None = None) -> Iterator[Contents]:
        """Hold the collection for a change, and explain what keeps it from one.

        Args:
            now: where the new item was encoded; another collection under this name may have another model.
        """
        try:
            with changes.lock(self._folder):
                contents = manifest.read(self._folder)
                if now is not None and now.model_files != contents.model_files:
                    raise Busy("the collection's model was replaced and is not loaded yet", retry=5)
                yield contents
        except changes.Locked as error:
            raise Busy("another process is changing this collection; ask again later", retry=5) from error
        except OSError as error:
            if error.errno not in _FULL:
                raise
            raise Full("the disk is full; nothing was changed") from error


def _columns(given: str | None) -> dict[str, Any] | None:
    """Return the cells of an item by column; a null is no cell.

    Raises:
        Refused: it is no JSON object, or a column that cannot be.
    """
    if given is None:
        return None
    try:
        found = json.loads(given, parse_constant=_refuse_constant, object_pairs_hook=each_key_once)
    except RepeatedKey as error:
        raise Refused(f"columns: {error}") from error
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or len(found) > columns.MAX_COLUMNS or columns.KEY in found:
        raise Refused(
            f"columns are a JSON object of at most {columns.MAX_COLUMNS} cells, none called "
            f'{columns.KEY}, such as {{"year": 2021, "labels": ["dog"]}}'
        )
    return {key: cell for key, cell in found.items() if cell is not None}


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _row(table: pa.Table, name: str) -> dict[str, Any] | None:
    rows = table.filter(pc.equal(table[columns.KEY], name)).to_pylist()
    return {key: cell for key, cell in rows[0].items() if cell is not None} if rows else None
