"""An index on disk, and in other programs' formats.

`save` writes a folder: `words.npy` (W, N) uint64, `ids.parquet` (column `id`; absent where ids are rows) and,
last, `index.json`.  `load` maps the codes, so that an index larger than memory opens at once.
"""

import json
import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cmh.codes import hamming
from cmh.codes.search import Index

FORMAT = 1
_ROWS_AT_ONCE = 1 << 20


def save(index: Index, folder: Path) -> None:
    """Write the index into a folder of its own.

    Raises:
        FileExistsError: if an index is there already (it may be mapped, by this very index too).
    """
    record = folder / "index.json"
    if record.exists():
        raise FileExistsError(f"{folder} holds an index already; save to a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "words.npy", index.words_WN)
    if index.has_ids:
        pq.write_table(pa.table({"id": pa.array(index.ids)}), folder / "ids.parquet")
    about = {"format": FORMAT, "bits": index.bits, "items": len(index), "ids": index.has_ids}
    record.write_text(json.dumps(about, indent=2) + "\n")


def load(folder: Path, *, mapped: bool = True) -> Index:
    """Return the index saved in a folder; its codes stay in the file unless `mapped` is False.

    Raises:
        ValueError: if the folder's format is another, or its files do not fit each other.
    """
    about = json.loads((folder / "index.json").read_text())
    if about["format"] != FORMAT:
        raise ValueError(
            f"{folder} has index format {about['format']}, this program reads {FORMAT}; save it anew"
        )
    words_WN = np.load(folder / "words.npy", mmap_mode="r" if mapped else None)
    ids = None
    if about["ids"]:
        ids = pq.read_table(folder / "ids.parquet")["id"].to_numpy()
        ids = ids.astype(np.str_) if ids.dtype == object else ids
    shape = (-(-about["bits"] // 64), about["items"])
    if (words_WN.shape, words_WN.dtype) != (shape, np.uint64) or (
        ids is not None and len(ids) != about["items"]
    ):
        raise ValueError(
            f"{folder} is damaged: index.json says {shape} uint64 and as many ids, words.npy has "
            f"{words_WN.shape} {words_WN.dtype}"
        )
    return Index.over(words_WN, about["bits"], ids)


def export_parquet(index: Index, path: Path) -> None:
    """Write a table of `id` and `code` (packed bytes, most significant bit first).

    `bits` is in its metadata.
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
    """Write an `IndexBinaryFlat` that `faiss.read_index_binary` opens; ids are rows.

    Bits are padded to whole bytes.
    """
    with open(path, "wb") as file:
        write_faiss(index, file)


def write_faiss(index: Index, file: BinaryIO) -> None:
    """Write FAISS's own layout.

    Fourcc, dimension, bytes per code, items, trained, metric (L2), then the codes.
    """
    bytes_per_code = hamming.width(index.bits)
    file.write(struct.pack("<4siiq?i", b"IBxF", 8 * bytes_per_code, bytes_per_code, len(index), True, 1))
    file.write(struct.pack("<Q", len(index) * bytes_per_code))
    for first in range(0, len(index), _ROWS_AT_ONCE):
        file.write(index.codes(slice(first, first + _ROWS_AT_ONCE)).data)
