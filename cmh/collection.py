"""A collection: a searchable folder of the user's own images or texts, encoded by a trained model.

    collection.json     the modality of its items, and the address of the model that encoded them
    model/              the model's files (`cmh.model`)
    part-00000/ …       codes and names of items, one part per addition (`cmh.codes.index_files`)

A part is either complete or does not exist.
"""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa

from cmh import model as models
from cmh.codes import index_files
from cmh.codes.hamming import Codes
from cmh.codes.search import Index
from cmh.data.batches import Side
from cmh.data.images import read_image
from cmh.engine import Engine

FORMAT = 1


def open_collection(folder: Path) -> Engine:
    """Open a collection for search.

    Raises:
        ValueError: the folder holds no collection, or an empty one.
    """
    what, parts = read_about(folder)["what"], _filled(folder)
    model = models.load(folder / "model")
    names = pa.chunked_array([pa.array(part.ids.tolist(), pa.string()) for part in parts])
    return Engine(
        model,
        Index(np.concatenate([part.codes() for part in parts]), model.bits),
        what,
        lambda row: (names[row].as_py(), "") if what == "image" else ("", names[row].as_py()),
        lambda row: read_image(Path(names[row].as_py()), model.facts.stored_size),
    )


def all_codes(folder: Path) -> Index:
    """Return all codes of a collection, with the items' names as ids.

    Raises:
        ValueError: the folder holds no collection, or an empty one.
    """
    read_about(folder)
    parts = _filled(folder)
    codes_NP = np.concatenate([part.codes() for part in parts])
    return Index(codes_NP, parts[0].bits, np.concatenate([part.ids for part in parts]))


def is_collection(folder: Path) -> bool:
    """Return whether the folder holds a collection."""
    return (folder / "collection.json").is_file()


def read_about(folder: Path) -> dict[str, Any]:
    """Return the contents of collection.json.

    Raises:
        ValueError: the file is missing or has another format.
    """
    if not is_collection(folder):
        raise ValueError(f"{folder} is no collection; make one with `cmh index photos/ --to {folder}`")
    about: dict[str, Any] = json.loads((folder / "collection.json").read_text())
    if about.get("format") != FORMAT or about.get("what") not in get_args(Side):
        raise ValueError(f"{folder}/collection.json is of another format; make the collection anew")
    return about


def read_parts(folder: Path) -> list[Index]:
    """Return the codes of every part, with the items' names as ids, in the order of addition."""
    return [index_files.load(part) for part in sorted(folder.glob("part-*"))]


def _filled(folder: Path) -> list[Index]:
    """Return the parts of a collection; ValueError where it has none."""
    parts = read_parts(folder)
    if not parts:
        raise ValueError(f"{folder} is empty; add to it with `cmh index photos/ --to {folder}`")
    return parts


def write_part(to: Path, codes_NP: Codes, names: Sequence[str]) -> None:
    """Add items to a collection as one part, completely or not at all.

    Args:
        to: folder of the collection.
        codes_NP: packed codes of the items, uint8 (n, P).
        names: n names, such as file names or the texts themselves.

    Raises:
        ValueError: another process is adding a part at the same time.
    """
    bits = json.loads((to / "model" / "config.json").read_text())["order"]
    draft = to / f".part-{os.getpid()}"
    shutil.rmtree(draft, ignore_errors=True)
    index_files.save(Index(codes_NP, len(bits), np.array(names)), draft)
    target = to / f"part-{len(list(to.glob('part-*'))):05}"
    if target.exists():
        raise ValueError(f"{target} is there already: another process adds to {to}; wait until it is done")
    draft.rename(target)
