"""Find the image files below a folder.

Links to files and folders are followed: whoever put them there wants what they name.  A folder that was
visited already, such as by a link to one of its parents, is not visited again.
"""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cmh.data import images

SUFFIXES = (
    ".avif", ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".svg", ".tif", ".tiff", ".webp"
)  # fmt: skip
HEIC = (".heic", ".heif")
_NO_SUFFIX = "without a suffix"


@dataclass
class Found:
    """The files below a folder.

    Attributes:
        images: the image files, sorted: those with a suffix of images, and those whose first bytes are an
            image's.
        skipped: number of other files by suffix; hidden ones are not counted.
        rejected: path with what cannot be shown escaped → why it cannot be used.
    """

    images: list[Path] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    rejected: dict[str, str] = field(default_factory=dict)


def find(folder: Path) -> Found:
    """Return what lies below a folder and all folders in it, except for what is hidden.

    Raises:
        OSError: if the folder cannot be read.
    """
    found = Found()
    for path in sorted(walk(folder)):
        if not _is_utf8(path):
            found.rejected[shown(path)] = "its name is not UTF-8; rename it"
        elif not path.is_file():
            found.rejected[str(path)] = "no regular file, or a link to nothing"
        elif _is_image(path):
            found.images.append(path)
        else:
            found.skipped[path.suffix.lower() or _NO_SUFFIX] += 1
    return found


def walk(folder: Path) -> Iterator[Path]:
    """Yield every file below the folder that is not hidden; folders that are linked are entered once."""
    seen = set()
    for root, folders, files in os.walk(folder, followlinks=True, onerror=_raise):
        status = os.stat(root)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(root, name) for name in files if not name.startswith("."))


def shown(path: Path) -> str:
    """Return the path as text that can be printed and stored, with all other bytes escaped."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _is_utf8(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_image(path: Path) -> bool:
    suffix = path.suffix.lower()
    if suffix in SUFFIXES or (suffix in HEIC and images.reads_heic()):
        return True
    try:
        with open(path, "rb") as file:
            return images.has_signature(file.read(32))
    except OSError:
        return False


def _raise(error: OSError) -> None:
    raise error
