"""Artifacts: immutable, addressed by what they were made from, visible only when whole.

    target = Target("codes", "scahn-emoji", config={...}, inputs={"model": model.content}, revision=1)
    ref = artifacts.lookup(store, target)
    if ref is None:
        with artifacts.write(store, target) as draft:
            draft.write_json("codes.json", ...)
        ref = draft.ref
    artifacts.open_artifact(store, ref).read_json("codes.json")

`infra.manifest` says what identity and content are and where the files lie; `infra.draft` how one is written;
`infra.transfer` moves them between stores and cleans up.
"""

import hashlib
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
from zarr.abc.store import Store as ZarrStore

from infra import manifest as manifest_files
from infra.draft import Draft as Draft
from infra.manifest import ADDRESS, MANIFEST, REMEDY, File, Manifest, checked_address
from infra.manifest import ArtifactError as ArtifactError
from infra.manifest import Ref as Ref
from infra.manifest import Target as Target
from infra.storage import Store, checked
from infra.stores import home, open_store


def lookup(store: Store, target: Target) -> Ref | None:
    """Return the artifact that `target` asks for; None only if the store answered that it has none.

    Raises:
        StorageError: if the store cannot be asked, ArtifactError if what is there is damaged.
    """
    try:
        manifest = manifest_files.read(store, target.address)
    except FileNotFoundError:
        return None
    if manifest.identity != target.identity:
        raise ArtifactError(
            f"{target.address} holds an artifact of another identity, {manifest.identity}; {REMEDY}"
        )
    return manifest.ref


@contextmanager
def write(store: Store, target: Target, *, run: dict[str, Any] | None = None) -> Iterator[Draft]:
    """Write an artifact: it exists when the block ends well, and not before.

    `run` (and `draft.run`) holds times and hardware; it is kept in the manifest, outside identity and
    content.  After an error the finished parts stay for the next attempt, the rest for `transfer.gc`.

    Raises:
        ArtifactError: if another process published the same target with other content meanwhile.
    """
    draft = Draft(store, target, run)
    yield draft
    draft.publish()


@dataclass(frozen=True)
class Reading:
    """A published artifact.  Picklable.  Every file read whole is checked against the manifest."""

    store: Store
    manifest: Manifest

    @property
    def ref(self) -> Ref:
        return self.manifest.ref

    @property
    def files(self) -> dict[str, File]:
        """The files by path below the artifact."""
        return self.manifest.files

    def path(self, rel: str) -> str:
        """Return the place of the file or folder `rel` in the store."""
        return f"{self.manifest.prefix}/{checked(rel)}"

    def read_bytes(self, rel: str) -> bytes:
        """Return the file, whole and verified."""
        file = self._listed(rel)
        return _verified(self.store, self.path(rel), file)

    def open(self, rel: str) -> IO[bytes]:
        """Return the file, verified, as a stream in memory."""
        return io.BytesIO(self.read_bytes(rel))

    def read_json(self, rel: str) -> Any:
        return json.loads(self.read_bytes(rel))

    def read_table(self, rel: str) -> pa.Table:
        """Return a Parquet file."""
        return pq.read_table(pa.BufferReader(self.read_bytes(rel)))

    def zarr(self, rel: str) -> ZarrStore:
        """Return a read-only Zarr store.

        No file may be missing or cut short, as Zarr would read zeros in its place, and the shapes and types
        of its arrays are verified.  What is in the chunks is checked by Zarr as it reads them, if the arrays
        were written with crc32c, and by `verify`.
        """
        below = self.path(rel)
        listed = {
            self.path(name): file.size for name, file in self.files.items() if name.startswith(rel + "/")
        }
        if not listed:
            raise ArtifactError(
                f"{self.ref.address} has no Zarr group {rel!r}; it has {', '.join(self.files)}"
            )
        sizes = self.store.sizes(below)
        if damaged := [path for path in listed if sizes.get(path) != listed[path]]:
            raise ArtifactError(f"{self.store.url}/{damaged[0]} is missing or cut short; {REMEDY}")
        for name in self.files:  # shapes and types: with others, whole chunks would be read as other data
            if name.startswith(rel + "/") and name.endswith("/zarr.json"):
                self.read_bytes(name)
        return self.store.zarr(below)

    def local(self, rel: str | None = None) -> Path:
        """Return a verified file, or the folder of all files, on this machine; fetched if it is elsewhere."""
        store = self.store
        if store.local_path("") is None:
            store = open_store(str(home() / "cache"))
        for name in [rel] if rel is not None else self.files:
            fetch(self.store, store, self.path(name), self._listed(name))
        place = store.local_path(self.path(rel) if rel is not None else self.manifest.prefix)
        assert place is not None
        return place

    def _listed(self, rel: str) -> File:
        if rel not in self.files:
            raise ArtifactError(f"{self.ref.address} has no file {rel!r}; it has {', '.join(self.files)}")
        return self.files[rel]


def open_artifact(store: Store, which: Ref | str) -> Reading:
    """Read the artifact at an address, or the very one that a reference means.

    Raises:
        FileNotFoundError: if there is none, ArtifactError if it is damaged or has other content.
    """
    address = which if isinstance(which, str) else which.address
    try:
        manifest = manifest_files.read(store, address)
    except FileNotFoundError as error:
        raise FileNotFoundError(_none_there(store, address)) from error
    if isinstance(which, Ref) and manifest.ref != which:
        raise ArtifactError(
            f"{address} in {store.url} has content {manifest.content}, not {which.content}: it was made "
            "again meanwhile; run again"
        )
    return Reading(store, manifest)


@dataclass(frozen=True)
class Problem:
    """What is wrong with one file of an artifact."""

    path: str  # in the store
    what: str


def verify(store: Store, which: Ref | str) -> list[Problem]:
    """Read every file of the artifact and say what does not match; nothing if all does.

    Raises:
        FileNotFoundError: if there is no manifest, StorageError if the store cannot be asked.
    """
    address = which if isinstance(which, str) else which.address
    try:
        manifest = manifest_files.read(store, address)
    except FileNotFoundError as error:
        raise FileNotFoundError(_none_there(store, address)) from error
    except ArtifactError as error:
        return [Problem(f"{checked_address(address)}/{MANIFEST}", str(error))]
    sizes = store.sizes(manifest.prefix)
    problems = []
    for name, file in manifest.files.items():
        path = f"{manifest.prefix}/{name}"
        if path not in sizes:
            problems.append(Problem(path, "is missing"))
        elif sizes[path] != file.size:
            problems.append(Problem(path, f"has {sizes[path]} bytes instead of {file.size}"))
        elif store.digest(path).sha256 != file.sha256:
            problems.append(Problem(path, "does not match its checksum"))
    listed = {f"{manifest.prefix}/{name}" for name in manifest.files}
    return problems + [Problem(path, "is not in the manifest") for path in sizes if path not in listed]


def list_artifacts(store: Store, kind: str | None = None) -> list[Manifest]:
    """Return the manifests of all published artifacts, by address.  Raises ArtifactError at a damaged one."""
    every = manifests(store, kind).values()
    for one in every:
        if isinstance(one, ArtifactError):
            raise one
    return [one for one in every if isinstance(one, Manifest)]


def manifests(store: Store, kind: str | None = None) -> dict[str, Manifest | ArtifactError]:
    """Return the manifest of each published artifact by address, or what is wrong with it."""
    manifests_of: dict[str, Manifest | ArtifactError] = {}
    for address, data in _rendered(store, kind).items():
        try:
            manifests_of[address] = manifest_files.parse_at(store, address, data)
        except ArtifactError as error:
            manifests_of[address] = error
    return manifests_of


def published(store: Store, kind: str | None = None) -> list[str]:
    """Return every address that holds a whole artifact, or a damaged one.

    Unfinished attempts are left out.
    """
    return list(_rendered(store, kind))


def _rendered(store: Store, kind: str | None) -> dict[str, bytes]:
    paths = {f"{address}/{MANIFEST}": address for address in addresses(store, kind)}
    return {paths[path]: data for path, data in store.read_many(list(paths)).items()}


def addresses(store: Store, kind: str | None = None) -> list[str]:
    """Return every address at which something was published or begun.

    Folders of others in the store are left out.
    """
    addresses = [
        f"{one}/{name}/{identity}"
        for one in ([kind] if kind else store.folders(""))
        for name in store.folders(one)
        for identity in store.folders(f"{one}/{name}")
    ]
    return [address for address in addresses if ADDRESS.fullmatch(address)]


def fetch(source: Store, target: Store, path: str, file: File) -> bool:
    """Make sure that `target` holds the file, whole and verified; False if it did already."""
    try:
        if target.digest(path) == (file.size, file.sha256):
            return False
    except FileNotFoundError:
        pass
    if source.url == target.url:
        raise _mismatch(source, path)
    target.write_bytes(path, _verified(source, path, file))
    return True


def _verified(store: Store, path: str, file: File) -> bytes:
    """Return the contents of a file that are as the manifest says; no more is read than it says."""
    data = store.read_bytes(path, file.size + 1)
    if len(data) != file.size or hashlib.sha256(data).hexdigest() != file.sha256:
        raise _mismatch(store, path)
    return data


def _none_there(store: Store, address: str) -> str:
    return f"no artifact {address} in {store.url}; cmh ls shows those there are"


def _mismatch(store: Store, path: str) -> ArtifactError:
    return ArtifactError(f"{store.url}/{path} is missing or does not match its checksum; {REMEDY}")


def newest(store: Store, kind: str) -> str:
    """Return the address of the artifact of a kind that was written last.

    Raises:
        ValueError: there is none.
    """
    written = {
        path.removesuffix("/manifest.json"): entry.modified
        for path, entry in store.entries(kind).items()
        if path.endswith("/manifest.json")
    }
    if not written:
        raise ValueError(
            f"there are no artifacts of kind {kind} in {store.url} yet; `cmh run` or `cmh demo` makes some"
        )
    return max(written, key=lambda address: written[address])
