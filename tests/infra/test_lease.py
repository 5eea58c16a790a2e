"""Leases on a real store: one holder at a time; those of dead or silent processes are taken over."""

import json
import os
import subprocess
import sys
import threading
import time

import pytest

from infra import lease
from infra.storage import StorageError, Store

ADDRESS = "model/a/0123456789abcdef"
PATH = f"{ADDRESS}/lease.json"


def never() -> bool:
    return False


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT", 0.05)
    monkeypatch.setattr(lease, "LOOK", 0.02)
    monkeypatch.setattr(lease, "PATIENCE", 0.6)


def test_one_at_a_time(local_store: Store) -> None:
    """Six threads that each want it: never two inside, all get in, and nothing is left behind."""
    inside, most, entered = 0, 0, 0
    guard = threading.Lock()

    def work() -> None:
        nonlocal inside, most, entered
        with lease.hold(local_store, ADDRESS, never):
            with guard:
                inside, entered = inside + 1, entered + 1
                most = max(most, inside)
            time.sleep(0.1)
            with guard:
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, entered) == (1, 6)
    assert not local_store.exists(PATH)


def test_who_waits_ends_when_the_artifact_is_made(local_store: Store) -> None:
    """Although the other still holds the lease, which stays."""
    with lease.hold(local_store, ADDRESS, never):
        began = time.monotonic()
        with lease.hold(local_store, ADDRESS, lambda: time.monotonic() - began > 0.3):
            assert time.monotonic() - began >= 0.3
        assert local_store.exists(PATH)
    assert not local_store.exists(PATH)


def test_the_lease_of_a_dead_process_is_free_at_once(
    local_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process of this machine that was killed, and a number that another process has now."""
    monkeypatch.setattr(lease, "PATIENCE", 60.0)
    program = (
        "import os, sys; from infra import lease; from infra.stores import open_store\n"
        f"with lease.hold(open_store(sys.argv[1]), {ADDRESS!r}, bool): os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program, local_store.url], check=False)
    left = json.loads(local_store.read_bytes(PATH))
    for theirs in (left, {**left, "pid": os.getpid()}):
        local_store.write_bytes(PATH, json.dumps(theirs).encode())
        began = time.monotonic()
        with lease.hold(local_store, ADDRESS, never):
            assert time.monotonic() - began < 2
    for damaged in (b"", b"{", b"[]"):
        local_store.write_bytes(PATH, damaged)
        with lease.hold(local_store, ADDRESS, never):
            pass


def test_a_silent_holder_elsewhere_loses_it_and_a_live_one_does_not(local_store: Store) -> None:
    """By the clock of who waits: the other's clock does not count."""
    theirs = {"host": "other/1", "pid": 1, "started": 9e12, "thread": 1, "beat": 0}
    local_store.write_bytes(PATH, json.dumps(theirs).encode())
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(0.1):
            theirs["beat"] += 1
            local_store.write_bytes(PATH, json.dumps(theirs).encode())

    thread = threading.Thread(target=beat)
    thread.start()
    threading.Timer(1.5, ended.set).start()
    began = time.monotonic()
    with lease.hold(local_store, ADDRESS, never):
        assert time.monotonic() - began > 1.5 + 0.4
    thread.join()


def test_a_lost_answer_is_no_other_holder(local_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """S3 repeats a request whose answer was lost, and is told that there is a lease: its own."""
    create = type(local_store).create_exclusive

    def lossy(self: Store, path: str, data: bytes) -> bool:
        create(self, path, data)
        return False

    monkeypatch.setattr(type(local_store), "create_exclusive", lossy)
    began = time.monotonic()
    with lease.hold(local_store, ADDRESS, never):
        assert time.monotonic() - began < 0.4
        assert local_store.exists(PATH)
    assert not local_store.exists(PATH)


def test_a_holder_that_slept_leaves_the_lease_to_its_successor(local_store: Store) -> None:
    """As of a laptop that was closed: it neither renews nor deletes what is another's by now."""
    theirs = json.dumps({"host": "other/1", "pid": 1, "started": 1.0, "thread": 1, "beat": 7}).encode()
    with lease.hold(local_store, ADDRESS, never):
        local_store.write_bytes(PATH, theirs)
        time.sleep(0.3)
        assert local_store.read_bytes(PATH) == theirs
    assert local_store.read_bytes(PATH) == theirs


def test_an_outage_at_the_end_changes_nothing(local_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was made is made, and what failed says why; the lease runs out."""

    def away(*_: object) -> bytes:
        raise StorageError("the store is away")

    with lease.hold(local_store, ADDRESS, never):
        monkeypatch.setattr(type(local_store), "read_bytes", away)
    with pytest.raises(KeyError, match="own"), lease.hold(local_store, f"{ADDRESS[:-1]}0", never):
        raise KeyError("own")
    monkeypatch.undo()
    assert local_store.exists(PATH)
