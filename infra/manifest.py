"""What an artifact is: the target that names it, the manifest that proves it, the reference passed on.

identity = SHA-256 over the canonical JSON of (kind, config, inputs, revision): what was asked for.  The name
is a label and not part of it, nor are hardware, paths and times.
content  = SHA-256 over the canonical JSON of {file: SHA-256}, `logs/` left out: what came out.  It is what
the inputs of the next artifact hold, so that an unchanged result recomputes nothing downstream.

    {kind}/{name}/{identity[:16]}/manifest.json     written last, once
    {kind}/{name}/{identity[:16]}/data-{nonce}/     the files, as one attempt wrote them
    {kind}/{name}/{identity[:16]}/parts-{nonce}/    which parts of an unfinished attempt are whole

A manifest carries a checksum of itself and is written in one form only, so that no bit of it can change
unseen.  It is not signed: it proves that nothing was damaged, not who wrote it.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from infra.storage import Store, checked

MANIFEST = "manifest.json"
LOGS = "logs/"
"""Files below it are checksummed, but are not part of the content: times, hardware, TensorBoard."""

REMEDY = "delete it (`cmh rm`, with its address), then pull or compute it again"

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
ADDRESS = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*/[0-9a-f]{16}", re.ASCII)


class ArtifactError(ValueError):
    """An artifact is damaged, or is not the one that was asked for."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Ref(_Strict):
    """What tasks pass on: where an artifact is and what is in it.  JSON-able."""

    kind: Name
    name: Name
    identity: Sha256
    content: Sha256

    @property
    def address(self) -> str:
        """The artifact's folder in the store."""
        return f"{self.kind}/{self.name}/{self.identity[:16]}"


@dataclass(frozen=True)
class Target:
    """An artifact to be made: everything that decides its content, and a name for people.

    `config` holds JSON values (1 and 1.0 are different); `inputs` the `content` of each artifact it is made
    from; `revision` is raised when the code that makes it changes what comes out.
    """

    kind: str
    name: str
    config: Mapping[str, Any]
    inputs: Mapping[str, str] = field(default_factory=dict)
    revision: int = 1

    @cached_property
    def identity(self) -> str:
        asked = {"kind": self.kind, "config": self.config, "inputs": self.inputs, "revision": self.revision}
        return hashlib.sha256(canonical(asked)).hexdigest()

    @property
    def address(self) -> str:
        return checked_address(f"{self.kind}/{self.name}/{self.identity[:16]}")


class File(_Strict):
    """What is known of one file."""

    size: Annotated[int, Field(ge=0)]
    sha256: Sha256


class Manifest(_Strict):
    """`manifest.json`."""

    format: Literal[1] = 1
    kind: Name
    name: Name
    identity: Sha256
    content: Sha256
    config: dict[str, Any]
    inputs: dict[str, Sha256]
    revision: int
    data: Annotated[str, StringConstraints(pattern=r"^data-[0-9a-f]+$")]
    files: Annotated[dict[str, File], Field(min_length=1)]
    run: dict[str, Any]  # times, hardware: outside identity and content

    @property
    def ref(self) -> Ref:
        return Ref(kind=self.kind, name=self.name, identity=self.identity, content=self.content)

    @property
    def prefix(self) -> str:
        """Where in the store the files are."""
        return f"{self.ref.address}/{self.data}"

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.size for file in self.files.values())

    def render(self) -> bytes:
        """Return the one form in which this manifest is written."""
        body = self.model_dump()
        body["checksum"] = hashlib.sha256(canonical(body)).hexdigest()
        return (json.dumps(body, sort_keys=True, indent=1, ensure_ascii=False) + "\n").encode()

    @classmethod
    def parse(cls, data: bytes, where: str) -> Self:
        """Read what `render` wrote.  Raises ArtifactError naming `where` and what is wrong with it."""
        try:
            body = json.loads(data)
            if not isinstance(body, dict) or not body.pop("checksum", None):
                raise ValueError("it has no checksum")
            manifest = cls.model_validate(body)
            if manifest.render() != data:
                raise ValueError("it does not match its own checksum")
            manifest._check()
        except (ValueError, RecursionError) as error:  # pydantic's is a ValueError
            if isinstance(error, ValidationError):
                first = error.errors()[0]
                reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
            else:
                reason = str(error)
            raise ArtifactError(f"manifest {where} is damaged: {reason[:300]}; {REMEDY}") from error
        return manifest

    def _check(self) -> None:
        for name in self.files:
            checked(name)
        target = Target(self.kind, self.name, self.config, self.inputs, self.revision)
        if target.identity != self.identity:
            raise ValueError("its identity is not that of its config, inputs and revision")
        if content(self.files) != self.content:
            raise ValueError("its content is not that of its files")


def canonical(value: Any) -> bytes:
    """Return the JSON of `value` in one form: keys sorted, no spaces, no NaN, UTF-8.

    >>> canonical({"b": 1, "a": (2.0, None)})
    b'{"a":[2.0,null],"b":1}'
    """
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"not plain JSON: {error}; give strings, numbers, lists and dicts only") from error
    return text.encode()


def content(files: Mapping[str, File]) -> str:
    """Return SHA-256 over the names and SHA-256s of the files, logs left out."""
    chosen = {name: file.sha256 for name, file in files.items() if not name.startswith(LOGS)}
    return hashlib.sha256(canonical(chosen)).hexdigest()


def checked_address(address: str) -> str:
    """Return `address` itself if it has the form kind/name/identity."""
    if not ADDRESS.fullmatch(address):
        raise ValueError(
            f"{address!r} is not of the form kind/name/16 hex digits, as `cmh ls` prints addresses, and no "
            "tag, kind/name@tag; a collection is named by its folder"
        )
    return address


def read(store: Store, address: str) -> Manifest:
    """Return the manifest at `address`.

    Raises:
        FileNotFoundError: if there is none, ArtifactError if it is damaged, StorageError if the store cannot
            be asked.
    """
    path = f"{checked_address(address)}/{MANIFEST}"
    return parse_at(store, address, store.read_bytes(path))


def parse_at(store: Store, address: str, data: bytes) -> Manifest:
    """Return the manifest that was read at `address`.  Raises ArtifactError if it is damaged."""
    path = f"{address}/{MANIFEST}"
    manifest = Manifest.parse(data, f"{store.url}/{path}")
    if manifest.ref.address != address:
        raise ArtifactError(f"manifest {store.url}/{path} belongs to {manifest.ref.address}; {REMEDY}")
    return manifest
