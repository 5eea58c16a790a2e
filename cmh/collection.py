"""A collection: a searchable folder of the user's own images or texts, encoded by a trained model.

A service opens one with `open_collection` and asks the engine (`cmh.engine`); `cmh index` makes it
(`flows.index`), and `cmh.collection_files` knows its files, which are verified as it opens.
An engine answers from the collection as it was when it was opened, whatever is changed meanwhile.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from cmh.codes.embeddings import Embeddings
from cmh.codes.search import Index
from cmh.collection_files import changes, manifest, uploads
from cmh.collection_files.manifest import Contents
from cmh.collection_files.parts import read_embeddings, read_texts
from cmh.data import columns, shard_images
from cmh.engine import Engine
from cmh.onnx import exported

Opened = TypeVar("Opened")


def open_collection(folder: Path, *, threads: int = 1, cache: Path | None = None) -> Engine:
    """Open a collection for search.

    Args:
        folder: the collection.
        threads: CPU threads for the network that encodes a query.
        cache: a folder of the user's own that keeps what ONNX Runtime reads of the model, so that the next
            search starts without torch; None: nothing is kept.

    Raises:
        ValueError: if the folder holds no collection, or an empty or damaged one.
    """
    return _snapshot(folder, lambda contents: _engine(folder, contents, threads, cache))


def all_codes(folder: Path) -> Index:
    """Return all codes of a collection, with the items' names as ids.

    Raises:
        ValueError: if the folder holds no collection, or an empty or damaged one.
    """

    def joined(contents: Contents) -> Index:
        parts = changes.read_parts(folder, contents)
        codes_NP = np.concatenate([part.codes() for part in parts])
        return Index(codes_NP, parts[0].bits, np.concatenate([part.ids for part in parts]))

    return _snapshot(folder, joined)


def _engine(folder: Path, contents: Contents, threads: int, cache: Path | None) -> Engine:
    model = exported.load(folder / "model", threads=threads, cache=cache)
    parts = changes.read_parts(folder, contents)
    names = pa.chunked_array([pa.array(part.ids.tolist(), pa.string()) for part in parts])
    texts = _texts(folder, contents, names)
    own = changes.read_columns(folder, contents)
    table = None if own is None else columns.align(own, names)
    said = [table[name] for name in ("text", "caption") if table and name in table.column_names]

    given = uploads.paths(folder, contents)

    def place(row: int) -> Path:
        name = names[row].as_py()
        return given.get(name) or contents.path(folder, name)

    def describe(row: int) -> tuple[str, str]:
        name = names[row].as_py()
        if texts is not None:
            text = texts[row].as_py()
            return "" if name == text else name, text
        return name, next(filter(None, (_said(column[row].as_py()) for column in said)), "")

    kept = [read_embeddings(folder, contents, part, model.bits) for part in contents.parts]
    return Engine(
        model,
        Index(np.concatenate([part.codes() for part in parts]), model.bits),
        contents.what,
        describe,
        lambda row: shard_images.read_image(place(row), model.facts.stored_size),
        Embeddings([part for part in kept if part is not None]) if contents.embeddings != "none" else None,
        table,
        place if contents.what == "image" else None,
        names,
    )


def _texts(folder: Path, contents: Contents, names: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Return the texts of a collection of texts."""
    if contents.what == "image":
        return None
    return pa.chunked_array(
        [
            pa.array(read_texts(folder, part, chunk.to_pylist()), pa.string())
            for part, chunk in zip(contents.parts, names.chunks, strict=True)
        ]
    )


def _said(cell: Any) -> str:
    """Return what a caption says; of several, the first."""
    return str((cell[0] if cell else "") if isinstance(cell, list) else cell or "")


def _snapshot(folder: Path, opened: Callable[[Contents], Opened]) -> Opened:
    """Return what `opened` makes of the collection; anew if it is changed meanwhile."""
    while True:
        contents = manifest.read(folder)
        if not contents.parts:
            raise ValueError(f"{folder} is empty; add to it with `cmh index photos/ --to {folder}`")
        try:
            changes.check(folder, contents)
            return opened(contents)
        except (ValueError, FileNotFoundError):
            if manifest.read(folder) == contents:
                raise
