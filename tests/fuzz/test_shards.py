"""Damaged and hostile tars and Parquet files of images, as `cmh index` reads them."""

from pathlib import Path

import pytest

from cmh.data import shard_columns, shard_images
from tests.cmh.data.shards_of_photos import drawing, in_structs, write_parquet, write_tar
from tests.fuzz.test_hostile_input import fuzz, reader


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".tar", ".parquet"])
def test_shards(tmp_path: Path, suffix: str) -> None:
    """Tars and Parquet files with images in them, and the columns beside these."""
    path = tmp_path / f"shard{suffix}"
    if suffix == ".tar":
        write_tar(
            path, {"a.png": drawing(1), "a.json": {"year": 1, "labels": ["x"]}, "b.png": b"", "b.txt": "b"}
        )
    else:
        cells = in_structs([1, 2, 3], ["a.png", "b.png", None])
        write_parquet(
            path, {"image": cells, "text": ["a", "b", "c"], "year": [1, 2, 3]}, year={"names": ["x"]}
        )

    def read(path: Path) -> object:
        names = shard_images.listing(path).names
        found = [
            shard_images.read_bytes(path / name, in_order=n % 2 == 0) for n, name in enumerate(names[:9])
        ]
        return found, shard_columns.read(path, names, {})

    fuzz(path.read_bytes(), reader(path, read), 14)
