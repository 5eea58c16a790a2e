"""The store's promises, held by a folder and by a real S3 server alike: whole writes, one winner of an
exclusive create, misses told from outages, no way out by a path, no secrets in what is passed around."""

import errno
import hashlib
import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import s3fs
import zarr
from botocore.exceptions import ClientError

from infra import s3
from infra.storage import StorageError, Store
from infra.stores import default_url, home, open_store
from tests import s3_server


def test_bytes_return_as_written(store: Store) -> None:
    """What was written is read, listed with its size, replaced, copied and deleted."""
    store.write_bytes("a/b/c.bin", b"first")
    store.write_bytes("a/b/c.bin", b"second!")
    store.write_bytes("a/d", b"")
    store.copy("a/b/c.bin", "e/f.bin")
    assert store.read_bytes("a/b/c.bin") == store.read_bytes("e/f.bin") == b"second!"
    assert store.sizes("") == {"a/b/c.bin": 7, "a/d": 0, "e/f.bin": 7}
    assert store.sizes("a") == {"a/b/c.bin": 7, "a/d": 0}
    assert store.folders("") == ["a", "e"]
    store.delete("a")
    store.delete("a")
    assert store.sizes("") == {"e/f.bin": 7}
    assert store.exists("e/f.bin")
    assert not store.exists("a/d")


def test_missing_is_a_miss(store: Store) -> None:
    """A file that is not there is FileNotFoundError and not StorageError; a folder that is not is empty."""
    with pytest.raises(FileNotFoundError):
        store.read_bytes("nothing")
    with pytest.raises(FileNotFoundError):
        store.digest("nothing")
    with pytest.raises(FileNotFoundError):
        store.copy("nothing", "something")
    assert store.sizes("nothing") == {}
    assert store.folders("nothing") == []


def test_many_small_files_are_read_at_once(store: Store) -> None:
    """Those that are there; none of the others."""
    for number in range(40):
        store.write_bytes(f"{number}/small.json", str(number).encode())
    found = store.read_many([f"{number}/small.json" for number in range(38, 42)])
    assert found == {"38/small.json": b"38", "39/small.json": b"39"}
    assert store.read_many([]) == {}


def test_one_of_many_creates(store: Store) -> None:
    """Sixteen threads create one file: one is told that it did, and its bytes are the ones kept."""
    with ThreadPoolExecutor(16) as pool:
        told = list(pool.map(lambda i: store.create_exclusive("m/once", bytes([i]) * 1000), range(16)))
    assert sum(told) == 1
    assert store.read_bytes("m/once") == bytes([told.index(True)]) * 1000
    assert list(store.sizes("m")) == ["m/once"]


def test_nothing_appears_after_an_error(store: Store) -> None:
    """A block that fails leaves neither the file nor a temporary one, and an older file as it was."""
    store.write_bytes("kept", b"old")
    for name in ("kept", "new"):
        with pytest.raises(TypeError), store.open(name, "wb") as stream:
            stream.writelines([b"x" * 100_000, "no bytes"])
    assert store.sizes("") == {"kept": 3}
    assert store.read_bytes("kept") == b"old"
    if folder := store.local_path(""):
        assert [path.name for path in folder.iterdir()] == ["kept"]


def test_streams(store: Store) -> None:
    """A file written through a stream has the size and SHA-256 that `digest` tells."""
    with store.open("big", "wb") as stream:
        for _ in range(3):
            stream.write(b"a" * 1_000_000)
    with store.open("big", "rb") as stream:
        assert stream.read(10) == b"a" * 10
    assert store.digest("big") == (3_000_000, hashlib.sha256(b"a" * 3_000_000).hexdigest())


@pytest.mark.parametrize(
    "path", ["../x", "/etc/passwd", "a/../../x", "a//b", "a/", ".", "a/./b", "a\\b", "a\0b"]
)
def test_no_path_leaves_the_store(local_store: Store, path: str) -> None:
    """Absolute paths, dot-dot and their relatives are refused by every operation that takes a file."""
    for operation in (
        lambda: local_store.write_bytes(path, b""),
        lambda: local_store.copy("a", path),
        lambda: local_store.delete(path),
        lambda: local_store.create_exclusive(path, b""),
    ):
        with pytest.raises(ValueError, match="not plainly inside"):
            operation()


def test_url_decides(cmh_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CMH_HOME and CMH_STORE say where things are; a URL of an unknown kind or with secrets is refused."""
    assert home() == cmh_home
    assert open_store().url == default_url() == str(cmh_home / "store")
    monkeypatch.setenv("CMH_STORE", "file:///somewhere/else")
    assert open_store().url == "/somewhere/else"
    with pytest.raises(ValueError, match="unknown kind"):
        open_store("ftp://host/x")
    with pytest.raises(ValueError, match="must not hold credentials") as caught:
        open_store("s3://key:hunter2@bucket/x")
    assert "hunter2" not in str(caught.value)


def test_zarr_survives_pickling(store: Store) -> None:
    """A Zarr store reopened from a pickle, as on a worker, reads what was written."""
    group = zarr.open_group(store.zarr("x.zarr", read_only=False), mode="w")
    group.create_array("a", data=np.arange(100), chunks=(10,), shards=(50,))
    again = zarr.open_group(pickle.loads(pickle.dumps(store.zarr("x.zarr"))), mode="r")
    np.testing.assert_array_equal(again["a"][:], np.arange(100))


@pytest.mark.slow
def test_pickles_and_reprs_hold_no_secret(s3_store: Store) -> None:
    """Neither a pickled store, nor its Zarr store, nor their repr contains the key or the secret."""
    s3_store.write_bytes("x", b"1")
    for value in (s3_store, s3_store.zarr("x.zarr")):
        assert s3_server.SECRET.encode() not in pickle.dumps(value)
        assert s3_server.SECRET not in repr(value)
    assert pickle.loads(pickle.dumps(s3_store)).read_bytes("x") == b"1"


@pytest.mark.slow
def test_refusal_is_no_miss(s3_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a wrong secret every operation is a StorageError, and none says that the file is not there."""
    s3_store.write_bytes("there", b"1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
    s3fs.S3FileSystem.clear_instance_cache()
    _refuses(s3_store)


@pytest.mark.slow
def test_missing_bucket_is_no_miss(s3_store: Store) -> None:
    """A bucket that does not exist is a StorageError: a wrong CMH_STORE must not look like an empty one."""
    _refuses_reading(open_store("s3://no-such-bucket/prefix"))  # SeaweedFS makes a bucket at the first write


@pytest.mark.slow
def test_outage_is_no_miss(tmp_path: Path, cmh_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the server was killed, every operation is a StorageError that names the endpoint and a remedy."""
    server = s3_server.start(tmp_path)
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    store = open_store(f"s3://{s3_server.BUCKET}/outage")
    store.write_bytes("there", b"1")
    server.kill()
    for operation in (  # few, because each is retried for some seconds
        lambda: store.read_bytes("there"),
        lambda: store.create_exclusive("there", b"2"),
        lambda: store.read_bytes("there", 1),
    ):
        with pytest.raises(StorageError, match=f"{server.endpoint}.*AWS_ENDPOINT_URL"):
            operation()


def test_first_bytes(store: Store) -> None:
    """No more than asked for, and no more than there are."""
    store.write_bytes("there", b"12345")
    store.write_bytes("empty", b"")
    assert [store.read_bytes("there", count) for count in (1, 5, 9)] == [b"1", b"12345", b"12345"]
    assert store.read_bytes("empty", 1) == b""
    with pytest.raises(FileNotFoundError):
        store.read_bytes("nowhere", 1)


@pytest.mark.slow
def test_a_conflict_is_tried_again(s3_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """S3 says 409 while another request for the name is under way, which may fail: nobody has won yet."""
    monkeypatch.setattr(s3, "CONFLICT_PAUSES", (0.01, 0.01))
    refusals = [ClientError({"Error": {"Code": "ConditionalRequestConflict"}}, "PutObject") for _ in range(3)]
    real, left = s3_store._fs, refusals[:2]

    def conflicting(*arguments: Any, **options: Any) -> None:
        if left:
            raise OSError(409, "conflict") from left.pop()
        real.pipe_file(*arguments, **options)

    class Conflicting:
        def __getattr__(self, name: str) -> Any:
            return conflicting if name == "pipe_file" else getattr(real, name)

    monkeypatch.setattr(type(s3_store), "_fs", Conflicting())
    assert s3_store.create_exclusive("new", b"1")
    assert not s3_store.create_exclusive("new", b"2")
    left += refusals
    with pytest.raises(StorageError, match="conflict"):
        s3_store.create_exclusive("newer", b"1")


def test_a_file_system_without_hard_links_is_said(
    local_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing could be published in it."""

    def unable(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "link", unable)
    with pytest.raises(StorageError, match=r"no hard links, which a store needs; choose another folder"):
        local_store.create_exclusive("a", b"")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_folder_is_an_error(local_store: Store, tmp_path: Path) -> None:
    """A folder that may not be written is a StorageError that names it."""
    (tmp_path / "store").mkdir(mode=0o500)
    with pytest.raises(StorageError, match="store"):
        local_store.write_bytes("a", b"")


def test_file_in_place_of_folder_is_an_error(local_store: Store, tmp_path: Path) -> None:
    """A store whose folder is a file is a StorageError, for reading as for writing."""
    (tmp_path / "store").write_bytes(b"")
    _refuses(local_store)


def _refuses(store: Store) -> None:
    _refuses_reading(store)
    with pytest.raises(StorageError):
        store.write_bytes("there", b"2")
    with pytest.raises(StorageError):
        store.create_exclusive("there", b"2")


def _refuses_reading(store: Store) -> None:
    with pytest.raises(StorageError):
        store.read_many(["there"])
    for operation in (store.read_bytes, store.digest, store.sizes, store.folders):
        with pytest.raises(StorageError):
            operation("there")


def test_the_region_is_that_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS_REGION counts, which botocore by itself does not read."""
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    assert s3._options()["client_kwargs"] == {"region_name": "eu-west-1"}
    monkeypatch.delenv("AWS_REGION")
    assert s3._options()["client_kwargs"] == {}
