"""Artifacts on a folder and on a real S3 server: visible only when whole, one winner of a race, every flipped
bit found by name, parts of a killed attempt taken over, and no way from a hostile manifest to other files."""

import hashlib
import json
import multiprocessing
import os
import pickle
import signal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import s3fs
import zarr
from hypothesis import given
from hypothesis import strategies as st

from infra import artifacts, transfer
from infra.artifacts import ArtifactError, Draft, Ref, Target
from infra.manifest import Manifest, canonical
from infra.storage import StorageError, Store
from infra.stores import open_store

TARGET = Target("codes", "toy-16", config={"bits": 16, "rate": 0.1}, inputs={"model": "a" * 64}, revision=3)


def make(store: Store, target: Target = TARGET, *, shift: int = 0) -> Ref:
    """A small artifact with a file of each kind."""
    with artifacts.write(store, target, run={"seconds": 1.5}) as draft:
        fill(draft, shift)
    return draft.ref


def fill(draft: Draft, shift: int = 0) -> None:
    group = zarr.open_group(draft.zarr("codes.zarr"), mode="w")
    group.create_array("image", data=np.arange(1, 65) + shift, chunks=(8,), shards=(32,))
    draft.write_table("items.parquet", pa.table({"id": ["a", "b"]}))
    draft.write_json("config.json", {"bits": 16})
    draft.write_bytes("logs/times.txt", os.urandom(8))


def abandon(store: Store, shards: dict[str, bytes]) -> Draft:
    """An attempt with these finished parts, of one file each, that was never published."""
    draft = Draft(store, TARGET)
    for name, data in shards.items():
        draft.write_bytes(f"shard/{name}", data)
        draft.finish_part(name, [f"shard/{name}"])
    return draft


def test_what_is_written_is_read(store: Store) -> None:
    """Each kind of file comes back as it was written, also through a pickled Reading."""
    reading = pickle.loads(pickle.dumps(artifacts.open_artifact(store, make(store))))
    np.testing.assert_array_equal(
        zarr.open_group(reading.zarr("codes.zarr"), mode="r")["image"][:], np.arange(1, 65)
    )
    assert reading.read_table("items.parquet").to_pydict() == {"id": ["a", "b"]}
    assert reading.read_json("config.json") == json.load(reading.open("config.json")) == {"bits": 16}
    assert reading.local("config.json").read_bytes() == reading.read_bytes("config.json")
    folder = reading.local()
    found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert found == list(reading.files)
    assert reading.manifest.run == {"seconds": 1.5}
    with pytest.raises(ArtifactError, match=r"no file 'nothing'; it has codes\.zarr"):
        reading.read_bytes("nothing")


def test_lookup_finds_what_was_published(store: Store) -> None:
    """None before, the reference after, None for any other config, input or revision; the name is a label."""
    assert artifacts.lookup(store, TARGET) is None
    ref = make(store)
    assert artifacts.lookup(store, TARGET) == ref
    assert Ref.model_validate_json(ref.model_dump_json()) == ref
    for other in (
        Target("codes", "toy-16", {"bits": 17, "rate": 0.1}, TARGET.inputs, 3),
        Target("codes", "toy-16", TARGET.config, {"model": "b" * 64}, 3),
        Target("codes", "toy-16", TARGET.config, TARGET.inputs, 4),
    ):
        assert artifacts.lookup(store, other) is None
    assert Target("codes", "else", TARGET.config, TARGET.inputs, 3).identity == TARGET.identity
    assert [found.ref for found in artifacts.list_artifacts(store)] == [ref]
    assert artifacts.list_artifacts(store, "model") == []


def test_content_leaves_logs_out(local_store: Store, tmp_path: Path) -> None:
    """Two runs that differ only below logs/ have equal content, computed here from its definition."""
    one, other = make(local_store), make(open_store(str(tmp_path / "other")))
    files = artifacts.open_artifact(local_store, one).files
    sums = {name: file.sha256 for name, file in files.items() if not name.startswith("logs/")}
    assert one.content == hashlib.sha256(json.dumps(sums, separators=(",", ":")).encode()).hexdigest()
    assert one == other


def test_nothing_is_seen_before_the_end(store: Store) -> None:
    """Inside the block, and after it failed, there is no artifact."""

    def fail() -> None:
        with artifacts.write(store, TARGET) as draft:
            fill(draft)
            assert artifacts.lookup(store, TARGET) is None
            with pytest.raises(RuntimeError, match="not published"):
                _ = draft.ref
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert artifacts.lookup(store, TARGET) is None
    assert artifacts.list_artifacts(store) == []


def test_loser_with_equal_content_succeeds(store: Store) -> None:
    """Of two attempts with equal content both end well, and only the winner's files stay."""
    with artifacts.write(store, TARGET) as first:
        fill(first)
        second = make(store)
    assert first.ref == second
    winner = artifacts.open_artifact(store, second)
    files = [*map(winner.path, winner.files), f"{TARGET.address}/manifest.json"]
    assert list(store.sizes(TARGET.address)) == files
    assert artifacts.verify(store, second) == []


def test_loser_with_other_content_fails(store: Store) -> None:
    """The attempt that comes second with other content fails, names the file, and harms nothing."""
    with pytest.raises(ArtifactError, match=r"codes\.zarr/image/c/0.*not deterministic"):  # noqa: PT012, SIM117
        with artifacts.write(store, TARGET) as first:
            fill(first, shift=1)
            second = make(store)
    assert artifacts.lookup(store, TARGET) == second
    assert artifacts.verify(store, second) == []


def test_own_manifest_is_no_rival(local_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A create whose answer was lost, and that was repeated, finds its own manifest and keeps its files."""
    create = type(local_store).create_exclusive
    monkeypatch.setattr(
        type(local_store), "create_exclusive", lambda *given: create(*given) and create(*given)
    )
    assert artifacts.verify(local_store, make(local_store)) == []


def test_every_flipped_bit_is_found(store: Store) -> None:
    """Each file in turn, the manifest too, with one bit flipped, is the one that verify names."""
    ref = make(store)
    assert artifacts.verify(store, ref) == []
    rng = np.random.default_rng(0)
    for path in store.sizes(ref.address):
        good = store.read_bytes(path)
        flipped = bytearray(good)
        flipped[rng.integers(len(good))] ^= 1 << rng.integers(8)
        store.write_bytes(path, bytes(flipped))
        assert [problem.path for problem in artifacts.verify(store, ref)] == [path]
        store.write_bytes(path, good)
    assert artifacts.verify(store, ref) == []


def test_no_bit_of_a_manifest_can_flip(local_store: Store) -> None:
    """Every byte of a manifest, with any one bit flipped, makes it damaged, and the error names it."""
    path = f"{make(local_store).address}/manifest.json"
    good = local_store.read_bytes(path)
    for position in range(len(good)):
        bad = bytearray(good)
        bad[position] ^= 1 << (position % 8)
        with pytest.raises(ArtifactError, match="here is damaged"):
            Manifest.parse(bytes(bad), "here")


def test_missing_longer_and_foreign_files_are_found(store: Store) -> None:
    """verify names a file that is gone, one that grew, and one that the manifest does not list."""
    reading = artifacts.open_artifact(store, make(store))
    store.delete(reading.path("config.json"))
    store.write_bytes(reading.path("items.parquet"), reading.read_bytes("items.parquet") + b"x")
    store.write_bytes(reading.path("foreign"), b"x")
    found = {problem.path: problem.what for problem in artifacts.verify(store, reading.ref)}
    assert found.keys() == {reading.path(name) for name in ("config.json", "items.parquet", "foreign")}
    assert found[reading.path("config.json")] == "is missing"


def test_readers_check_what_they_read(store: Store) -> None:
    """A damaged file is handed out in no form; a Zarr group that lacks a chunk is not opened."""
    reading = artifacts.open_artifact(store, make(store))
    good = store.read_bytes(reading.path("config.json"))
    store.write_bytes(reading.path("config.json"), good.replace(b"16", b"17"))
    for read in (reading.read_bytes, reading.read_json, reading.local, reading.open):
        with pytest.raises(ArtifactError, match=r"config\.json.*checksum"):
            read("config.json")
    store.delete(reading.path("codes.zarr/image/c/1"))
    with pytest.raises(ArtifactError, match="c/1 is missing"):
        reading.zarr("codes.zarr")


def test_broken_manifest_is_an_error(store: Store) -> None:
    """Broken JSON where the manifest should be is an error that names it, for lookup as for reading."""
    ref = make(store)
    store.write_bytes(f"{ref.address}/manifest.json", b'{"format": 1, ')
    for ask in (
        lambda: artifacts.lookup(store, TARGET),
        lambda: artifacts.open_artifact(store, ref),
        lambda: artifacts.list_artifacts(store),
        lambda: transfer.gc(store),
    ):
        with pytest.raises(ArtifactError, match=f"{ref.address}/manifest.json is damaged"):
            ask()


def test_reference_means_its_content(local_store: Store) -> None:
    """A reference to other content at the address is refused; a missing artifact says where it is not."""
    ref = make(local_store)
    with pytest.raises(ArtifactError, match="has content"):
        artifacts.open_artifact(local_store, ref.model_copy(update={"content": "0" * 64}))
    with pytest.raises(FileNotFoundError, match=r"no artifact codes/none/.* in .*store"):
        artifacts.open_artifact(local_store, f"codes/none/{'0' * 16}")
    with pytest.raises(ValueError, match="kind/name/16 hex digits"):
        artifacts.open_artifact(local_store, "../../etc")


@pytest.mark.slow
def test_outage_at_lookup_is_an_error(s3_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a wrong secret, lookup raises StorageError and does not say that there is nothing."""
    make(s3_store)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(StorageError):
        artifacts.lookup(s3_store, TARGET)


def _half(url: str) -> None:
    """One finished and one unfinished part, and then the power fails."""
    with artifacts.write(open_store(url), TARGET) as draft:
        draft.write_bytes("shard/0", b"zero")
        draft.finish_part("0", ["shard/0"])
        draft.write_bytes("shard/1", b"half of one")
        os.kill(os.getpid(), signal.SIGKILL)


def test_parts_of_a_killed_attempt_are_taken_over(store: Store) -> None:
    """After SIGKILL the next attempt has the finished part without writing it, and makes the other."""
    process = multiprocessing.get_context("spawn").Process(target=_half, args=(store.url,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    with artifacts.write(store, TARGET) as draft:
        assert draft.part("0")
        assert not draft.part("1")
        draft.write_bytes("shard/1", b"one")
        draft.finish_part("1", ["shard/1"])
        assert draft.part("1")
    reading = artifacts.open_artifact(store, draft.ref)
    assert [reading.read_bytes(name) for name in ("shard/0", "shard/1")] == [b"zero", b"one"]
    assert artifacts.verify(store, draft.ref) == []


def test_damaged_parts_are_not_taken_over(local_store: Store) -> None:
    """A part whose file changed since, or whose record is broken, counts as not done."""
    draft = abandon(local_store, {"0": b"good", "1": b"good", "2": b"good"})
    local_store.write_bytes(draft.path("shard/0"), b"evil")
    local_store.write_bytes(f"{TARGET.address}/parts-{draft.nonce}/1.json", b"{")
    second = Draft(local_store, TARGET)
    assert [second.part(name) for name in ("0", "1", "2")] == [False, False, True]


def test_parts_must_exist_and_stay(local_store: Store) -> None:
    """A part of a file that was not written, or that is written again, is an error that names the file."""
    with pytest.raises(ValueError, match="write_empty_chunks"):
        Draft(local_store, TARGET).finish_part("0", ["shard/0"])
    draft = abandon(local_store, {"0": b"one"})
    draft.write_bytes("shard/0", b"longer")
    with pytest.raises(ArtifactError, match="shard/0 was changed"):
        draft.publish()


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
))  # fmt: skip
def test_canonical_json_is_one_form(value: object) -> None:
    """Canonical JSON survives a round trip and does not depend on the order of keys."""
    text = canonical(value)
    assert canonical(json.loads(text)) == text
    if isinstance(value, dict):
        assert canonical(dict(reversed(value.items()))) == text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, b"x", np.float32(1)])
def test_canonical_json_refuses_the_rest(value: object) -> None:
    """What JSON cannot say in one way is refused."""
    with pytest.raises(ValueError, match="not plain JSON"):
        canonical({"x": value})
