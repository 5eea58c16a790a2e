"""Move artifacts between stores, remove them, and find what unfinished attempts left behind.

A transfer can be repeated until it succeeds: files that arrived whole are not sent again, every file is
checked against the manifest on its way, and the manifest is published last, so that the receiving store never
shows half an artifact.
"""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from infra import manifest as manifests
from infra import retention
from infra.artifacts import addresses, fetch, open_artifact
from infra.manifest import MANIFEST, ArtifactError, Manifest, Ref, checked_address
from infra.storage import Entry, Store
from infra.stores import open_store

OnFile = Callable[[str, int], None]
"""Called with the name and size of each file that is in place."""

GRACE = 24 * 3600.0
"""Seconds without a write after which an attempt counts as abandoned."""

QUIET = 600.0
"""Seconds without a write after which nobody counts as working on an artifact that is to be removed: short
enough to be waited for; a shard or an epoch that takes longer goes unnoticed."""


def pull(store: Store, address: str, folder: Path, on_file: OnFile | None = None) -> Ref:
    """Bring an artifact into the store in a local folder.  Nothing is written outside of it.

    Raises:
        FileNotFoundError: if there is no such artifact, ArtifactError if it is damaged, ValueError if its
            manifest names a path outside the artifact.
    """
    return push(store, open_store(str(folder)), address, on_file)


def push(source: Store, target: Store, address: str, on_file: OnFile | None = None) -> Ref:
    """Copy an artifact from one store to another; succeeds if it is there already with equal content.

    Raises:
        FileNotFoundError: if `source` has none, ArtifactError if it is damaged or `target` holds other
            content at this address.
    """
    manifest = open_artifact(source, address).manifest
    try:
        there = manifests.read(target, address)
    except FileNotFoundError:
        there = None
    if there is None or there.data == manifest.data:  # the same attempt: files damaged since are sent again
        _send(source, target, manifest, on_file)
        if not target.create_exclusive(f"{address}/{MANIFEST}", manifest.render()):
            there = manifests.read(target, address)
    if there is not None and there.content != manifest.content:
        raise ArtifactError(
            f"{target.url} holds other content at {address}, which is left as it is; to have yours there, "
            f"delete it first: CMH_STORE={target.url} cmh rm {address}"
        )
    return manifest.ref


def _send(source: Store, target: Store, manifest: Manifest, on_file: OnFile | None) -> None:
    """Make sure that every file is in place, durably."""

    def send(name: str) -> None:
        fetch(source, target, f"{manifest.prefix}/{name}", manifest.files[name])
        if on_file is not None:
            on_file(name, manifest.files[name].size)

    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(send, manifest.files):
            pass
    target.flush([f"{manifest.prefix}/{name}" for name in manifest.files])


def remove(store: Store, address: str, *, quiet: float = QUIET) -> int:
    """Delete an artifact, whole or damaged, and what attempts at it left; returns the bytes that it took.

    The manifest goes first, so that nobody finds half an artifact; a removal that was cut short is repeated.

    Raises:
        FileNotFoundError: if there is nothing at this address; ArtifactError if another attempt, or the
            checkpoints of a training, were written to in the last `quiet` seconds.
    """
    entries = store.entries(checked_address(address))
    if not entries:
        raise FileNotFoundError(f"{store.url} has nothing at {address}; `cmh ls` lists what it has")
    try:
        named = _named(store, address)
    except ArtifactError:  # damaged: any attempt may be going on
        named = ""
    idle = min((attempt.idle for attempt in _others(address, entries, named)), default=quiet)
    if idle < quiet:
        raise ArtifactError(
            f"a run wrote to {address} {idle:.0f} s ago and may be going on; stop it, and remove this "
            f"once nothing was written for {quiet / 60:.0f} minutes"
        )
    store.delete(f"{address}/{MANIFEST}")
    store.delete(address)
    return sum(entry.size for entry in entries.values())


@dataclass(frozen=True)
class Abandoned:
    """What is left of an attempt that no manifest names, or of a training; or a superseded artifact."""

    path: str  # folder in the store
    size: int  # bytes
    idle: float  # seconds since its last write
    why: str = "unfinished"


def gc(
    store: Store, *, grace: float = GRACE, keep_last: int | None = None, dry_run: bool = True
) -> list[Abandoned]:
    """Find the attempts that no manifest names and nobody wrote to for `grace` seconds.

    With `keep_last`, find also the artifacts that `infra.retention` lets go, if they are as old.  They are
    removed unless `dry_run`.

    An attempt whose finished parts are younger is kept: the next run takes them over.

    Raises:
        ArtifactError: at a damaged manifest or tag, because what it names is not known.
    """
    old = [] if keep_last is None else _superseded(store, keep_last, grace)
    abandoned = [
        attempt
        for address in addresses(store)
        for attempt in _others(address, store.entries(address), _named(store, address))
        if attempt.idle > grace
    ]
    if not dry_run:
        for attempt in abandoned:
            store.delete(attempt.path)
        for artifact in old:
            remove(store, artifact.path)
    return abandoned + old


def _superseded(store: Store, keep_last: int, grace: float) -> list[Abandoned]:
    removable = []
    for address in retention.superseded(store, keep_last):
        entries = store.entries(address)
        idle = time.time() - max(entry.modified for entry in entries.values())
        size = sum(entry.size for entry in entries.values())
        removable.append(Abandoned(address, size, idle, f"not of the last {keep_last}, no tag"))
    return [one for one in removable if one.idle > grace]


def _named(store: Store, address: str) -> str:
    """Return the attempt that the manifest names; "" if there is none."""
    try:
        return manifests.read(store, address).data
    except FileNotFoundError:
        return ""


def _others(address: str, entries: Mapping[str, Entry], named: str) -> list[Abandoned]:
    """Return all other folders at the address, whether abandoned or in use."""
    attempts: dict[str, list[Entry]] = {}
    newest: dict[str, float] = {}  # by nonce: parts finished long ago are in use while data is written
    for path, entry in entries.items():
        attempt, _, file = path.removeprefix(address + "/").partition("/")
        if file and attempt != named:
            attempts.setdefault(attempt, []).append(entry)
            newest[_nonce(attempt)] = max(newest.get(_nonce(attempt), 0.0), entry.modified)
    now = time.time()
    return [
        Abandoned(f"{address}/{attempt}", sum(file.size for file in files), now - newest[_nonce(attempt)])
        for attempt, files in attempts.items()
    ]


def _nonce(attempt: str) -> str:
    return attempt.rpartition("-")[2]
