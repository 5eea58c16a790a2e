"""Threads and Dask workers encode the same."""

from pathlib import Path

import pytest
from PIL import Image

from cmh import model
from flows import index_encoding
from flows.index_encoding import Portion
from flows.resources import HERE, Resources
from tests.cmh.test_model import _images, _model


@pytest.mark.slow
def test_dask_workers_encode_what_threads_do(tmp_path: Path, cmh_home: Path) -> None:
    """Codes, embeddings and states of each image that can be read, in their order, and why one cannot."""
    (tmp_path / "model").mkdir()
    model.save(_model(frozen=True), tmp_path / "model")
    waiting = [(f"{number}.png", str(tmp_path / f"{number}.png")) for number in range(70)]
    for (_, path), pixels in zip(waiting, _images(70, side=40), strict=True):
        Image.fromarray(pixels).save(path)
    Path(waiting[3][1]).write_bytes(b"no image")

    def encoded(dask: str | None) -> tuple[list[object], dict[str, str]]:
        resources = Resources(threads=2, dask=dask)
        portions = list(index_encoding.encode_images(waiting, tmp_path / "model", "int8", resources))
        return [one for portion in portions for one in rows(portion)], portions[0].rejected

    items, rejected = encoded(None)
    assert (len(items), list(rejected)) == (69, ["3.png"])
    assert encoded(HERE) == (items, rejected)


def rows(portion: Portion) -> list[object]:
    items = portion.items
    assert items.files is not None
    assert items.embeddings_NK is not None
    codes, kept = items.codes_NP.tolist(), items.embeddings_NK.tolist()
    return list(zip(items.names, codes, kept, items.files, strict=True))
