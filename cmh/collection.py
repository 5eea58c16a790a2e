"""A collection: a searchable folder of the user's own images or texts, encoded by a trained model.

A service opens one with `open_collection` and asks the engine (`cmh.engine`); `cmh index` makes it
(`flows.index`), and `cmh.collection_files` says what is in the folder.  Its files are verified as it opens.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa

from cmh import collection_files
from cmh import model as models
from cmh.codes.search import Index
from cmh.collection_files import Contents
from cmh.data.images import read_image
from cmh.engine import Engine


def open_collection(folder: Path) -> Engine:
    """Open a collection for search.

    Raises:
        ValueError: if the folder holds no collection, or an empty or damaged one.
    """
    contents = _checked(folder)
    model = models.load(folder / "model")
    parts = collection_files.read_parts(folder, contents)
    names = pa.chunked_array([pa.array(part.ids.tolist(), pa.string()) for part in parts])
    return Engine(
        model,
        Index(np.concatenate([part.codes() for part in parts]), model.bits),
        contents.what,
        lambda row: (names[row].as_py(), "") if contents.what == "image" else ("", names[row].as_py()),
        lambda row: read_image(Path(names[row].as_py()), model.facts.stored_size),
    )


def all_codes(folder: Path) -> Index:
    """Return all codes of a collection, with the items' names as ids.

    Raises:
        ValueError: if the folder holds no collection, or an empty or damaged one.
    """
    parts = collection_files.read_parts(folder, _checked(folder))
    codes_NP = np.concatenate([part.codes() for part in parts])
    return Index(codes_NP, parts[0].bits, np.concatenate([part.ids for part in parts]))


def _checked(folder: Path) -> Contents:
    contents = collection_files.read(folder)
    if not contents.parts:
        raise ValueError(f"{folder} is empty; add to it with `cmh index photos/ --to {folder}`")
    try:
        collection_files.check(folder, contents)
    except ValueError:
        # A change may have replaced the parts in between; then the new ones are complete.
        changed = collection_files.read(folder)
        if changed == contents:
            raise
        return _checked(folder)
    return contents
