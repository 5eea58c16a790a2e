"""One dataset format per file: `read(sources, options)` yields `Record`s, always in the same order.

`sources` maps the names that a catalog entry gives its sources to local files or folders; `options` are the
reader's own settings.  `load("emoji")` imports `cmh.data.readers.emoji`.
"""

import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Any, Protocol, cast

from cmh.data.records import FeatureTable, Record


class Reader(Protocol):
    """What a module of this package offers; unless it is a `FeatureReader`."""

    def read(self, sources: Mapping[str, Path], options: Mapping[str, Any]) -> Iterator[Record]: ...

    # A reader may also have REVISION, an int to raise when the same sources give other records, and
    # remarks(sources, options) -> list[str]: what a person should know about the sources, and
    # columns(sources, options) -> dict[str, str | None]: what each column of a table is read as.


class FeatureReader(Protocol):
    """What a module offers whose datasets bring features in place of images and words."""

    def vectors(self, sources: Mapping[str, Path], options: Mapping[str, Any]) -> FeatureTable: ...


def available() -> list[str]:
    """Return the names of the readers.

    >>> {"emoji", "folder"} <= set(available())
    True
    """
    return sorted(module.name for module in iter_modules(__path__))


def load(name: str) -> Reader:
    """Return the reader of that name.

    Raises:
        ValueError: if there is none yet, or it brings features.
    """
    if brings_features(name):
        raise ValueError(f"reader {name!r} brings features, no images to decode")
    return cast(Reader, _module(name))


def brings_features(name: str) -> bool:
    """Return whether the datasets of this reader are features; then `load_features` it.

    Raises:
        ValueError: if there is no such reader.
    """
    return hasattr(_module(name), "vectors")


def check(name: str) -> None:
    """Refuse a reader whose images need a package that is not installed.

    Raises:
        ValueError: there is no such reader, or what it needs is missing; the message says how to install it.
    """
    needs = getattr(_module(name), "check_installed", None)
    if needs is not None:
        needs()


def load_features(name: str) -> FeatureReader:
    """Return the reader of that name, which `brings_features`.

    Raises:
        ValueError: if there is none yet.
    """
    return cast(FeatureReader, _module(name))


def _module(name: str) -> ModuleType:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name not in available():
        raise ValueError(f"there is no reader {name!r}; available: {', '.join(available())}")
    return import_module(f"{__name__}.{name}")


def revision(name: str) -> int:
    """Return the reader's REVISION, 1 if it has none."""
    return int(getattr(_module(name), "REVISION", 1))


def remarks(name: str, sources: Mapping[str, Path], options: Mapping[str, Any]) -> list[str]:
    """Return what a person should know about the sources, as the reader says it; often nothing."""
    remark = getattr(_module(name), "remarks", None)
    return [] if remark is None else list(remark(sources, options))


def columns(name: str, sources: Mapping[str, Path], options: Mapping[str, Any]) -> dict[str, str | None]:
    """Return what each column of the data's table is read as, None: not read; empty where it has no table."""
    understood = getattr(_module(name), "columns", None)
    return {} if understood is None else dict(understood(sources, options))
