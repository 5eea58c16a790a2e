"""Name, dimensions and dtype of every array and column that the pipeline writes; `validate` holds data to it.

Dimensions: M = images read from the sources, N = items of the dataset, D = vocabulary, L = labels,
T = words of a sequence, H, W = image size, K = bits, P = ceil(K / 8) packed bytes.  A dimension has one size
throughout one group.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import zarr

DATASET_REVISION = 3  # raise it when texts, words, labels or splits come out otherwise


@dataclass(frozen=True)
class Array:
    """One Zarr array: its dimension names and its NumPy dtype, or several with "or" between."""

    dims: tuple[str, ...]
    dtype: str
    optional: bool = False


IMAGES: Mapping[str, Array] = {"image": Array(("M", "H", "W", "3"), "uint8")}
"""`images.zarr` of an *images* artifact: one row per record of the sources, zeros where it was rejected."""

DATASET: Mapping[str, Array] = {
    "text": Array(("N", "D"), "uint8 or float32"),  # bag of words, counts clipped to 255; or text features
    "tokens": Array(("N", "T"), "int32", optional=True),  # word numbers in order; none of text features
    "label": Array(("N", "L"), "uint8"),  # multi-hot
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
}
"""`codes.zarr` of a *codes* artifact: packed codes of every item, bits in significance order."""

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
