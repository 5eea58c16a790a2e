"""One dataset format per file: `read(sources, options)` yields `Record`s, always in the same order.

`sources` maps the names that a catalog entry gives its sources to local files or folders; `options` are the
reader's own settings.  `load("emoji")` imports `cmh.readers.emoji`.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Any, Protocol, cast

from cmh.vectors import Vectors


@dataclass(frozen=True)
class Record:
    """One image–text pair as its publisher has it.

    `group`: records of one group never come on different sides of a split.
    `traits`: what label rules look at, e.g. {"subgroups": ("food-fruit",), "tags": ("red", "sweet")}; labels
    that the publisher gives are the trait "labels".
    `image`: gives the encoded bytes; may raise OSError or ValueError, which rejects this record only.
    """

    id: str
    source: str
    group: str
    text: str
    media_type: str
    image: Callable[[], bytes] = field(repr=False)
    traits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class Reader(Protocol):
    """What a module of this package offers; or it is a `VectorReader`."""

    def read(self, sources: Mapping[str, Path], options: Mapping[str, Any]) -> Iterator[Record]: ...


class VectorReader(Protocol):
    """What a module offers whose datasets bring features in place of images and words."""

    def vectors(self, sources: Mapping[str, Path], options: Mapping[str, Any]) -> Vectors: ...


def available() -> list[str]:
    """Names of the readers.

    >>> available()
    ['coco', 'emoji', 'flickr8k', 'folder', 'iaprtc12', 'mirflickr', 'nuswide', 'wiki']
    """
    return sorted(module.name for module in iter_modules(__path__))


def load(name: str) -> Reader:
    """The reader of that name.  Raises: ValueError if there is none yet, or it brings features."""
    if brings_vectors(name):
        raise ValueError(f"reader {name!r} brings features, no images to decode")
    return cast(Reader, _module(name))


def brings_vectors(name: str) -> bool:
    """Whether the datasets of this reader are features: then `load_vectors` it.  Raises: ValueError."""
    return hasattr(_module(name), "vectors")


def load_vectors(name: str) -> VectorReader:
    """The reader of that name, which `brings_vectors`.  Raises: ValueError if there is none yet."""
    return cast(VectorReader, _module(name))


def _module(name: str) -> ModuleType:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name not in available():
        raise ValueError(f"reader {name!r} is not available yet; available: {', '.join(available())}")
    return import_module(f"{__name__}.{name}")
