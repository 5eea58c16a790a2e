"""The file collection.json, which says what a collection holds, and is replaced as a whole.

What it lists is complete: files are written, and wait until they would survive a power failure, before it
names them.  Each file has its SHA-256 in it, and the file has one of itself.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

from cmh.codes.embeddings import KINDS, Kind
from cmh.data.sides import Side

FORMAT = 4
_READ = (3, FORMAT)  # 3 has neither images in shards nor texts with ids
NAME = "collection.json"
UPLOAD = "upload:"  # begins the name of an image that was given, not found
UPLOADS = "uploads"  # folder of such
_FOLDER = re.compile(r"(part|columns)-\d+", re.ASCII)  # as `next_place` calls it


@dataclass(frozen=True)
class Part:
    """A folder of the collection that is written once: some items, or the columns of all."""

    name: str  # of the folder
    items: int
    files: Mapping[str, str]  # file name → SHA-256


@dataclass(frozen=True)
class Contents:
    """What collection.json says."""

    what: Side
    model: str  # address of the model
    model_files: Mapping[str, str]  # file name → SHA-256
    parts: tuple[Part, ...] = ()
    root: str = ""  # folder that names of images are relative to, where they have no whole path
    embeddings: Kind = "none"  # how relaxed embeddings are kept beside the codes
    columns: Part | None = None  # columns of one's own
    made: int = 0  # folders of parts made so far: no name is given twice

    @property
    def items(self) -> int:
        """The number of items."""
        return sum(part.items for part in self.parts)

    @property
    def folders(self) -> tuple[Part, ...]:
        """All parts, that of the columns too."""
        return (*self.parts, self.columns) if self.columns else self.parts

    def path(self, folder: Path, name: str) -> Path:
        """Return the path of an image (`cmh.data.shard_images`) by its name in the collection in `folder`."""
        return folder / UPLOADS / name if name.startswith(UPLOAD) else folder / self.root / name


def is_collection(folder: Path) -> bool:
    """Return whether the folder holds a collection."""
    return (folder / NAME).is_file()


def read(folder: Path) -> Contents:
    """Return what collection.json says.

    Raises:
        ValueError: if the file is missing, damaged or of another format.
    """
    if not is_collection(folder):
        raise ValueError(f"{folder} is no collection; make one with `cmh index photos/ --to {folder}`")
    try:
        return _contents(json.loads((folder / NAME).read_text("utf-8")))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = f"no field {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(
            f"{folder}/{NAME} is damaged or of another format ({reason}); make the collection anew"
        ) from None


def _contents(found: dict[str, Any]) -> Contents:
    if found["format"] not in _READ:
        raise ValueError(f"format {found['format']!r}, this program reads {FORMAT}")
    if found.pop("checksum") != _checksum(found):
        raise ValueError("its checksum differs")
    del found["format"]
    parts = tuple(Part(**part) for part in found.pop("parts"))
    columns = found.pop("columns")
    contents = Contents(**found, parts=parts, columns=columns and Part(**columns))
    if contents.what not in get_args(Side) or contents.embeddings not in KINDS:
        raise ValueError(f"{contents.what!r} with embeddings {contents.embeddings!r}")
    if not all(_FOLDER.fullmatch(part.name) for part in contents.folders):
        raise ValueError("a part outside of it")
    return contents


def version(folder: Path) -> str:
    """Return a digest of what the collection says of itself; "" if there is none."""
    try:
        return hashlib.sha256((folder / NAME).read_bytes()).hexdigest()[:12]
    except FileNotFoundError:
        return ""


def commit(folder: Path, contents: Contents) -> None:
    """Replace collection.json, so that it survives a power failure."""
    draft = folder / f".{NAME}"
    fields = {"format": FORMAT, **asdict(contents)}
    text = json.dumps({**fields, "checksum": _checksum(fields)}, indent=1, ensure_ascii=False)
    try:
        with open(draft, "w", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(folder / NAME)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    sync_one(folder)


def finish(place: Path, items: int) -> Part:
    """Return a part whose files are all written, once they would survive a power failure."""
    sync(place)
    return Part(place.name, items, checksums(place))


def next_place(folder: Path, contents: Contents, kind: str) -> tuple[Path, Contents]:
    """Return the folder of the next part, not made yet, and the contents that count it."""
    return folder / f"{kind}-{contents.made:05}", replace(contents, made=contents.made + 1)


def checksums(folder: Path) -> dict[str, str]:
    """Return file name → SHA-256 of the files of a folder."""
    return {path.name: sha256(path) for path in sorted(folder.iterdir()) if path.is_file()}


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(folder: Path) -> None:
    """Wait until the files of a folder would survive a power failure."""
    for path in folder.iterdir():
        sync_one(path)
    sync_one(folder)


def sync_one(path: Path) -> None:
    """Wait until a file, or the names in a folder, would survive a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _checksum(fields: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
