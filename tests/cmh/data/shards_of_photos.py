"""Tars and Parquet files of small drawings, as other programs write them."""

import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def drawing(number: int) -> bytes:
    """A PNG that no other number has."""
    stream = io.BytesIO()
    rng = np.random.default_rng(number)
    Image.fromarray(rng.integers(256, size=(40, 50, 3), dtype=np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def write_tar(path: Path, files: Mapping[str, bytes | str | dict[str, Any]]) -> Path:
    """A tar of these files: bytes, texts, or objects as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            said = json.dumps(content) if isinstance(content, dict) else content
            data = said.encode() if isinstance(said, str) else said
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return path


def write_parquet(path: Path, columns: Mapping[str, Any], **metadata: Any) -> Path:
    """A Parquet file of row groups of two; `metadata`: features as Hugging Face's `datasets` notes them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(dict(columns))
    noted = {"huggingface": json.dumps({"info": {"features": metadata}})}
    pq.write_table(table.replace_schema_metadata(noted), path, row_group_size=2)
    return path


def in_structs(numbers: list[int], paths: list[str | None]) -> list[dict[str, Any]]:
    """Cells of images as `datasets` has them."""
    return [{"bytes": drawing(n), "path": path} for n, path in zip(numbers, paths, strict=True)]
