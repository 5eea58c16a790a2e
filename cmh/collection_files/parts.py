"""A part of a collection: some items, whose files are written once; see `cmh.collection_files.changes`.

Shape suffixes: N = items, K = bits, P = bytes of a code.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cmh.codes import embeddings, index_files
from cmh.codes.hamming import Codes
from cmh.codes.search import Index
from cmh.collection_files.manifest import Contents, Part, finish, next_place
from cmh.data import shard_images

_FILES = ("size", "modified", "sha256")
_TEXTS = "texts.parquet"


@dataclass(frozen=True)
class FileState:
    """What an image was when it was encoded: size and time of its file, or of the shard that it lies in."""

    size: int  # bytes
    modified: int  # nanoseconds
    sha256: str = ""

    @classmethod
    def of(cls, path: Path) -> "FileState":
        """Return size and time of change of an image's file now; its contents are not read."""
        status = shard_images.holder(path)[0].stat()
        return cls(status.st_size, status.st_mtime_ns)


@dataclass(frozen=True)
class Items:
    """Items as a part holds them."""

    codes_NP: Codes
    names: Sequence[
        str
    ]  # of images, paths below the root, or whole ones; of texts, ids, or the texts themselves
    files: Sequence[FileState] | None = None  # of images
    embeddings_NK: NDArray[Any] | None = None  # as `cmh.codes.embeddings.shrink` returns them
    texts: Sequence[str] | None = None  # where some have other names

    def take(self, rows: NDArray[np.int64]) -> "Items":
        """Return the items of some rows."""
        return Items(
            self.codes_NP[rows],
            [self.names[row] for row in rows],
            None if self.files is None else [self.files[row] for row in rows],
            None if self.embeddings_NK is None else self.embeddings_NK[rows],
            None if self.texts is None else [self.texts[row] for row in rows],
        )

    @classmethod
    def together(cls, all_items: "Sequence[Items]") -> "Items":
        """Return the items of several, one after the other."""
        first = all_items[0]
        return cls(
            np.concatenate([items.codes_NP for items in all_items]),
            [name for items in all_items for name in items.names],
            None if first.files is None else [state for items in all_items for state in items.files or ()],
            None if first.embeddings_NK is None else np.concatenate([i.embeddings_NK for i in all_items]),
            None
            if all(items.texts is None for items in all_items)
            else [text for items in all_items for text in items.texts or items.names],
        )


def code_length(folder: Path) -> int:
    """Return the bits of the codes of a collection, which its model says."""
    return len(json.loads((folder / "model" / "config.json").read_text())["order"])


def read_embeddings(folder: Path, contents: Contents, part: Part, bits: int) -> NDArray[Any] | None:
    """Return the embeddings of a part, (N, K), mapped from the file; None if there are none."""
    if contents.embeddings == "none":
        return None
    return embeddings.load(folder / part.name / "embeddings.npy", contents.embeddings, part.items, bits)


def read_items(folder: Path, contents: Contents, part: Part) -> Items:
    """Return everything that a part holds."""
    index = index_files.load(folder / part.name)
    files = None
    if contents.what == "image":
        table = pq.read_table(folder / part.name / "files.parquet")
        if table.column_names != list(_FILES):
            raise ValueError(f"{folder / part.name}/files.parquet is damaged: columns {table.column_names}")
        columns = (table[name].to_pylist() for name in _FILES)
        files = [FileState(*state) for state in zip(*columns, strict=True)]
    names, texts = index.ids.tolist(), None
    if _TEXTS in part.files:
        texts = read_texts(folder, part, names)
    return Items(index.codes(), names, files, read_embeddings(folder, contents, part, index.bits), texts)


def read_texts(folder: Path, part: Part, names: Sequence[str]) -> list[str]:
    """Return the texts of a part of texts, whose names these are: the names themselves, or others.

    Raises:
        ValueError: the file does not hold one for each.
    """
    if _TEXTS not in part.files:
        return list(names)
    table = pq.read_table(folder / part.name / _TEXTS)
    if table.column_names != ["text"] or table["text"].type != pa.string() or len(table) != len(names):
        raise ValueError(f"{folder / part.name}/{_TEXTS} is damaged: it does not hold a text for each name")
    return [text or "" for text in table["text"].to_pylist()]


def write(folder: Path, contents: Contents, items: Items) -> Contents:
    """Return contents with these items as a part more, which is written."""
    if (items.embeddings_NK is None) != (contents.embeddings == "none"):
        raise ValueError(f"{folder} keeps embeddings as {contents.embeddings}; give them with every item")
    place, contents = next_place(folder, contents, "part")
    shutil.rmtree(place, ignore_errors=True)
    index_files.save(Index(items.codes_NP, code_length(folder), np.array(items.names)), place)
    if items.files is not None:
        fields = {n: [getattr(file, n) for file in items.files] for n in _FILES}
        pq.write_table(pa.table(fields), place / "files.parquet")
    if items.texts is not None:
        pq.write_table(pa.table({"text": pa.array(items.texts, pa.string())}), place / _TEXTS)
    if items.embeddings_NK is not None:
        np.save(place / "embeddings.npy", items.embeddings_NK)
    return replace(contents, parts=(*contents.parts, finish(place, len(items.names))))
