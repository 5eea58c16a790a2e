"""Where artifacts come from, read from their manifests alone: from pixels to figures, and what differs.

A manifest names its inputs by content.  `read` knows the manifests of a whole store and finds the artifact
that has a content; of several with equal content, which are interchangeable, the first by address.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from infra import artifacts
from infra.manifest import ArtifactError, Manifest
from infra.storage import Store

_ABSENT = object()


class Difference(NamedTuple):
    """One thing in which two artifacts, or what they were made from, differ."""

    kind: str  # of the artifacts that differ in it
    what: str
    first: Any  # None: it has no such thing
    second: Any


@dataclass(frozen=True)
class Lineage:
    """The manifests of a store."""

    manifests: Mapping[str, Manifest]  # by address
    damaged: Mapping[str, ArtifactError]

    @cached_property
    def _by_content(self) -> dict[str, Manifest]:
        return {one.content: one for one in reversed([*self.manifests.values()])}

    def at(self, address: str) -> Manifest:
        """Return the manifest of an artifact.  Raises FileNotFoundError if there is none, ArtifactError."""
        if address in self.damaged:
            raise self.damaged[address]
        if address not in self.manifests:
            raise FileNotFoundError(f"no artifact {address}; `cmh ls` shows those there are")
        return self.manifests[address]

    def inputs(self, manifest: Manifest) -> dict[str, Manifest | None]:
        """Return what an artifact was made from by name; None where it is no longer in the store."""
        return {name: self._by_content.get(content) for name, content in manifest.inputs.items()}

    def chain(self, manifest: Manifest) -> list[Manifest]:
        """Return all that an artifact was made from, each after its own inputs, and itself last."""
        found: list[Manifest] = []
        seen: set[str] = set()  # manifests of others may name each other in a circle
        # Not by recursion: those of others may be a chain of thousands.
        waiting = [(manifest, False)]
        while waiting:
            one, inputs_are_there = waiting.pop()
            if inputs_are_there:
                found.append(one)
            elif one.ref.address not in seen:
                seen.add(one.ref.address)
                waiting.append((one, True))
                sources = reversed([*self.inputs(one).values()])
                waiting += [(source, False) for source in sources if source is not None]
        return found

    def differences(self, first: Manifest, second: Manifest) -> list[Difference]:
        """Return what differs between two artifacts and, through their inputs, where it began."""
        found: list[Difference] = []
        seen: set[tuple[str, str]] = set()
        waiting: list[tuple[Difference | None, Manifest | None, Manifest | None]] = [(None, first, second)]
        while waiting:
            above, a, b = waiting.pop()
            found += [] if above is None else [above]
            if a is None or b is None or a.ref == b.ref or (a.ref.address, b.ref.address) in seen:
                continue
            seen.add((a.ref.address, b.ref.address))
            found += _own(a, b)
            sources_a, sources_b = self.inputs(a), self.inputs(b)
            for name in sorted({*a.inputs, *b.inputs}, reverse=True):  # what is put last comes first
                if a.inputs.get(name) != b.inputs.get(name):
                    one, other = sources_a.get(name), sources_b.get(name)
                    said = Difference(a.kind, f"input {name}", _said(a, name, one), _said(b, name, other))
                    waiting.append((said, one, other))
        return found


def read(store: Store) -> Lineage:
    """Read the manifests of a store, many at a time; damaged ones are kept apart with what is wrong."""
    found = artifacts.manifests(store)
    return Lineage(
        {address: one for address, one in found.items() if isinstance(one, Manifest)},
        {address: one for address, one in found.items() if isinstance(one, ArtifactError)},
    )


def core_hours(manifest: Manifest) -> float | None:
    """Return cores times hours that the making took, as a batch system counts; None if it was not kept."""
    run = manifest.run
    kept = [number(run.get("seconds")), number(run.get("threads")), number(run.get("workers", 1))]
    if None in kept:
        return None
    return math.prod(one for one in kept if one is not None) / 3600


def number(value: Any) -> float | None:
    """Return what a manifest keeps as a number; None if it is none: manifests of others may hold anything.

    >>> number(12), number("1e999"), number(True), number([3])
    (12.0, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) and value >= 0 else None
    except OverflowError:  # an integer of a thousand digits
        return None


def _said(manifest: Manifest, name: str, source: Manifest | None) -> str | None:
    content = manifest.inputs.get(name)
    if content is None:
        return None
    return source.ref.address if source is not None else f"content {content[:12]}, not in this store"


def _own(a: Manifest, b: Manifest) -> Iterator[Difference]:
    """Yield what differs in two manifests themselves."""
    if a.kind != b.kind:
        yield Difference(a.kind, "kind", a.kind, b.kind)
    if a.name != b.name:
        yield Difference(a.kind, "name", a.name, b.name)
    if a.revision != b.revision:
        yield Difference(a.kind, "revision", a.revision, b.revision)
    flat_a, flat_b = dict(flat(a.config)), dict(flat(b.config))
    for key in sorted({*flat_a, *flat_b}):
        one, other = flat_a.get(key, _ABSENT), flat_b.get(key, _ABSENT)
        if one != other:
            yield Difference(
                a.kind, key, None if one is _ABSENT else one, None if other is _ABSENT else other
            )
    if a.content == b.content:
        yield Difference(a.kind, "content", "equal", "equal")


def flat(value: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested dicts by dotted names.

    >>> list(flat({"training": {"epochs": 15}, "bits": 64}))
    [('training.epochs', 15), ('bits', 64)]
    """
    if isinstance(value, dict) and value:
        for key, one in value.items():
            yield from flat(one, f"{above}.{key}" if above else str(key))
    else:
        yield above, value
