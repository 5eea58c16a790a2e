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
from typing import Any, Protocol, cast


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
    """What a module of this package offers."""

    def read(self, sources: Mapping[str, Path], options: Mapping[str, Any]) -> Iterator[Record]: ...


def available() -> list[str]:
    """Names of the readers.

    >>> available()
    ['emoji', 'folder']
    """
    return sorted(module.name for module in iter_modules(__path__))


def load(name: str) -> Reader:
    """The reader of that name.  Raises: ValueError if there is none yet."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name not in available():
        raise ValueError(f"reader {name!r} is not available yet; available: {', '.join(available())}")
    return cast(Reader, import_module(f"{__name__}.{name}"))
