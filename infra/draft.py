"""An artifact being written: one attempt in a folder of its own, published by its manifest.

An attempt may be made of parts (shards).  A finished part is recorded with its checksums; the next attempt
at the same artifact, after a crash, takes over the parts that still match.
"""

import io
import json
import logging
import shutil
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter
from zarr.abc.store import Store as ZarrStore

from infra import manifest as manifests
from infra.manifest import MANIFEST, ArtifactError, File, Manifest, Ref, Target
from infra.storage import Store, checked

log = logging.getLogger(__name__)

_RECORD = TypeAdapter(dict[str, File])


class Draft:
    """Where to write.  Workers elsewhere use `store` and `path(rel)`, or the Zarr store they are given."""

    def __init__(self, store: Store, target: Target, run: dict[str, Any] | None = None) -> None:
        self.store = store
        self.target = target
        self.nonce = uuid.uuid4().hex[:16]
        self.prefix = f"{target.address}/data-{self.nonce}"
        self.run: dict[str, Any] = dict(run or {})
        self.size = 0  # bytes of all files, once it is published
        self._parts: dict[str, dict[str, File]] = {}
        self._abandoned: list[str] | None = None
        self._ref: Ref | None = None

    @property
    def ref(self) -> Ref:
        """The finished artifact; there is none before the `with` block has ended."""
        if self._ref is None:
            raise RuntimeError(
                f"{self.target.address} is not published before the block of artifacts.write ends"
            )
        return self._ref

    def path(self, rel: str) -> str:
        """Return the place of the file `rel` in the store."""
        return f"{self.prefix}/{checked(rel)}"

    def open(self, rel: str, mode: Literal["rb", "wb"] = "wb") -> AbstractContextManager[IO[bytes]]:
        """Write (or read again) a file; it appears when the block ends well."""
        return self.store.open(self.path(rel), mode)

    def write_bytes(self, rel: str, data: bytes) -> None:
        self.store.write_bytes(self.path(rel), data)

    def write_json(self, rel: str, value: Any) -> None:
        """Write one JSON value, keys sorted, readable."""
        manifests.canonical(value)  # refuses NaN and what is not JSON
        self.write_bytes(
            rel, (json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False) + "\n").encode()
        )

    def write_table(self, rel: str, table: pa.Table) -> None:
        """Write a Parquet file."""
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd")
        self.write_bytes(rel, buffer.getvalue())

    def zarr(self, rel: str) -> ZarrStore:
        """Return a writable Zarr store at `rel`, for this and other processes.

        One task writes whole shards.
        """
        return self.store.zarr(self.path(rel), read_only=False)

    def add_tree(self, folder: Path, rel: str = "") -> None:
        """Copy a local folder with all that is in it."""
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = file.relative_to(folder).as_posix()
            with file.open("rb") as source, self.open(f"{rel}/{name}" if rel else name) as target:
                shutil.copyfileobj(source, target)

    def part(self, name: str) -> bool:
        """Return whether this part is done.

        It is, by this attempt, or by an abandoned one whose files still match.
        """
        if name not in self._parts:
            for nonce in self._attempts():
                if self._adopt(name, nonce):
                    break
        return name in self._parts

    def finish_part(self, name: str, files: list[str]) -> None:
        """Record that the part is done and consists of `files`, which must not be written again."""
        try:
            found = {rel: File(**self.store.digest(self.path(rel))._asdict()) for rel in files}
        except FileNotFoundError as error:
            raise ValueError(
                f"part {name!r} names a file that was not written: {error}; Zarr leaves out chunks "
                "of nothing but fill values unless the array has config={'write_empty_chunks': True}"
            ) from error
        self._record(name, found)

    def publish(self) -> Ref:
        """Checksum every file and write the manifest; called once, by `artifacts.write`."""
        files = self._files()
        self.size = sum(file.size for file in files.values())
        self.store.flush([self.path(rel) for rel in files])
        ours = Manifest(
            kind=self.target.kind,
            name=self.target.name,
            identity=self.target.identity,
            content=manifests.content(files),
            config=json.loads(manifests.canonical(self.target.config)),
            inputs=dict(self.target.inputs),
            revision=self.target.revision,
            data=f"data-{self.nonce}",
            files=files,
            run=json.loads(manifests.canonical(self.run)),
        )
        if not self.store.create_exclusive(f"{self.target.address}/{MANIFEST}", ours.render()):
            self._concede(ours)
        self.store.delete(f"{self.target.address}/parts-{self.nonce}")
        self._ref = ours.ref
        return ours.ref

    def _concede(self, ours: Manifest) -> None:
        """Agree with an attempt that published first, or fail."""
        theirs = manifests.read(self.store, self.target.address)
        if theirs.data == ours.data:
            return  # it was us: the answer to our first request was lost and the request repeated
        if theirs.content != ours.content:
            different = _difference(ours.files, theirs.files)
            raise ArtifactError(
                f"{self.target.address} was already made with other content: {different} differ; the step is "
                f"not deterministic or its revision ({ours.revision}) was not raised. Compare {theirs.data} "
                f"(published) with {ours.data} in {self.store.url}"
            )
        self.store.delete(self.prefix)

    def _files(self) -> dict[str, File]:
        sizes = self.store.sizes(self.prefix)
        names = [path.removeprefix(self.prefix + "/") for path in sizes]
        if not names:
            raise ArtifactError(f"nothing was written to {self.target.address}")
        known = {rel: file for part in self._parts.values() for rel, file in part.items()}
        for rel, file in known.items():
            if sizes.get(self.path(rel)) != file.size:
                raise ArtifactError(f"{self.path(rel)} was changed after its part was finished")
        unknown = [rel for rel in names if rel not in known]
        with ThreadPoolExecutor(4) as pool:
            digests = pool.map(self.store.digest, [self.path(rel) for rel in unknown])
            known |= {rel: File(**digest._asdict()) for rel, digest in zip(unknown, digests, strict=True)}
        return dict(sorted(known.items()))

    def _attempts(self) -> list[str]:
        """Return nonces of the other attempts at this artifact that have finished parts; asked once."""
        if self._abandoned is None:
            folders = self.store.folders(self.target.address)
            self._abandoned = [name.removeprefix("parts-") for name in folders if name.startswith("parts-")]
        return [nonce for nonce in self._abandoned if nonce != self.nonce]

    def _adopt(self, name: str, nonce: str) -> bool:
        """Take over a part of another attempt, if it has it and every file is as it was recorded."""
        try:
            record = self.store.read_bytes(f"{self.target.address}/parts-{nonce}/{checked(name)}.json")
            files = _RECORD.validate_json(record)
            for rel, file in files.items():
                source = f"{self.target.address}/data-{nonce}/{checked(rel)}"
                if self.store.digest(source) != (file.size, file.sha256):
                    raise ValueError(f"{source} does not match its checksum")
        except FileNotFoundError:
            return False
        except ValueError as error:
            log.warning("part %s of attempt %s is not taken over: %s", name, nonce, error)
            return False
        for rel in files:
            self.store.copy(f"{self.target.address}/data-{nonce}/{rel}", self.path(rel))
        self._record(name, files)
        return True

    def _record(self, name: str, files: dict[str, File]) -> None:
        path = f"{self.target.address}/parts-{self.nonce}/{checked(name)}.json"
        self.store.flush([self.path(rel) for rel in files])
        self.store.write_bytes(path, _RECORD.dump_json(files))
        self._parts[name] = files


def _difference(ours: Mapping[str, File], theirs: Mapping[str, File]) -> str:
    names = sorted(name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name))
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
