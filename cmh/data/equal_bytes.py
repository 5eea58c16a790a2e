"""Which files are the same, byte by byte; only files of equal size are read for it, each once."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from cmh.data.archives import Read
from cmh.data.images import MAX_BYTES

_KEPT = 1 << 20  # files; 0.3 KB each
_digests: dict[tuple[int, int, int, int], bytes] = {}  # by device, inode, size and time


class ImageFile(NamedTuple):
    """An encoded image: its name in the dataset, and what reads it."""

    name: str
    size: int | None  # bytes; None: it is not there, and reading it says why
    read: Read
    digest: bytes | None = None  # SHA-256, where it is known already
    path: str | None = None  # of a file on disk, whose SHA-256 is kept


def first_of_each(files: Iterable[ImageFile]) -> dict[str, str]:
    """Return name → the first file with the same bytes, itself if it has no double."""
    of_size: dict[int, dict[str, ImageFile]] = defaultdict(dict)
    first: dict[str, str] = {}
    for file in files:
        first.setdefault(file.name, file.name)
        if file.size is not None and file.size <= MAX_BYTES:
            of_size[file.size].setdefault(file.name, file)
    for same_size in of_size.values():
        if len(same_size) < 2:
            continue
        seen: dict[bytes, str] = {}
        for name, file in same_size.items():
            found = digest(file)
            if found is not None:
                first[name] = seen.setdefault(found, name)
    return first


def digest(file: ImageFile) -> bytes | None:
    """Return the SHA-256 of a file; None if it cannot be read, which it says itself when it is decoded."""
    if file.digest is not None:
        return file.digest
    try:
        return hashlib.sha256(file.read()).digest() if file.path is None else of_file(file.path)
    except (OSError, ValueError):
        return None


def of_file(path: str | Path) -> bytes:
    """Return the SHA-256 of a file on disk, kept: a run asks several times, and a folder may hold 20 GB."""
    found = os.stat(path)
    version = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
    known = _digests.get(version)
    if known is None:
        with open(path, "rb") as stream:
            known = hashlib.file_digest(stream, "sha256").digest()
        if len(_digests) >= _KEPT:
            _digests.clear()
        _digests[version] = known
    return known
