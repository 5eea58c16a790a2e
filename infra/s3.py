"""A store in an S3 bucket.  `infra.storage` makes it, and says what the methods promise.

s3fs retries what may pass by itself (broken connections, throttling, 5xx) with growing pauses; what it gives
up on becomes a StorageError.  It reports a missing bucket as a missing file; here that is an error too.
"""

import atexit
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Literal

import pyarrow.fs
import s3fs
import zarr.storage
from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]
from zarr.core.sync import sync

from infra import s3_account
from infra.storage import CHUNK, PARTIAL, Digest, Entry, StorageError, checked, hash_stream

TIMEOUTS = {"connect_timeout": 5, "read_timeout": 60, "retries": {"max_attempts": 3, "mode": "standard"}}
CONFLICT_PAUSES = (0.2, 1.0, 3.0)  # seconds
AT_ONCE = 32  # requests on the way, where many small files are read
REMEDY = (
    "check AWS_ENDPOINT_URL or AWS_PROFILE, the credentials and their rights on the bucket, or run cmh doctor"
)


class S3Store:
    """Objects below a prefix of a bucket."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._root = self.url.removeprefix("s3://")
        checked(self._root)
        self._bucket_seen = False

    def __reduce__(self) -> tuple[Any, ...]:
        return S3Store, (self.url,)

    def __repr__(self) -> str:
        return f"S3Store({self.url!r})"

    def exists(self, path: str) -> bool:
        try:
            with self._translated(path):
                return bool(self._fs.info(self._key(path)))
        except FileNotFoundError:
            return False

    def read_bytes(self, path: str, at_most: int | None = None) -> bytes:
        with self._translated(path):
            if at_most is None:
                return bytes(self._fs.cat_file(self._key(path)))
            with self._fs.open(self._key(path), "rb") as stream:
                return bytes(stream.read(at_most))

    def read_many(self, paths: Sequence[str]) -> dict[str, bytes]:
        # By Arrow's client: s3fs spends 2.7 ms of one core on a request, so more at once do not help.
        with self._translated(""):
            client = _arrow()

        def read(path: str) -> bytes | None:
            key = self._key(path)
            with suppress(FileNotFoundError), self._translated(path), client.open_input_stream(key) as stream:
                return bytes(stream.read())
            return None

        with ThreadPoolExecutor(AT_ONCE) as pool:
            found = zip(paths, pool.map(read, paths), strict=True)
            return {path: data for path, data in found if data is not None}

    def write_bytes(self, path: str, data: bytes) -> None:
        with self._translated(path):
            self._fs.pipe_file(self._key(path), data)

    def create_exclusive(self, path: str, data: bytes) -> bool:
        pauses = iter(CONFLICT_PAUSES)
        while True:
            with self._translated(path):
                try:
                    self._fs.pipe_file(self._key(path), data, mode="create")  # If-None-Match: *
                    return True
                except OSError as error:
                    if _code(error) == "PreconditionFailed":
                        return False
                    pause = next(pauses, 0.0) if _code(error) == "ConditionalRequestConflict" else 0.0
                    if not pause:
                        raise
            time.sleep(pause)  # another request for the same name is under way, and may fail

    def entries(self, prefix: str) -> dict[str, Entry]:
        with self._translated(prefix):
            found = self._fs.find(self._key(prefix), detail=True)
        return {
            key.removeprefix(self._root + "/"): Entry(info["size"], info["LastModified"].timestamp())
            for key, info in sorted(found.items())
            if info["type"] == "file" and not key.endswith(PARTIAL)  # not a folder that is empty by now
        }

    def sizes(self, prefix: str) -> dict[str, int]:
        return {path: entry.size for path, entry in self.entries(prefix).items()}

    def folders(self, prefix: str) -> list[str]:
        try:
            with self._translated(prefix):
                children = self._fs.ls(self._key(prefix), detail=True)
        except FileNotFoundError:
            return []
        return sorted(child["name"].rsplit("/", 1)[-1] for child in children if child["type"] == "directory")

    def delete(self, path: str) -> None:
        keys = [self._key(found) for found in self.entries(checked(path))]
        with self._translated(path):
            if keys or self._fs.exists(self._key(path)):
                self._fs.rm(keys or self._key(path))

    def copy(self, source: str, target: str) -> None:
        with self._translated(source):
            self._fs.cp_file(self._key(source), self._key(target))

    @contextmanager
    def open(self, path: str, mode: Literal["rb", "wb"]) -> Iterator[IO[bytes]]:
        if mode == "rb":
            with self._translated(path):
                stream = self._fs.open(self._key(path), "rb")
            with stream:
                yield stream
        else:  # s3fs's own file would commit what was written before an error
            with tempfile.NamedTemporaryFile() as written:
                yield written.file
                written.flush()
                with self._translated(path):
                    self._fs.put_file(written.name, self._key(path))

    def download(self, path: str, local: Path) -> None:
        """Write the object into a file of this machine."""
        with (
            self._translated(path),
            _arrow().open_input_stream(self._key(path)) as stream,
            local.open("wb") as file,
        ):
            shutil.copyfileobj(stream, file, CHUNK)

    def digest(self, path: str) -> Digest:
        with self.open(path, "rb") as stream, self._translated(path):
            return hash_stream(stream)

    def flush(self, paths: list[str]) -> None:
        """Do nothing: a PUT that S3 answered is durable."""

    def local_path(self, path: str) -> None:
        return None

    def zarr(self, path: str, *, read_only: bool = True) -> zarr.storage.FsspecStore:
        return zarr.storage.FsspecStore(_asynchronous(), read_only=read_only, path=self._key(path))

    @property
    def _fs(self) -> Any:
        # fsspec keeps one instance per process, thread and set of options, so this is cheap and fork-safe
        return s3fs.S3FileSystem(**_options())

    def _key(self, path: str) -> str:
        return f"{self._root}/{checked(path)}" if path else self._root

    def _has_bucket(self) -> bool:
        """Return whether a miss is one: S3 answers 404 for a missing bucket too."""
        if not self._bucket_seen:
            try:
                self._fs.call_s3("head_bucket", Bucket=self._root.split("/")[0])
            except FileNotFoundError:
                return False
            except (OSError, BotoCoreError, ClientError) as error:
                raise StorageError(f"{self.url} at {_endpoint()}: {error}; {REMEDY}") from error
            self._bucket_seen = True
        return True

    @contextmanager
    def _translated(self, path: str) -> Iterator[None]:
        """Let misses pass and turn every other failure into a StorageError."""
        try:
            yield
        except StorageError:
            raise
        except (OSError, BotoCoreError, ClientError, TimeoutError) as error:
            if isinstance(error, FileNotFoundError) and self._has_bucket():
                raise
            raise StorageError(f"{self.url}/{path} at {_endpoint()}: {error}; {REMEDY}") from error


def _endpoint() -> str:
    """Return the server for a message."""
    with suppress(BotoCoreError):
        return (s3_account.find().endpoint or "AWS").rsplit("@", 1)[-1]
    return "AWS"


def _options() -> dict[str, Any]:
    """Return the options of every file system."""
    account = s3_account.find()
    client = {"region_name": account.region} if account.region else {}
    return {
        "use_listings_cache": False,
        "config_kwargs": TIMEOUTS,
        "client_kwargs": client,
        "endpoint_url": account.endpoint,
    }


def _arrow() -> pyarrow.fs.S3FileSystem:
    """Return Arrow's client with the same server and account."""
    account = s3_account.find()
    return pyarrow.fs.S3FileSystem(
        endpoint_override=account.endpoint,
        region=account.region,
        tls_ca_file_path=account.certificates,
        connect_timeout=TIMEOUTS["connect_timeout"],
        request_timeout=TIMEOUTS["read_timeout"],
        **account.keys(),
    )


def _asynchronous() -> Any:
    """Return the file system that Zarr drives in its own event loop."""
    fs = s3fs.S3FileSystem(asynchronous=True, **_options())
    if id(fs) not in _closing:  # s3fs closes connections by itself only in its own loop
        _closing.add(id(fs))
        atexit.register(lambda: fs._s3 and sync(fs._s3creator.__aexit__(None, None, None)))
    return fs


_closing: set[int] = set()


def _code(error: BaseException) -> str:
    """Return S3's name for what happened, "" if it said nothing."""
    cause = error.__cause__ if isinstance(error.__cause__, ClientError) else error
    return str(getattr(cause, "response", {}).get("Error", {}).get("Code", ""))
