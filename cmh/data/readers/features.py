"""Features of your own in place of images and words: matrices with a row per item.

Reads: features  .npz with the arrays image, text and labels (and id);
                 a folder with image.npy, text.npy and labels.npy (and id.txt, a line each);
                 .mat of any version with variables of these names;
                 Parquet with list columns image and text, labels, and a column id.

Labels are 0 or 1 in a column each, or numbers of classes; of Parquet names as well.
Options: `columns`, what is read → the name of its array; `labels`, names of the labels.
"""

import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cmh.data import archives, matlab
from cmh.data.records import FeatureTable

WANTED = ("image", "text", "labels")
MAX_BYTES = 8 << 30  # of all arrays together


def vectors(sources: Mapping[str, Path], options: Mapping[str, Any]) -> FeatureTable:
    """Return all items; the split is drawn.

    Raises:
        ValueError: naming the file and the array: missing, not numbers, of another height than the others.
    """
    path = sources["features"]
    named = {name: options.get("columns", {}).get(name, name) for name in (*WANTED, "id")}
    held = _reader(path)(path, named)
    missing = [named[name] for name in WANTED if name not in held]
    if missing:
        raise ValueError(
            f"{path} lacks {', '.join(missing)}; it holds {', '.join(_names(path)) or 'nothing'}; say which "
            "is which: --columns image=NAME,text=NAME,labels=NAME"
        )
    image_NF, text_ND = (_matrix(held[name], f"{path}: {named[name]}") for name in ("image", "text"))
    names, label_NL = _labels(held["labels"], f"{path}: {named['labels']}", options.get("labels"))
    heights = {named["image"]: len(image_NF), named["text"]: len(text_ND), named["labels"]: len(label_NL)}
    if len(set(heights.values())) > 1:
        told = ", ".join(f"{name} {count}" for name, count in heights.items())
        raise ValueError(f"{path}: the arrays have different numbers of rows ({told}); row i is item i")
    identity = tuple(str(one) for one in held.get("id", range(len(image_NF))))
    return FeatureTable(identity, image_NF, text_ND, label_NL, tuple(names), query=None)


def has_vectors(schema: pa.Schema) -> bool:
    """Return whether a Parquet file has columns of vectors."""
    return any(_is_vector(field.type) for field in schema)


def _is_vector(kind: pa.DataType) -> bool:
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(test(kind) for test in lists) and bool(pa.types.is_floating(kind.value_type))


def _reader(path: Path) -> Callable[[Path, Mapping[str, str]], dict[str, Any]]:
    if path.is_dir():
        return _of_folder
    return {".npz": _of_npz, ".parquet": _of_parquet}.get(path.suffix.lower(), _of_matlab)


def _names(path: Path) -> list[str]:
    """Return the names of the arrays that there are."""
    if path.is_dir():
        return [file.stem for file in sorted(path.glob("*.npy"))]
    match path.suffix.lower():
        case ".npz":
            with _npz(path) as held:
                return list(held.files)
        case ".parquet":
            return [field.name for field in pq.ParquetFile(path).schema_arrow]
        case _:
            return list(matlab.variables(path))


def _npy(path: Path) -> NDArray[Any]:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is no array of numbers that can be read: {error}") from None


@contextmanager
def _npz(path: Path) -> Iterator[Any]:
    """Open a .npz; whatever a damaged or a hostile one raises becomes a ValueError that names it."""
    try:
        with zipfile.ZipFile(path), np.load(path, allow_pickle=False) as held:  # NumPy alone reads others too
            yield held
    # MemoryError: a header may state any shape
    except (*archives.DAMAGED_ZIP, ValueError, OSError, MemoryError) as error:
        raise ValueError(f"{path} is a .npz that cannot be read: {error}") from None


def _of_folder(path: Path, named: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {
        name: _npy(path / f"{file}.npy") for name, file in named.items() if (path / f"{file}.npy").exists()
    }
    listed = path / f"{named['id']}.txt"
    if listed.exists():
        found["id"] = archives.text(archives.one(listed), str(listed)).splitlines()
    return found


def _of_npz(path: Path, named: Mapping[str, str]) -> dict[str, Any]:
    with _npz(path) as held:
        sizes = sum(info.file_size for info in held.zip.infolist())  # a few bytes may stand for gigabytes
        if sizes > MAX_BYTES:
            raise ValueError(f"it unpacks to {sizes} bytes; at most {MAX_BYTES} are read")
        return {name: held[array] for name, array in named.items() if array in held.files}


def _of_matlab(path: Path, named: Mapping[str, str]) -> dict[str, Any]:
    there = matlab.variables(path)
    found: dict[str, Any] = {}
    wanted = {name: array for name, array in named.items() if array in there}
    if "id" in wanted:
        found["id"] = matlab.read_names(path, wanted.pop("id"))
    held = matlab.read(path, list(wanted.values()))
    return found | {name: held[array] for name, array in wanted.items()}


def _of_parquet(path: Path, named: Mapping[str, str]) -> dict[str, Any]:
    try:
        file = pq.ParquetFile(path)
        there = [field.name for field in file.schema_arrow]
        table = file.read(columns=[array for array in named.values() if array in there])
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} is a damaged Parquet file: {error}") from error
    found: dict[str, Any] = {}
    for name, array in named.items():
        if array not in there:
            continue
        column = table.column(array).combine_chunks()
        if _is_vector(column.type):
            width = len(column) and len(column.flatten()) // len(column)
            lengths = set(pa.compute.list_value_length(column).to_pylist())
            if lengths - {width}:
                told = sorted(lengths, key=str)[:5]
                raise ValueError(f"{path}: the vectors of {array} have different lengths: {told}")
            found[name] = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), width)
        else:
            found[name] = column.to_pylist()
    return found


def _matrix(held: Any, name: str) -> NDArray[np.float32]:
    array = np.asarray(held)
    if array.dtype.kind not in "buif" or array.ndim != 2 or not array.size:
        raise ValueError(f"{name} is {array.dtype} of shape {array.shape}; expected numbers, a row per item")
    return array.astype(np.float32)


def _labels(held: Any, name: str, known: Sequence[str] | None) -> tuple[list[str], NDArray[np.uint8]]:
    """Return the names of the labels, and (N, L): of columns of 0 and 1, of class numbers, or of names."""
    if isinstance(held, list):
        of_each = [one if isinstance(one, list) else [one] for one in held]
        names = sorted({str(label) for one in of_each for label in one if label is not None})
        column = {label: number for number, label in enumerate(names)}
        label_NL = np.zeros((len(held), len(names)), np.uint8)
        for row, one in zip(label_NL, of_each, strict=True):
            row[[column[str(label)] for label in one if label is not None]] = 1
        return names, label_NL
    array = np.asarray(held)
    if array.ndim == 2 and 1 in array.shape:  # MATLAB knows no vectors
        array = array.reshape(-1)
    if array.dtype.kind not in "buif" or array.ndim not in (1, 2) or (array != np.round(array)).any():
        raise ValueError(
            f"{name} is {array.dtype} of shape {array.shape}; expected 0 and 1, or class numbers"
        )
    if array.ndim == 1:
        classes, number_N = np.unique(array.astype(np.int64), return_inverse=True)
        array = np.eye(len(classes), dtype=np.uint8)[number_N]
        names = [str(one) for one in classes]
    elif not ((array == 0) | (array == 1)).all():
        raise ValueError(f"{name} holds other numbers than 0 and 1 in {array.shape[1]} columns")
    else:
        names = [str(column) for column in range(1, array.shape[1] + 1)]
    if known is not None and len(known) != len(names):
        raise ValueError(f"{name} has {len(names)} labels, and {len(known)} names are given")
    return list(known or names), array.astype(np.uint8)
