"""Merge collections of one model into a new one."""

import errno
import os
import shutil
import socket
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cmh.collection_files import changes, manifest, uploads
from cmh.collection_files.manifest import Contents
from cmh.collection_files.parts import Items, read_items
from cmh.data import columns


def merge(folders: Sequence[Path], to: Path) -> Contents:
    """Make a collection of all items of some; where several have a name, the last one's item is kept.

    Names of images are below the first collection's root; those of images elsewhere become whole paths.
    The merged collection appears when it is whole.

    Raises:
        ValueError: if they are of different models, kinds of items or embeddings, or `to` is there.
    """
    all_contents = [manifest.read(folder) for folder in folders]
    first = all_contents[0]
    for folder, contents in zip(folders, all_contents, strict=True):
        for what in ("what", "model_files", "embeddings"):
            if getattr(contents, what) != getattr(first, what):
                said = {
                    "what": "kinds of items",
                    "model_files": "models",
                    "embeddings": "kinds of embeddings",
                }
                raise ValueError(
                    f"{folders[0]} and {folder} have different {said[what]}; only collections that were made "
                    "with the same model and settings can be merged: index the items of one of them again, "
                    "with --model and the folder of the other"
                )
        changes.check(folder, contents)
    if to.exists():
        raise ValueError(f"{to} is there; merge into a new folder")
    draft = to.with_name(f".{to.name}-merging-{socket.gethostname()}-{os.getpid()}")
    try:
        changes.create(
            draft, folders[0] / "model", first.what, first.model, root=first.root, embeddings=first.embeddings
        )
        for folder in folders:
            uploads.copy(folder, draft)
        _fill(draft, folders, all_contents)
        uploads.sweep(draft, manifest.read(draft))
        draft.rename(to)
        manifest.sync_one(to.parent)
    except FileNotFoundError:
        _check_unchanged(folders, all_contents)
        raise
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        raise ValueError(
            f"{to} was made by another process at the same time; merge into a new folder"
        ) from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return manifest.read(to)


def _check_unchanged(folders: Sequence[Path], all_contents: Sequence[Contents]) -> None:
    """Refuse to go on with a collection whose parts were replaced while they were read."""
    for folder, contents in zip(folders, all_contents, strict=True):
        if manifest.read(folder) != contents:
            raise ValueError(f"{folder} was changed while it was merged; run it again")


def _fill(draft: Path, folders: Sequence[Path], all_contents: Sequence[Contents]) -> None:
    seen: set[str] = set()
    own, parts, of_each = None, [], []
    for folder, contents in zip(reversed(folders), reversed(all_contents), strict=True):
        here: set[str] = set()
        for part in reversed(contents.parts):
            items = _renamed(read_items(folder, contents, part), contents, all_contents[0])
            here |= set(items.names)
            kept = items.take(np.flatnonzero([name not in seen for name in items.names]))
            if kept.names:
                parts.append(kept)
        seen |= here
        of_each.append(here)
    result = manifest.read(draft)
    for items in reversed(parts):
        result = changes.add_part(
            draft, result, items.codes_NP, items.names, items.files, items.embeddings_NK, texts=items.texts
        )
    for folder, contents, here in zip(folders, all_contents, reversed(of_each), strict=True):
        if own is not None:  # an item's columns go with it: those of one that is replaced do not stay
            own = own.filter(pc.invert(pc.is_in(own["name"], value_set=pa.array(sorted(here), pa.string()))))
        table = changes.read_columns(folder, contents)
        if table is not None:
            names = [_name(name, contents, all_contents[0]) for name in table["name"].to_pylist()]
            own = columns.update(own, table.set_column(0, "name", pa.array(names, pa.string())))
    if own is not None:
        changes.set_columns(draft, result, own)


def _renamed(items: Items, contents: Contents, first: Contents) -> Items:
    return replace(items, names=[_name(name, contents, first) for name in items.names])


def _name(name: str, contents: Contents, first: Contents) -> str:
    """Return the name of an item in a collection with the first one's root."""
    if contents.what == "text" or contents.root == first.root or name.startswith(manifest.UPLOAD):
        return name
    path = Path(contents.root, name)
    return path.relative_to(first.root).as_posix() if path.is_relative_to(first.root) else str(path)
