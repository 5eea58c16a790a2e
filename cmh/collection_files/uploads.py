"""Images that were given to a collection instead of found: their bytes lie in it.

    uploads/KEY/DIGEST    KEY: SHA-256 of the item's name, DIGEST: that of the bytes, 32 digits of each

So another image under the same name never replaces the bytes that a reader or an older state refers to.
"""

import hashlib
import os
import shutil
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cmh.codes import index_files
from cmh.collection_files.manifest import UPLOAD, UPLOADS, Contents, Part, sha256, sync_one
from cmh.collection_files.parts import FileState


def name_of(item: str) -> str:
    """Return the name of an image that was given under an id: `upload:ID`."""
    return UPLOAD + item


def path(folder: Path, name: str, digest: str) -> Path:
    """Return where the bytes with this SHA-256 of an item lie."""
    return folder / UPLOADS / _key(name) / digest[:32]


def write(folder: Path, name: str, data: bytes) -> tuple[Path, FileState]:
    """Write an image's bytes, so that they survive a power failure; call it under `changes.lock`.

    Raises:
        OSError: they cannot be written; then nothing is left of them.
    """
    digest = hashlib.sha256(data).hexdigest()
    place = path(folder, name, digest)
    draft = place.with_name(f".{place.name}")
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        with open(draft, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(place)
        sync_one(place.parent)
    except OSError:
        draft.unlink(missing_ok=True)
        discard(place)
        raise
    return place, FileState(len(data), 0, digest)


def discard(place: Path) -> None:
    """Delete the bytes of an image that is no item's."""
    place.unlink(missing_ok=True)
    with suppress(OSError):  # another image of this id is there
        place.parent.rmdir()


def paths(folder: Path, contents: Contents) -> dict[str, Path]:
    """Return name → file of all images that were given."""
    found: dict[str, Path] = {}
    if not (folder / UPLOADS).is_dir() or contents.what != "image":
        return found
    for part in contents.parts:
        found |= _in_part(folder, part)
    return found


def _in_part(folder: Path, part: Part) -> dict[str, Path]:
    names = pa.array(index_files.load(folder / part.name).ids.tolist(), pa.string())
    given = pc.starts_with(names, UPLOAD)
    if not pc.any(given).as_py():
        return {}
    digests = pq.read_table(folder / part.name / "files.parquet", columns=["sha256"])["sha256"]
    pairs = zip(names.filter(given).to_pylist(), digests.filter(given).to_pylist(), strict=True)
    return {name: path(folder, name, digest) for name, digest in pairs}


def damage(folder: Path, contents: Contents) -> list[str]:
    """Return which images that were given are missing or differ, a line each."""
    problems = []
    for name, place in paths(folder, contents).items():
        if not place.is_file():
            problems.append(f"{place}, the image of {name}, is missing")
        elif sha256(place)[:32] != place.name:
            problems.append(f"{place}, the image of {name}, is not what was written: its checksum differs")
    return problems


def sweep(folder: Path, contents: Contents) -> None:
    """Delete bytes that are no item's any more; call it under `changes.lock`."""
    if not (folder / UPLOADS).is_dir():
        return
    kept = set(paths(folder, contents).values())
    for place in list((folder / UPLOADS).glob("*/*")):
        if place not in kept:
            discard(place)


def copy(folder: Path, to: Path) -> None:
    """Copy what was given to a collection into another."""
    if (folder / UPLOADS).is_dir():
        shutil.copytree(folder / UPLOADS, to / UPLOADS, dirs_exist_ok=True)
        for place, _, names in os.walk(to / UPLOADS):
            for name in (*names, "."):
                sync_one(Path(place, name))


def _key(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:32]
