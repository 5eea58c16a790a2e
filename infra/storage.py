"""Where bytes are kept: a local folder or an S3 bucket, behind the same few operations.

A miss (`FileNotFoundError`) is told from an outage or a refusal (`StorageError`), so that nobody takes a
broken network for an empty store.  Writes are whole or absent: a temporary file and a rename locally, one PUT
on S3.  Paths are relative to the store, with forward slashes; a path that could leave the store is refused,
because paths are read from manifests that others wrote.

A store is pickled as its URL and opened again on the worker, with the credentials found there; an account's
secrets are therefore in no pickle, no manifest and no `repr`.
"""

import hashlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Literal, NamedTuple, Protocol

from zarr.abc.store import Store as ZarrStore

PARTIAL = ".partial"
"""Ending of files being written, ours and Zarr's; they are never listed."""

CHUNK = 1 << 20


class StorageError(OSError):
    """The store could not be asked or did not obey: an outage or a refusal, never a plain miss."""


class Entry(NamedTuple):
    """What a listing knows of a file."""

    size: int
    modified: float  # seconds since 1970


class Digest(NamedTuple):
    """What reading a file from end to end tells."""

    size: int
    sha256: str


class Store(Protocol):
    """The operations that a local folder and a bucket share.

    All of them raise ValueError for a path that is not plainly inside the store, FileNotFoundError where
    there is no such file, and StorageError for everything else that goes wrong outside this process.
    """

    url: str

    def exists(self, path: str) -> bool: ...
    def read_bytes(self, path: str, at_most: int | None = None) -> bytes:
        """Return a file, or its first bytes."""

    def read_many(self, paths: Sequence[str]) -> dict[str, bytes]:
        """Return the files that there are of many small ones, by path; read many at a time."""

    def write_bytes(self, path: str, data: bytes) -> None:
        """Write the file whole; replace an older one."""

    def create_exclusive(self, path: str, data: bytes) -> bool:
        """Write the file only if there is none; False if there is.  Of several callers one gets True."""

    def entries(self, prefix: str) -> dict[str, Entry]:
        """Return every file below the folder `prefix` by its path in the store, sorted.

        "" is the whole store.
        """

    def sizes(self, prefix: str) -> dict[str, int]:
        """Return the sizes of the files below the folder `prefix`, by path, sorted."""

    def folders(self, prefix: str) -> list[str]:
        """Return the names of the folders directly below `prefix`, sorted."""

    def delete(self, path: str) -> None:
        """Remove the file, or the folder with all that it holds; nothing happens if there is neither."""

    def copy(self, source: str, target: str) -> None:
        """Copy a file within the store without moving its bytes (hard link; server-side copy)."""

    def open(self, path: str, mode: Literal["rb", "wb"]) -> AbstractContextManager[IO[bytes]]:
        """Open for "rb" or "wb"; what was written appears when the block ends well, and not otherwise."""

    def digest(self, path: str) -> Digest:
        """Return the size and SHA-256 of the file, read block by block."""

    def flush(self, paths: list[str]) -> None:
        """Wait until these files would survive a power failure."""

    def local_path(self, path: str) -> Path | None:
        """Return where the file lies on this machine; None if it lies elsewhere."""

    def zarr(self, path: str, *, read_only: bool = True) -> ZarrStore:
        """Return a Zarr store over the folder `path`.

        It can be pickled, and used by threads, processes and other machines.
        """


def checked(path: str) -> str:
    """Return `path` itself if it is plainly inside the store.

    >>> checked("model/scahn/weights.safetensors")
    'model/scahn/weights.safetensors'
    >>> checked("a/../../etc/passwd")
    Traceback (most recent call last):
    ValueError: path 'a/../../etc/passwd' is not plainly inside the store: ...
    """
    parts = path.split("/")
    if (
        any(part in ("", ".", "..") or part.endswith(PARTIAL) for part in parts)
        or "\\" in path
        or not path.isprintable()
    ):
        raise ValueError(
            f"path {path!r} is not plainly inside the store: it must be relative, with forward slashes, "
            f"and have no empty, '.' or '..' parts, nor any that end with {PARTIAL}"
        )
    return path


def hash_stream(stream: IO[bytes]) -> Digest:
    """Return the size and SHA-256 of everything that is left in `stream`."""
    sha256, size = hashlib.sha256(), 0
    while block := stream.read(CHUNK):
        sha256.update(block)
        size += len(block)
    return Digest(size, sha256.hexdigest())
