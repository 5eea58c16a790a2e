"""Name, dimensions and dtype of every array and column that the pipeline writes; `validate` holds data to it.

Dimensions: M = images read from the sources, N = items of the dataset, D = vocabulary, L = labels,
T = words of a sequence, H, W = image size, K = bits, P = ceil(K / 8) packed bytes.  A dimension has one size
throughout one group.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import zarr
from numpy.typing import NDArray

DATASET_REVISION = 5  # raise it when texts, words, labels or splits come out otherwise


@dataclass(frozen=True)
class Array:
    """One Zarr array: its dimension names and its NumPy dtype, or several with "or" between."""

    dims: tuple[str, ...]
    dtype: str
    optional: bool = False


SPLITS = ("query", "database", "train", "validation")

IMAGES: Mapping[str, Array] = {"image": Array(("M", "H", "W", "3"), "uint8")}
"""`images.zarr` of an *images* artifact: one row per record of the sources, zeros where it was rejected."""

DATASET: Mapping[str, Array] = {
    "text": Array(("N", "D"), "uint8 or float32"),  # bag of words, counts clipped to 255; or text features
    "tokens": Array(("N", "T"), "int32", optional=True),  # word numbers in order; none of text features
    "label": Array(("N", "L"), "uint8"),  # multi-hot; L may be 0
    "train_label": Array(("N", "L"), "uint8", optional=True),  # as training reads them, where noise was added
    "group": Array(("N",), "int64", optional=True),  # number of the item's group; none: each has its own
    "image_row": Array(("N",), "int64"),  # row of the item's image in the images (and features) artifact
    "split/query": Array(("query",), "int64"),  # rows of N, ascending
    "split/database": Array(("database",), "int64"),  # all but the queries
    "split/train": Array(("train",), "int64"),  # part of the database
    "split/validation": Array(("validation",), "int64"),  # part of the database, none of it in train
}
"""`dataset.zarr` of a *dataset* artifact."""

CODES: Mapping[str, Array] = {
    "image": Array(("N", "P"), "uint8"),
    "text": Array(("N", "P"), "uint8"),
    "image_relaxed": Array(("N", "K"), "int8", optional=True),
}
"""`codes.zarr` of a *codes* artifact: packed codes of every item, bits in significance order; and the relaxed
codes of the images in the same order, by which a search puts what it finds into order."""

EMBEDDINGS: Mapping[str, Array] = {
    "image_embedding": Array(("N", "K"), "float32"),
    "text_embedding": Array(("N", "K"), "float32"),
}
"""`codes.zarr` of a real-valued method: it has no codes, and its embeddings are ranked by cosine."""

IMAGE_ROWS = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("reason", pa.string()),  # why the item was rejected; null where it was not
        ("hash", pa.uint64()),  # perceptual hash (`cmh.data.near_duplicates`); null where it was rejected
    ]
)
"""`images.parquet`: row i describes row i of `images.zarr`."""

ITEMS = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("group", pa.string()),  # items of one group are never on both sides of a split
        ("text", pa.string()),
        ("labels", pa.list_(pa.string())),
        ("split", pa.string()),  # query, train, validation, or database (in the database only)
    ]
)
"""`items.parquet`: row i describes row i of `dataset.zarr`."""

REJECTED = pa.schema([("id", pa.string()), ("source", pa.string()), ("reason", pa.string())])
"""`rejected.parquet`: the items that were left out, and why."""


def array(group: zarr.Group, name: str) -> Any:
    """Return an array of the group.

    Typed as Any, because zarr types an item as array, group or scalar alike.
    """
    return group[name]


def labelled(dataset: zarr.Group, row_n: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return those of these rows of a dataset that have any label."""
    has_N: NDArray[np.bool_] = array(dataset, "label")[:].any(axis=1)
    found_n: NDArray[np.int64] = row_n[has_N[row_n]]
    return found_n


def validate(group: zarr.Group, schema: Mapping[str, Array]) -> dict[str, int]:
    """Check every array of `group` against `schema`.

    Returns: the size of each dimension.

    Raises:
        ValueError: naming the array, what it should be and what it is.
    """
    sizes: dict[str, int] = {}
    for name, spec in schema.items():
        if name not in group:
            if spec.optional:
                continue
            raise ValueError(f"array {name!r} is missing; expected {spec.dtype} {spec.dims}")
        found = group[name]
        if not isinstance(found, zarr.Array):
            raise ValueError(f"{name!r} is a group; expected an array {spec.dtype} {spec.dims}")
        if str(found.dtype) not in spec.dtype.split(" or "):
            raise ValueError(f"array {name!r} has dtype {found.dtype}; expected {spec.dtype}")
        if found.ndim != len(spec.dims):
            raise ValueError(f"array {name!r} has shape {found.shape}; expected dimensions {spec.dims}")
        for dim, size in zip(spec.dims, found.shape, strict=True):
            expected = int(dim) if dim.isdigit() else sizes.setdefault(dim, size)
            if size != expected:
                raise ValueError(f"array {name!r} has {size} along {dim}; expected {expected}")
    return sizes
