"""The collection as it is now: one snapshot answers a query to its end, and is replaced as a whole.

An item is named to the outside by the digest of its name, so that no request holds a path.

Shape suffixes: N = items.
"""

import hashlib
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cmh.codes.multi_index import sorted_if_many
from cmh.codes.threads import chosen_threads
from cmh.collection import open_collection
from cmh.collection_files import manifest
from cmh.collection_files.manifest import UPLOAD
from cmh.engine import Engine
from cmh.service import facets
from cmh.service.facets import Column

log = logging.getLogger(__name__)

AGAIN = 60.0  # seconds until a state that could not be opened is tried again: its files may still be copied


@dataclass(frozen=True)
class Snapshot:
    """A collection at one moment."""

    engine: Engine
    version: str  # digest of what the collection says of itself
    root: str  # folder that all whole paths begin with, which answers leave out
    key_N: NDArray[np.uint64]  # sorted digests of the items' names
    row_N: NDArray[np.int64]  # row of each digest
    columns: list[Column]  # its own, with their commonest values
    model_files: Mapping[str, str]  # file name → SHA-256
    address: str = ""  # path below which it is asked for, where the service has several collections

    def __len__(self) -> int:
        return len(self.engine.index)

    @property
    def lengths(self) -> tuple[int, ...]:
        """The code lengths that the page offers; bits are stored by significance, so the first ones serve."""
        bits = self.engine.model.bits
        return (*(length for length in (16, 32, 64, 128, 256) if length < bits), bits)

    def name(self, row: int) -> str:
        """Return what the collection calls an item: an image's path, or the text itself."""
        assert self.engine.names is not None
        name: str = self.engine.names[row].as_py()
        return name

    def shown_name(self, row: int) -> str:
        """Return an image's path below the collection's folder of images; what was given has its id.

        Of images outside of that folder, it is the path below the folder that all of these share.
        """
        if self.engine.what == "text":
            return self.engine.describe(row)[0]
        return self.name(row).removeprefix(UPLOAD).removeprefix(self.root)

    def item(self, row: int) -> str:
        """Return how the item in a row is asked for: 16 hexadecimal digits."""
        return self.key(self.name(row))

    def key(self, name: str) -> str:
        """Return how an item of that name is asked for, whether it is there or not."""
        return _digest(name).hex()

    def row(self, item: str) -> int | None:
        """Return the row of an item, or None if the collection has no such item."""
        try:
            key = int(item, 16) if len(item) == 16 else -1
        except ValueError:
            key = -1
        if key < 0:
            return None
        at = int(np.searchsorted(self.key_N, np.uint64(key)))
        return int(self.row_N[at]) if at < len(self.key_N) and int(self.key_N[at]) == key else None


class Snapshots:
    """The newest snapshot of a folder; reading `current` needs no lock, since it is one reference."""

    def __init__(
        self, folder: Path, *, threads: int | None = None, cache: Path | None = None, address: str = ""
    ) -> None:
        """Open the collection.

        Args:
            folder: the collection.
            threads: CPU threads of encoding; None: the default of `cmh.codes.threads`.
            cache: keeps graphs of the model, as for `open_collection`.
            address: path below which it is asked for, one of several collections.

        Raises:
            ValueError: if the folder holds no collection, or an empty or damaged one.
        """
        self.folder, self._threads, self._cache = folder, chosen_threads(threads), cache
        self._address = address
        self._seen, self._tried = _state(folder), 0.0
        self.current = self._open()
        self.problem: str | None = (
            None  # why the newest state could not be opened; then the one before serves
        )

    def changed(self) -> bool:
        """Return whether the collection has changed since it was last opened, or is to be tried again."""
        again = self.problem is not None and time.monotonic() - self._tried >= AGAIN
        return again or _state(self.folder) != self._seen

    def renew(self, opened: Callable[[Snapshot], None] = lambda _: None) -> bool:
        """Open the collection again and let it answer from now on; on failure the old snapshot stays.

        Args:
            opened: called with the new snapshot before it serves, such as to warm it up.

        Returns:
            Whether it could be opened.
        """
        self._seen = _state(self.folder)
        try:
            snapshot = self._open()
            opened(snapshot)
        except Exception as error:  # of whatever a half-written or damaged file brings about
            self._tried = time.monotonic()
            self.problem = str(error) or type(error).__name__
            log.warning("the changed collection cannot be opened", extra={"fields": {"reason": self.problem}})
            return False
        self.current, self.problem = snapshot, None
        fields = {"items": len(snapshot), "version": snapshot.version}
        log.info("the collection has changed", extra={"fields": fields})
        return True

    def _open(self) -> Snapshot:
        version = manifest.version(self.folder)
        model_files = manifest.read(self.folder).model_files
        engine = open_collection(self.folder, threads=self._threads, cache=self._cache)
        engine = replace(engine, index=sorted_if_many(engine.index))
        assert engine.names is not None
        names = engine.names.to_pylist()
        key_N = np.frombuffer(b"".join(map(_digest, names)), ">u8").astype(np.uint64)
        row_N = np.argsort(key_N, kind="stable")
        root = _root(names) if engine.what == "image" else ""
        columns = facets.columns_of(engine.columns)
        return Snapshot(engine, version, root, key_N[row_N], row_N, columns, model_files, self._address)


def _digest(name: str) -> bytes:
    return hashlib.blake2b(name.encode(), digest_size=8).digest()


def _root(names: Sequence[str]) -> str:
    """Return the folder that all whole paths of images share, with the slash at its end."""
    folders = {os.path.dirname(name) for name in names if name.startswith("/")}
    return os.path.join(os.path.commonpath(folders), "") if folders else ""


def _state(folder: Path) -> tuple[int, int, int] | None:
    try:
        status = (folder / manifest.NAME).stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
