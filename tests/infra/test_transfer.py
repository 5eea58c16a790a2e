"""Artifacts on the move: pulled and pushed whole, removed, and what unfinished attempts left collected."""

import os
import time
from pathlib import Path

import pytest

from infra import artifacts, transfer
from infra.artifacts import ArtifactError, Target
from infra.manifest import content
from infra.storage import Store
from infra.stores import open_store
from tests.infra.test_artifacts import TARGET, abandon, make


def test_gc_finds_only_the_abandoned(store: Store) -> None:
    """What failed attempts left is listed with its size once it is old, and removed only by a wet run."""
    ref = make(store)
    draft = abandon(store, {"0": b"x" * 1000})
    assert transfer.gc(store, grace=3600) == []
    found = transfer.gc(store, grace=-10)
    assert [item.path for item in found] == [draft.prefix, draft.prefix.replace("data-", "parts-")]
    assert found[0].size == 1000
    assert store.exists(draft.path("shard/0"))
    assert transfer.gc(store, grace=-10, dry_run=False) != []
    assert not store.exists(draft.path("shard/0"))
    assert transfer.gc(store, grace=-10) == []
    assert artifacts.verify(store, ref) == []


def test_removed_artifacts_are_made_anew(store: Store) -> None:
    """Whole or damaged, it is gone with all its files, others stay, and its target can be written again."""
    ref = make(store)
    read = artifacts.open_artifact(store, ref)
    store.write_bytes(f"{read.manifest.prefix}/{next(iter(read.files))}", b"damaged")
    store.write_bytes("report/other/0123456789abcdef/x", b"stays")
    assert transfer.remove(store, ref.address) > 0
    assert artifacts.lookup(store, TARGET) is None
    assert store.entries(ref.address) == {}
    assert store.exists("report/other/0123456789abcdef/x")
    assert make(store) == ref
    with pytest.raises(FileNotFoundError, match="cmh ls"):
        transfer.remove(store, "report/none/0123456789abcdef")


@pytest.mark.parametrize("folder", ["data-00", "parts-00", "checkpoints"])
def test_what_a_run_is_writing_is_not_removed(local_store: Store, folder: str) -> None:
    """An attempt, its parts or checkpoints of this moment stay, as does the rest; old ones do not."""
    ref = make(local_store)
    path = f"{ref.address}/{folder}/x"
    local_store.write_bytes(path, b"half")
    with pytest.raises(ArtifactError, match=r"a run wrote to .* s ago .* nothing was written for 10 minutes"):
        transfer.remove(local_store, ref.address)
    assert local_store.exists(path)
    assert artifacts.verify(local_store, ref) == []
    place = local_store.local_path(path)
    assert place is not None
    long_ago = time.time() - transfer.QUIET - 1
    os.utime(place, (long_ago, long_ago))
    assert transfer.remove(local_store, ref.address) > 0
    assert local_store.entries(ref.address) == {}


def test_pull_and_push_bring_the_same(store: Store, tmp_path: Path) -> None:
    """Pulled into a folder and pushed on to another store, an artifact is whole and found by its target."""
    ref = make(store)
    sent: list[str] = []
    assert transfer.pull(store, ref.address, tmp_path / "pulled", lambda name, size: sent.append(name)) == ref
    assert sorted(sent) == list(artifacts.open_artifact(store, ref).files)
    pulled = open_store(str(tmp_path / "pulled"))
    back = open_store(f"{store.url}-back")
    assert transfer.push(pulled, back, ref.address) == transfer.push(pulled, back, ref.address) == ref
    assert artifacts.verify(back, ref) == artifacts.verify(pulled, ref) == []
    assert artifacts.lookup(back, TARGET) == ref


def test_pull_resumes_and_mends(store: Store, tmp_path: Path) -> None:
    """An interrupted pull shows nothing, the next completes it, and one more mends a damaged file."""
    ref = make(store)
    folder = open_store(str(tmp_path / "pulled"))

    def interrupt(name: str, size: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        transfer.pull(store, ref.address, tmp_path / "pulled", interrupt)
    assert artifacts.lookup(folder, TARGET) is None
    transfer.pull(store, ref.address, tmp_path / "pulled")
    assert artifacts.verify(folder, ref) == []
    path = artifacts.open_artifact(folder, ref).path("config.json")
    folder.write_bytes(path, b"damaged")
    transfer.pull(store, ref.address, tmp_path / "pulled")
    assert artifacts.verify(folder, ref) == []


def test_damaged_artifact_is_not_sent(store: Store, tmp_path: Path) -> None:
    """A source file that does not match its checksum stops the pull, and nothing is published."""
    reading = artifacts.open_artifact(store, make(store))
    store.write_bytes(reading.path("config.json"), b"damaged")
    with pytest.raises(ArtifactError, match=r"config\.json.*checksum"):
        transfer.pull(store, reading.ref.address, tmp_path / "pulled")
    assert artifacts.lookup(open_store(str(tmp_path / "pulled")), TARGET) is None


def test_push_leaves_other_content_alone(local_store: Store, tmp_path: Path) -> None:
    """A store that holds other content at the address keeps it, and the push fails."""
    ref = make(local_store)
    other = open_store(str(tmp_path / "other"))
    theirs = make(other, shift=1)
    with pytest.raises(ArtifactError, match="left as it is"):
        transfer.push(local_store, other, ref.address)
    assert artifacts.lookup(other, TARGET) == theirs


@pytest.mark.parametrize("name", ["../../../../escaped", "/tmp/cmh-escaped", "a/../../b", "a\\..\\b", "a\nb"])
def test_hostile_manifest_is_refused(local_store: Store, tmp_path: Path, name: str) -> None:
    """A manifest that is consistent in itself but names a path outside the artifact is not followed."""
    manifest = artifacts.open_artifact(local_store, make(local_store)).manifest
    files = {name: next(iter(manifest.files.values()))}
    hostile = manifest.model_copy(update={"files": files, "content": content(files)})
    local_store.write_bytes(f"{manifest.ref.address}/manifest.json", hostile.render())
    with pytest.raises(ArtifactError, match="not plainly inside"):
        transfer.pull(local_store, manifest.ref.address, tmp_path / "deep" / "er" / "pulled")
    assert not (tmp_path / "deep").exists()


def test_a_manifest_that_lies_about_sizes_is_not_pulled(local_store, tmp_path):
    """A file called three bytes is read for three, and one more; names of half files are refused."""
    from infra import manifest as manifests
    from infra import transfer
    from infra.storage import checked

    with artifacts.write(local_store, Target("codes", "a", {}, {}, 1)) as draft:
        draft.write_bytes("a.bin", b"x" * 100)
    address = draft.ref.address
    path = f"{address}/{manifests.MANIFEST}"
    honest = manifests.read(local_store, address)
    files = {"a.bin": honest.files["a.bin"].model_copy(update={"size": 3})}
    lying = honest.model_copy(update={"files": files, "content": manifests.content(files)})
    local_store.delete(path)
    local_store.write_bytes(path, lying.render())
    with pytest.raises(artifacts.ArtifactError, match="does not match its checksum"):
        transfer.pull(local_store, address, tmp_path / "copy")
    assert not list((tmp_path / "copy").rglob("manifest.json"))
    with pytest.raises(ValueError, match=r"\.partial"):
        checked("codes/a/b.partial")
