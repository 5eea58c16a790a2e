"""Read files out of a folder, a tar or a zip by name; nothing is unpacked onto the disk.

A dataset is foreign: only what the listing itself names can be read, so that a path in a table leads nowhere
else; links that leave the folder are not followed, and what is hidden in it is left out; paths, links and
permissions in an archive are only names; the number of files, the bytes of each and the bytes of all are
limited.
"""

import io
import lzma
import os
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import IO, TypeVar

Read = Callable[[], bytes]
"""Gives a file's bytes, and can be pickled.  Raises: OSError or ValueError, if it is gone, damaged or too
large."""

FILES = 1_000_000  # in an archive with its folders and links; NUS-WIDE, the largest set, has 269,648
FILE_BYTES = 64 << 20  # of one file; the largest so far, noto's icons.json, has 25 MB
TOTAL_BYTES = 512 << 20  # of all that is taken out of a compressed tar
UNPACKED_BYTES = 1 << 30  # of a compressed tar, wanted or not; more where the archive itself is large
RATIO = 100  # times the size of the archive; images are packed already, words by 3 to 10
NAME_BYTES = 1 << 20
_NAMES = (  # types of headers
    tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE,
)  # fmt: skip
DAMAGED_ZIP = (  # what zipfile lets through, besides OSError; RuntimeError: encrypted, or an odd method
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError,
)  # fmt: skip

Entry = TypeVar("Entry")


@dataclass(frozen=True, slots=True)
class Member:
    """A file of a folder or an archive: called, it gives its bytes."""

    size: int  # bytes, as the listing says
    read: Read = field(repr=False)

    def __call__(self) -> bytes:
        return self.read()


def listing(path: Path, most: int = FILE_BYTES) -> dict[str, Member]:
    """Name (with /) → what reads it, of all plain files, by name.  `most`: bytes of one file.

    Raises:
        ValueError: it is none of the three, is damaged, or holds too many files.
    """
    if path.is_dir():
        found = _in_folder(path, most)
    elif zipfile.is_zipfile(path):
        found = _in_zip(path, most)
    elif path.is_file():
        found = _in_tar(path, most)
    else:
        raise ValueError(f"{path}: no such file or folder")
    # __MACOSX: doubles that macOS packs beside the files
    named: dict[str, Member] = {}
    for name, read in found:
        if name in named and zipfile.is_zipfile(path):  # of a tar the last one counts, as of tar itself
            raise ValueError(f"{path} holds {name} twice, so nothing says which is meant; pack it anew")
        if not name.startswith("__MACOSX/"):
            named[name] = read
    return dict(sorted(named.items()))


def matching(files: Mapping[str, Read], pattern: str, place: str) -> dict[str, Read]:
    r"""Return the files whose name ends, from the start or a slash, in `pattern`, by its only group.

    `place`: what a message calls the files, such as their path.

    Raises:
        ValueError: if there are none, or if two would have one key.

    >>> def read() -> bytes: return b""
    >>> sorted(matching({"a/im1.jpg": read, "im2.jpg": read, "a/im.txt": read}, r"im(\d+)\.jpg", "photos"))
    ['1', '2']
    """
    whole = re.compile(rf"(?:.*/)?{pattern}")
    found: dict[str, Read] = {}
    for name, read in files.items():
        match = whole.fullmatch(name)
        if match is None:
            continue
        if match[1] in found:
            raise ValueError(f"{place} holds {Path(name).name} twice; keep the one that belongs to it")
        found[match[1]] = read
    if not found:
        raise ValueError(
            f"{place} holds no file such as {_example(pattern)!r}; is it the publisher's layout?"
        )
    return found


def one(path: Path, most: int = FILE_BYTES) -> Read:
    """Return what reads a single file of at most `most` bytes."""
    return partial(_read_path, path, most)


def missing(name: str) -> Read:
    """Return what reads a file that is not there: it raises."""
    return partial(_raise_missing, name)


def _raise_missing(name: str) -> bytes:
    raise FileNotFoundError(f"image file {name} is missing")


def text(read: Read, place: str, encoding: str = "utf-8") -> str:
    """Return a text file.

    Raises:
        ValueError: if it is not in that encoding.
    """
    try:
        return read().decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(f"{place} is not {encoding} (byte {error.start})") from None


def _example(pattern: str) -> str:
    r"""Return a name that the pattern matches, as a person would write it.

    >>> _example(r"([^/]+/im\d+\.jpg)"), _example(r"Labels_([a-z]+)\.txt")
    ('<folder>/im<number>.jpg', 'Labels_<name>.txt')
    """
    shown = pattern.replace("[^/]+/", "<folder>/").replace(r"\d+", "<number>")
    return re.sub(r"[()\\]", "", re.sub(r"\[.*?\]\+", "<name>", shown))


def _limited_entries(path: Path, entries: Iterable[Entry]) -> Iterator[Entry]:
    """Return the entries, as long as there are no more than FILES."""
    for count, entry in enumerate(entries, start=1):
        if count > FILES:
            raise ValueError(f"{path} holds more than {FILES} files, the most that are read; split it")
        yield entry


def _in_folder(folder: Path, most: int) -> Iterator[tuple[str, Member]]:
    inside = folder.resolve()
    for path in _limited_entries(folder, _below(folder)):
        if path.is_file() and (not path.is_symlink() or path.resolve().is_relative_to(inside)):
            yield path.relative_to(folder).as_posix(), Member(path.stat().st_size, one(path, most))


def _below(folder: Path) -> Iterator[Path]:
    """Yield what is below a folder, but for what is hidden: it is no part of the folder's identity."""
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(place, name) for name in names if not name.startswith("."))


def _in_zip(path: Path, most: int) -> Iterator[tuple[str, Member]]:
    try:
        archive = _opened_zip(path, path.stat().st_mtime_ns)
    except DAMAGED_ZIP as error:
        raise ValueError(f"{path} is a damaged zip ({error}); fetch it again") from error
    for info in _limited_entries(path, archive.infolist()):
        if not info.filename.endswith("/"):  # a folder; is_dir() fails without a name
            yield info.filename, Member(info.file_size, partial(_read_zipped, path, info, most))


@lru_cache(maxsize=4)
def _opened_zip(path: Path, _changed: int) -> zipfile.ZipFile:
    """Return the zip, which stays open: its directory is long to read."""
    return zipfile.ZipFile(path)


def _in_tar(path: Path, most: int) -> Iterator[tuple[str, Member]]:
    last, whole = -1, path.stat().st_size
    try:
        # not compressed: each file is read from its own place
        with tarfile.open(path, "r:", tarinfo=Header) as tar:
            for info in _limited_entries(path, tar):
                if not 0 <= info.size <= whole or info.offset_data <= last:  # back, and round for ever
                    raise ValueError(f"{path}: {info.name} has a size that cannot be; fetch it again")
                last = info.offset_data
                if info.isreg():
                    read = partial(_read_stretch, path, info.offset_data, info.size, most)
                    yield info.name, Member(info.size, read)
    except (tarfile.TarError, RecursionError) as error:  # the latter: headers of headers
        raise ValueError(
            f"{path} is neither a folder nor a zip nor an uncompressed tar ({error}), or was cut short: "
            "fetch it again, or unpack it and give the folder"
        ) from error


def _read_path(path: Path, most: int) -> bytes:
    with path.open("rb") as stream:
        return _limited(stream, path.name, most)


def _read_zipped(path: Path, info: zipfile.ZipInfo, most: int) -> bytes:
    try:
        with _opened_zip(path, path.stat().st_mtime_ns).open(info) as stream:
            return _limited(stream, info.filename, most)
    except DAMAGED_ZIP as error:
        raise ValueError(f"{info.filename}: {str(error) or 'its data end too early'}") from error


def _read_stretch(path: Path, start: int, size: int, most: int) -> bytes:
    with path.open("rb") as stream:
        stream.seek(start)
        data = _limited(io.BytesIO(stream.read(min(size, most + 1))), path.name, most)
    if len(data) < size:
        raise ValueError(f"{path.name} ends within a file")
    return data


def _limited(stream: IO[bytes], name: str, most: int) -> bytes:
    data = stream.read(most + 1)  # what a header says of the size may be a lie
    if len(data) > most:
        raise ValueError(f"file {name} has more than {most} bytes, the most that are read; make it smaller")
    return data


class Header(tarfile.TarInfo):
    """A header that is refused where tarfile would read on: into memory without limit, or to an early end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "Header":
        try:
            info = super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # the zeros at the end
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"{error}; the archive is damaged or was cut short") from error
        if info.type in _NAMES and info.size > NAME_BYTES:  # tarfile takes them in whole
            raise tarfile.ReadError(f"a name or an extended header has {info.size} bytes")
        return info


def read_tar(path: Path, wanted: Callable[[str], bool]) -> dict[str, bytes]:
    """Return the plain files of the tar at `path` whose name is `wanted`, in the archive's order.

    Raises:
        ValueError: if it is not a tar file or exceeds a limit.
    """
    found: dict[str, bytes] = {}
    total = 0
    unpacked = max(UNPACKED_BYTES, RATIO * path.stat().st_size)
    try:
        with tarfile.open(path, "r|*", tarinfo=Header) as tar:  # one pass: seeking back in gzip starts over
            for count, info in enumerate(tar):
                if count >= FILES:
                    raise ValueError(
                        f"{path.name} holds more than {FILES} files, the most that are read; split it"
                    )
                # What nobody wants is unpacked on the way past it.
                if not info.issparse() and info.offset_data + info.size > unpacked:
                    raise ValueError(
                        f"{path.name} unpacks to more than {unpacked} bytes, the most that are unpacked, "
                        f"with its file {info.name}; fetch it again"
                    )
                if not info.isreg() or not wanted(info.name):
                    continue
                total += info.size
                if info.size > FILE_BYTES or total > TOTAL_BYTES:
                    raise ValueError(
                        f"{path.name}: {info.name} has {info.size} bytes, {total} with the files before it; "
                        f"at most {FILE_BYTES} and {TOTAL_BYTES} are read: split the archive"
                    )
                stream = tar.extractfile(info)
                assert stream is not None  # isreg
                found[info.name] = stream.read()
    except (tarfile.TarError, EOFError, OSError, RecursionError) as error:  # the last: headers of headers
        raise ValueError(f"{path}: not a readable tar file: {error}") from error
    return found
