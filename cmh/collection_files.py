"""The files of a collection, which change under a lock and in one step.

    collection.json     what counts: the model's files and the parts, each file with its SHA-256
    model/              the model's files (`cmh.model`)
    part-00000/ …       codes and names of items (`cmh.codes.index_files`); of images, files.parquet too

`collection.json` is replaced as a whole and last, so a change has happened completely or not at all; parts
that it does not list are left over from a change that was broken off, and are deleted by the next one.
"""

import fcntl
import hashlib
import json
import os
import shutil
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cmh.codes import index_files
from cmh.codes.hamming import Codes
from cmh.codes.search import Index
from cmh.data.batches import Side

FORMAT = 2
_NAME = "collection.json"


@dataclass(frozen=True)
class Part:
    """Some items of a collection."""

    name: str  # of its folder
    items: int
    files: Mapping[str, str]  # file name → SHA-256


@dataclass(frozen=True)
class Contents:
    """What collection.json says."""

    what: Side
    model: str  # address of the model
    model_files: Mapping[str, str]  # file name → SHA-256
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True)
class FileState:
    """Size in bytes and time of change in nanoseconds of an image file when it was encoded."""

    size: int
    modified: int

    @classmethod
    def of(cls, path: Path) -> "FileState":
        """Return the state of a file now."""
        status = path.stat()
        return cls(status.st_size, status.st_mtime_ns)


def is_collection(folder: Path) -> bool:
    """Return whether the folder holds a collection."""
    return (folder / _NAME).is_file()


def read(folder: Path) -> Contents:
    """Return what collection.json says.

    Raises:
        ValueError: if the file is missing, damaged or of another format.
    """
    if not is_collection(folder):
        raise ValueError(f"{folder} is no collection; make one with `cmh index photos/ --to {folder}`")
    try:
        found = json.loads((folder / _NAME).read_text("utf-8"))
        if found["format"] != FORMAT or found["what"] not in get_args(Side):
            raise ValueError(f"format {found['format']!r}, this program reads {FORMAT}")
        if found.pop("checksum") != _json_checksum(found):
            raise ValueError("its checksum differs")
        parts = tuple(Part(part["name"], int(part["items"]), dict(part["files"])) for part in found["parts"])
        if any(part.name != Path(part.name).name for part in parts):
            raise ValueError("a part outside of it")
        return Contents(found["what"], str(found["model"]), dict(found["model_files"]), parts)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = f"no field {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(
            f"{folder}/{_NAME} is damaged or of another format ({reason}); make the collection anew"
        ) from None


def damage(folder: Path, contents: Contents) -> list[str]:
    """Return what is wrong with the files of a collection, a line each; nothing if all are as written."""
    listed = {f"model/{name}": checksum for name, checksum in contents.model_files.items()}
    for part in contents.parts:
        listed |= {f"{part.name}/{name}": checksum for name, checksum in part.files.items()}
    problems = []
    for name, checksum in listed.items():
        path = folder / name
        if not path.is_file():
            problems.append(f"{path} is missing")
        elif _sha256(path) != checksum:
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


def states(folder: Path, contents: Contents) -> dict[str, FileState]:
    """Return name → state of its file when it was encoded, of all images of the collection."""
    found: dict[str, FileState] = {}
    for part in contents.parts:
        table = pq.read_table(folder / part.name / "files.parquet").to_pydict()
        names = index_files.load(folder / part.name).ids.tolist()
        found |= {
            name: FileState(size, modified)
            for name, size, modified in zip(names, table["size"], table["modified"], strict=True)
        }
    return found


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold the collection for changes; the lock ends with the process, however it ends.

    Raises:
        ValueError: if another process holds it, naming that process.
    """
    with open(folder / "lock", "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            holder = file.read(200).strip() or "another process"
            raise ValueError(f"{holder} is changing {folder}; wait until it is done") from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        _delete_left_over(folder)
        yield


def create(folder: Path, model: Path, what: Side, address: str) -> None:
    """Make an empty collection with a copy of a model's files.

    Raises:
        ValueError: if another process makes it at the same time.
    """
    draft = folder.with_name(f".{folder.name}-{socket.gethostname()}-{os.getpid()}")
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(model, draft / "model")
    contents = Contents(what, address, _checksums(draft / "model"))
    _sync(draft / "model")
    commit(draft, contents)
    try:
        draft.rename(folder)
    except OSError:
        shutil.rmtree(draft, ignore_errors=True)
        if not is_collection(folder):
            raise
        raise ValueError(f"another process made {folder} at the same time; run again") from None
    _sync_folder(folder.parent)


def add_part(
    folder: Path,
    contents: Contents,
    codes_NP: Codes,
    names: Sequence[str],
    files: Sequence[FileState] | None = None,
) -> Contents:
    """Add items as one part, completely or not at all, and return the new contents; call it under `lock`.

    Args:
        folder: the collection.
        contents: what is in it.
        codes_NP: packed codes of the items, uint8 (n, P).
        names: n names: absolute paths of images, or the texts themselves.
        files: n states of the image files; None of texts.
    """
    part = _write_part(folder, contents, codes_NP, names, files)
    contents = replace(contents, parts=(*contents.parts, part))
    commit(folder, contents)
    return contents


def remove(folder: Path, contents: Contents, names: set[str]) -> Contents:
    """Remove items, all of them or none, and return the new contents; call it under `lock`."""
    parts: list[Part] = []
    known = states(folder, contents) if contents.what == "image" else {}
    for part in contents.parts:
        index = index_files.load(folder / part.name)
        kept = np.array([name not in names for name in index.ids.tolist()], bool)
        if kept.all():
            parts.append(part)
        elif kept.any():
            ids = index.ids[kept].tolist()
            files = [known[name] for name in ids] if contents.what == "image" else None
            so_far = replace(contents, parts=(*contents.parts, *parts))
            parts.append(_write_part(folder, so_far, index.codes()[kept], ids, files))
    contents = replace(contents, parts=tuple(parts))
    commit(folder, contents)
    _delete_left_over(folder)
    return contents


def commit(folder: Path, contents: Contents) -> None:
    """Replace collection.json, so that it survives a power failure."""
    draft = folder / f".{_NAME}"
    fields = {"format": FORMAT, **asdict(contents)}
    text = json.dumps({**fields, "checksum": _json_checksum(fields)}, indent=1, ensure_ascii=False)
    with open(draft, "w", encoding="utf-8") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(folder / _NAME)
    _sync_folder(folder)


def _write_part(
    folder: Path,
    contents: Contents,
    codes_NP: Codes,
    names: Sequence[str],
    files: Sequence[FileState] | None,
) -> Part:
    bits = json.loads((folder / "model" / "config.json").read_text())["order"]
    numbers = [int(part.name.removeprefix("part-")) for part in contents.parts]
    name = f"part-{max(numbers, default=-1) + 1:05}"
    place = folder / name
    shutil.rmtree(place, ignore_errors=True)
    ids: NDArray[Any] = np.array(names)
    index_files.save(Index(codes_NP, len(bits), ids), place)
    if files is not None:
        size, modified = ([getattr(file, name) for file in files] for name in ("size", "modified"))
        pq.write_table(pa.table({"size": size, "modified": modified}), place / "files.parquet")
    _sync(place)
    return Part(name, len(names), _checksums(place))


def _delete_left_over(folder: Path) -> None:
    listed = {part.name for part in read(folder).parts}
    for place in folder.glob("part-*"):
        if place.name not in listed:
            shutil.rmtree(place)


def _checksums(folder: Path) -> dict[str, str]:
    return {path.name: _sha256(path) for path in sorted(folder.iterdir()) if path.is_file()}


def _json_checksum(fields: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(folder: Path) -> None:
    """Wait until the files of a folder would survive a power failure."""
    for path in folder.iterdir():
        _sync_folder(path)
    _sync_folder(folder)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
