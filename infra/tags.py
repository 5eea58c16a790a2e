"""Names that move: `model/scahn-emoji@production` means the artifact that was last given this tag.

A tag is a small file of the store, `tags/{kind}/{name}/{tag}.json`, with the address and the content that it
means.  It is replaced whole, so a reader sees the old or the new one.  A tagged artifact is never removed by
`cmh gc --keep-last`.
"""

import json
import re
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from infra import artifacts
from infra.manifest import ADDRESS, ArtifactError, Sha256
from infra.storage import Store

TAGS = "tags"
_TAG = re.compile(r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)@([A-Za-z0-9][\w.-]{0,99})", re.ASCII)


class Tag(BaseModel):
    """What a tag means."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    address: Annotated[str, StringConstraints(pattern=f"^{ADDRESS.pattern}$")]
    content: Sha256


def put(store: Store, tag: str, address: str) -> Tag:
    """Give an artifact a tag, kind/name@tag, and take it from the one that had it.

    Raises:
        ValueError: the tag is malformed, or of another kind or name than the artifact.
        FileNotFoundError: there is no such artifact; ArtifactError: it is damaged.
    """
    artifact_name, _ = _parts(tag)
    ref = artifacts.open_artifact(store, address).ref
    if f"{ref.kind}/{ref.name}" != artifact_name:
        raise ValueError(f"{address} is a {ref.kind}/{ref.name}; its tags begin with {ref.kind}/{ref.name}@")
    meant = Tag(address=ref.address, content=ref.content)
    store.write_bytes(_path(tag), (meant.model_dump_json() + "\n").encode())
    return meant


def delete(store: Store, tag: str) -> None:
    """Take a tag away; the artifact stays.  Raises FileNotFoundError if there is no such tag."""
    _read(store, tag)
    store.delete(_path(tag))


def every(store: Store) -> dict[str, Tag]:
    """Return all tags, by kind/name@tag.

    Raises:
        ArtifactError: one cannot be read, so that what it keeps is not known; or a file is no tag.
    """
    return {tag: _read(store, tag) for tag in (_tag_at(store, path) for path in store.entries(TAGS))}


def _tag_at(store: Store, path: str) -> str:
    tag = "@".join(path.removeprefix(f"{TAGS}/").removesuffix(".json").rsplit("/", 1))
    if _TAG.fullmatch(tag) is None or _path(tag) != path:
        raise ArtifactError(f"{store.url}/{path} is no tag; move it out of the store")
    return tag


def resolve(store: Store, which: str) -> str:
    """Return the address that is meant by an address, or by a tag, kind/name@tag.

    Raises:
        FileNotFoundError: there is no such tag; ArtifactError: it is damaged, or means an artifact that was
            made again with other content.
    """
    if "@" not in which:
        return which
    meant = _read(store, which)
    there = artifacts.open_artifact(store, meant.address).ref
    if there.content != meant.content:
        raise ArtifactError(
            f"{which} means content {meant.content[:12]} of {meant.address}, which was made again since with "
            f"content {there.content[:12]}; look at it, then tag it again: cmh tag {which} {there.address}"
        )
    return meant.address


def _read(store: Store, tag: str) -> Tag:
    artifact_name, _ = _parts(tag)
    try:
        data = store.read_bytes(_path(tag))
    except FileNotFoundError:
        known = [name.removesuffix(".json") for name in _names(store, artifact_name)]
        known_tags = (
            f"{artifact_name} has the tags {', '.join(known)}" if known else f"{artifact_name} has no tags"
        )
        raise FileNotFoundError(f"no tag {tag} in {store.url}; {known_tags}; `cmh tag` lists all") from None
    try:
        return Tag.model_validate(json.loads(data))
    except (ValidationError, ValueError) as error:
        raise ArtifactError(f"the tag {tag} in {store.url} is damaged; give it again with cmh tag") from error


def _names(store: Store, artifact_name: str) -> list[str]:
    return [path.rsplit("/", 1)[1] for path in store.entries(f"{TAGS}/{artifact_name}")]


def _parts(tag: str) -> tuple[str, str]:
    match = _TAG.fullmatch(tag)
    if match is None:
        raise ValueError(f"{tag!r} is not of the form kind/name@tag, as in model/scahn-emoji@production")
    return match[1], match[2]


def _path(tag: str) -> str:
    artifact_name, name = _parts(tag)
    return f"{TAGS}/{artifact_name}/{name}.json"
