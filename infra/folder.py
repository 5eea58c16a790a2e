"""A store in a local folder.  `infra.storage` makes it, and says what the methods promise."""

import errno
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Literal

import zarr.storage

from infra.storage import PARTIAL, Digest, Entry, StorageError, checked, hash_stream

_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


class FolderStore:
    """Files below `root`; written to a temporary name beside their place and renamed."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).absolute()
        self.url = str(self.root)

    def __reduce__(self) -> tuple[Any, ...]:
        return FolderStore, (self.url,)

    def __repr__(self) -> str:
        return f"FolderStore({self.url!r})"

    def exists(self, path: str) -> bool:
        file = self._file(path)
        with _translated(file), suppress(FileNotFoundError):
            return bool(file.stat())
        return False

    def read_bytes(self, path: str, at_most: int | None = None) -> bytes:
        file = self._file(path)
        with _translated(file), file.open("rb") as stream:
            return stream.read(at_most)

    def read_many(self, paths: Sequence[str]) -> dict[str, bytes]:
        contents = {}
        for path in paths:
            with suppress(FileNotFoundError):
                contents[path] = self.read_bytes(path)
        return contents

    def write_bytes(self, path: str, data: bytes) -> None:
        with self.open(path, "wb") as stream, _translated(self._file(path)):
            stream.write(data)
            stream.flush()

    def create_exclusive(self, path: str, data: bytes) -> bool:
        file = self._file(path)
        with _beside(file) as temporary, _translated(file):
            temporary.write_bytes(data)
            _sync(temporary)
            try:
                os.link(temporary, file)  # fails if there is one already, and is never seen half-written
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno in _NO_LINKS:
                    raise StorageError(
                        error.errno,
                        f"{error.strerror}: the file system of {self.root} has no hard links, which a store "
                        "needs; choose another folder (CMH_STORE), or S3",
                    ) from error
                raise
            _sync(file.parent)
        return True

    def entries(self, prefix: str) -> dict[str, Entry]:
        folder = self._file(prefix)
        entries: dict[str, Entry] = {}
        with _translated(folder):
            for parent, _, names in os.walk(folder, onerror=_raise_but_missing):
                for file in (Path(parent, name) for name in names if not name.endswith(PARTIAL)):
                    with suppress(FileNotFoundError):  # deleted since it was listed
                        stat = file.stat()
                        entries[file.relative_to(self.root).as_posix()] = Entry(stat.st_size, stat.st_mtime)
        return dict(sorted(entries.items()))

    def sizes(self, prefix: str) -> dict[str, int]:
        return {path: entry.size for path, entry in self.entries(prefix).items()}

    def folders(self, prefix: str) -> list[str]:
        folder = self._file(prefix)
        with _translated(folder), suppress(FileNotFoundError), os.scandir(folder) as children:
            return sorted(child.name for child in children if child.is_dir())
        return []

    def delete(self, path: str) -> None:
        file = self._file(checked(path))
        with _translated(file), suppress(FileNotFoundError):
            if file.is_dir():
                shutil.rmtree(file)
            else:
                file.unlink()

    def copy(self, source: str, target: str) -> None:
        origin, file = self._file(source), self._file(target)
        with _beside(file) as temporary, _translated(file):
            try:
                os.link(origin, temporary)
            except PermissionError:  # another user's file, of which the system allows no link
                shutil.copyfile(origin, temporary)
            temporary.replace(file)

    @contextmanager
    def open(self, path: str, mode: Literal["rb", "wb"]) -> Iterator[IO[bytes]]:
        file = self._file(path)
        if mode == "rb":
            with _translated(file):
                stream = file.open("rb")
            with stream:
                yield stream
        else:
            with _beside(file) as temporary:
                with temporary.open("wb") as written:
                    yield written
                with _translated(file):
                    temporary.replace(file)

    def digest(self, path: str) -> Digest:
        with self.open(path, "rb") as stream, _translated(self._file(path)):
            return hash_stream(stream)

    def flush(self, paths: list[str]) -> None:
        files = [self._file(path) for path in paths]
        with _translated(self.root):
            for place in [*files, *{file.parent for file in files}]:
                _sync(place)

    def local_path(self, path: str) -> Path | None:
        return self._file(path)

    def zarr(self, path: str, *, read_only: bool = True) -> zarr.storage.LocalStore:
        return zarr.storage.LocalStore(self._file(path), read_only=read_only)

    def _file(self, path: str) -> Path:
        return self.root / checked(path) if path else self.root


@contextmanager
def _beside(file: Path) -> Iterator[Path]:
    """Yield a temporary name in the folder of `file` (made if need be), gone after the block."""
    with _translated(file):
        file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.parent / f".{uuid.uuid4().hex}{PARTIAL}"
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _translated(file: Path) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, StorageError):
        raise
    except OSError as error:
        raise StorageError(
            error.errno, f"{error.strerror or error}: {file}; check the folder CMH_STORE names"
        ) from error


def _raise_but_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _sync(place: Path) -> None:
    descriptor = os.open(place, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
