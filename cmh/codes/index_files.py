"""Save and load an index, and export it to the formats of other programs.

`save` writes a folder: `words.npy` (W, N) uint64, `ids.parquet` (column `id`; absent if the ids are the
rows), the arrays of a `MultiIndex` as `sorted_*.npy`, and, last, `index.json`.  `load` maps the codes into
memory, so that an index larger than memory opens at once.

Shape suffixes: N = items, P = bytes of a code, W = words of 64 bits of a code.
"""

import json
import struct
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cmh.codes import hamming
from cmh.codes.multi_index import MultiIndex, Sorted
from cmh.codes.search import Index

FORMAT = 1
_ROWS_AT_ONCE = 1 << 20


def save(index: Index, folder: Path) -> None:
    """Write the index into a folder of its own, which is created if needed.

    Raises:
        FileExistsError: if the folder holds an index already; its files may be mapped, even by `index`.
    """
    index_json = folder / "index.json"
    if index_json.exists():
        raise FileExistsError(f"{folder} holds an index already; save to a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "words.npy", index.words_WN)
    if index.has_ids:
        pq.write_table(pa.table({"id": pa.array(index.ids)}), folder / "ids.parquet")
    if isinstance(index, MultiIndex):
        for name, array in index.sorted_codes._asdict().items():
            np.save(folder / f"sorted_{name[:-3]}.npy", array)
    header = {
        "format": FORMAT,
        "bits": index.bits,
        "items": len(index),
        "ids": index.has_ids,
        "sorted": isinstance(index, MultiIndex),
    }
    index_json.write_text(json.dumps(header, indent=2) + "\n")


def load(folder: Path, *, mapped: bool = True) -> Index:
    """Return the index that `save` wrote into a folder.

    Args:
        folder: the folder.
        mapped: map the codes from the file instead of reading them into memory.

    Raises:
        FileNotFoundError: if a file of the index is missing.
        ValueError: if the index has another format version, or its files do not match each other.
    """
    try:
        return _load(folder, mapped=mapped)
    except Exception as error:  # NumPy, Arrow and JSON each have their own, more than they document
        if isinstance(error, OSError) or str(error).startswith(str(folder)):
            raise
        raise ValueError(f"{folder} is damaged: {type(error).__name__} {str(error)[:200]}") from error


def _load(folder: Path, *, mapped: bool) -> Index:
    header = json.loads((folder / "index.json").read_text())
    if header["format"] != FORMAT:
        raise ValueError(
            f"{folder} has index format {header['format']}, this program reads {FORMAT}; save it anew"
        )
    words_WN = np.load(folder / "words.npy", mmap_mode="r" if mapped else None)
    ids = None
    if header["ids"]:
        with pq.ParquetFile(folder / "ids.parquet") as file:  # read_table imports pandas and data sets
            ids = np.array(file.read()["id"].to_pylist())
    shape = (-(-header["bits"] // 64), header["items"])
    if (words_WN.shape, words_WN.dtype) != (shape, np.uint64) or (
        ids is not None and len(ids) != header["items"]
    ):
        raise ValueError(
            f"{folder} is damaged: index.json says {shape} uint64 and as many ids, words.npy has "
            f"{words_WN.shape} {words_WN.dtype}"
        )
    used_W = hamming.words(hamming.pack(np.ones((1, header["bits"]), bool)))[0]
    if (words_WN[-1] & ~used_W[-1]).any():
        raise ValueError(
            f"{folder} is damaged: bits after the last of {header['bits']} are not 0; save it anew"
        )
    index = Index.over(words_WN, header["bits"], ids)
    if not header.get("sorted"):
        return index
    mode: Literal["r"] | None = "r" if mapped else None
    arrays = [np.load(folder / f"sorted_{name[:-3]}.npy", mmap_mode=mode) for name in Sorted._fields]
    return MultiIndex.of(index, Sorted(*arrays))


def export_parquet(index: Index, path: Path) -> None:
    """Write a Parquet table with the columns `id` and `code` (packed bytes, most significant bit first).

    The code length is in the metadata of the table's schema, as `bits`.
    """
    bytes_per_code = hamming.width(index.bits)
    ids = pa.array(index.ids)
    schema = pa.schema(
        [("id", ids.type), ("code", pa.binary(bytes_per_code))], metadata={"bits": str(index.bits)}
    )
    with pq.ParquetWriter(path, schema) as writer:
        for first in range(0, len(index), _ROWS_AT_ONCE):
            rows = slice(first, first + _ROWS_AT_ONCE)
            codes_NP = index.codes(rows)
            code = pa.FixedSizeBinaryArray.from_buffers(
                pa.binary(bytes_per_code), len(codes_NP), [None, pa.py_buffer(codes_NP)]
            )
            writer.write_table(pa.table([ids[rows], code], schema=schema))


def export_faiss(index: Index, path: Path) -> None:
    """Write a file that `faiss.read_index_binary` opens as an `IndexBinaryFlat`.

    The ids in FAISS are the rows of the index, and the codes are padded to whole bytes.
    """
    with open(path, "wb") as file:
        write_faiss(index, file)


def write_faiss(index: Index, file: BinaryIO) -> None:
    """Write the binary layout of FAISS's `IndexBinaryFlat` to an open file.

    The fields are: fourcc "IBxF", dimension (bits), bytes per code, number of items, whether trained, metric
    (1: L2), number of bytes of all codes, then the codes.
    """
    bytes_per_code = hamming.width(index.bits)
    file.write(struct.pack("<4siiq?i", b"IBxF", 8 * bytes_per_code, bytes_per_code, len(index), True, 1))
    file.write(struct.pack("<Q", len(index) * bytes_per_code))
    for first in range(0, len(index), _ROWS_AT_ONCE):
        file.write(index.codes(slice(first, first + _ROWS_AT_ONCE)).data)
