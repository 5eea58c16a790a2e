"""Copy a prefix of an S3 bucket, or one object, into the downloads folder, and keep it as the bucket is.

Only objects whose size or time differ from the copy's are fetched again; what the bucket no longer has is
removed from the copy.  Account and server are those of `infra.s3`.
"""

import fcntl
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from infra.fetch import FetchError, downloads
from infra.storage import PARTIAL, Entry, StorageError, checked

MAX_FILES = 1_000_000
AT_ONCE = 16  # files on the way
SPARE = 1 << 30  # bytes of the disk that are left free

_log = logging.getLogger(__name__)


def address(place: str | Path) -> str | None:
    """Return the s3 address that is given, also one that was taken for a path; None: it is no such address.

    >>> address(Path("s3://bucket/photos")), address("s3://bucket/a.csv"), address("photos")
    ('s3://bucket/photos', 's3://bucket/a.csv', None)
    """
    scheme, colon, rest = str(place).partition(":/")
    return f"s3://{rest.strip('/')}" if (scheme, colon) == ("s3", ":/") and rest.strip("/") else None


def here(place: Path) -> Path:
    """Return data on this machine: as given, or a copy of what lies at an s3 address; raises as `copy`."""
    given = address(place)
    return place if given is None else copy(given)


def as_written(place: str | Path) -> str:
    """Return a path as a person writes it; as a path, an s3 address has lost a slash."""
    return address(place) or str(place)


def copies() -> Path:
    """Return the folder of the copies: a folder for each bucket."""
    return downloads() / "s3"


def as_addresses(text: str) -> str:
    """Return a message that names what was copied by its address, as a person gave it, and not by the copy.

    >>> as_addresses(f"{copies() / 'bucket' / 'items.csv'}, line 2: no text")
    's3://bucket/items.csv, line 2: no text'
    """
    for folder in {copies(), copies().resolve()}:
        text = text.replace(f"{folder}/", "s3://")
    return text


@lru_cache(maxsize=64)  # a run asks several times, and must see the same each time
def copy(place: str) -> Path:
    """Return the folder or file that holds what is below `place`, an s3 address, as of the first call.

    Raises:
        FetchError: there is nothing, too much, or what no folder can hold.
        StorageError: the server cannot be asked.
    """
    from infra.s3 import S3Store  # botocore takes most of a second to import

    name, _, prefix = place.removeprefix("s3://").partition("/")
    store = S3Store(f"s3://{name}")
    try:
        entries = _usable(store.entries(prefix), place)
    except FileNotFoundError:
        entries = {}
    if not entries:
        raise FetchError(f"{place}: no such object, and nothing below it; `aws s3 ls` shows what there is")
    folder = copies() / name
    with _alone(folder):
        wanted = {path: entry for path, entry in entries.items() if not _is_same(folder / path, entry)}
        _remove_others(folder, prefix, entries)
        _check_size(place, wanted, folder)

        def fetch(path: str) -> None:
            local, entry = folder / path, wanted[path]
            local.parent.mkdir(parents=True, exist_ok=True)
            partial = local.with_name(local.name + PARTIAL)
            store.download(path, partial)
            if partial.stat().st_size != entry.size:
                raise StorageError(f"s3://{name}/{path} changed while it was read; run again")
            os.utime(partial, (entry.modified, entry.modified))
            os.replace(partial, local)

        try:
            with ThreadPoolExecutor(AT_ONCE) as pool:
                for _ in pool.map(fetch, wanted):
                    pass
        except (NotADirectoryError, IsADirectoryError, FileExistsError) as error:
            raise FetchError(
                f"{place} holds an object and others below its name ({error}), which no folder can; rename "
                "the object"
            ) from None
    return folder / prefix


def _usable(entries: Mapping[str, Entry], place: str) -> dict[str, Entry]:
    """Return the objects whose names are those of files; log the others."""
    found, odd = {}, []
    for path, entry in entries.items():
        if path.endswith("/") and not entry.size:
            continue  # what AWS's console keeps as a folder
        try:
            found[checked(path)] = entry
        except ValueError:
            odd.append(path)
    if odd:
        _log.warning(
            f"{place}: {len(odd)} object(s) skipped, whose names cannot be those of files, such as "
            f"{odd[0]!r}; rename them in the bucket to have them read"
        )
    return found


def _check_size(place: str, wanted: Mapping[str, Entry], folder: Path) -> None:
    """Refuse what would fill the disk, and say what is fetched."""
    size, free = sum(entry.size for entry in wanted.values()), shutil.disk_usage(folder).free
    if len(wanted) > MAX_FILES or size > free - SPARE:
        raise FetchError(
            f"{place} holds {len(wanted)} files of {size / 2**30:.1f} GiB that are not here yet; at most "
            f"{MAX_FILES} are copied, and {max(0, free - SPARE) / 2**30:.1f} GiB are free in {downloads()} "
            "(CMH_HOME names another disk); give a smaller prefix, or pack the images into shards"
        )
    if wanted:
        _log.info(f"{place}: fetching {len(wanted)} files, {size / 2**20:.1f} MiB")


def _is_same(local: Path, entry: Entry) -> bool:
    try:
        found = local.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return found.st_size == entry.size and abs(found.st_mtime - entry.modified) < 1e-3


def _remove_others(folder: Path, prefix: str, entries: Mapping[str, Entry]) -> None:
    """Remove what the bucket no longer has, so that the copy is what the bucket is."""
    above = folder
    for name in Path(prefix).parts:
        above /= name
        if above.is_file() and above.relative_to(folder).as_posix() not in entries:
            above.unlink()  # was an object, and others are below its name now
    for root, _, names in os.walk(folder / prefix, topdown=False):
        for local in (Path(root, name) for name in names):
            if local.relative_to(folder).as_posix() not in entries:
                local.unlink()
        with suppress(OSError):  # it holds something
            os.rmdir(root)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other process of this machine copies from the same bucket."""
    folder.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
