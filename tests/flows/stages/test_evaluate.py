"""The report of a method that chooses places of an image: its figure against the saved model by hand.

The artifacts are made by hand, of random images and a network with random weights.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
import zarr
from torch.nn.functional import adaptive_avg_pool2d

from cmh import model
from cmh.codes import hamming
from cmh.evaluation import figures
from cmh.networks import backbones
from flows.experiment import EvaluationSettings, Resources
from flows.stages import evaluate
from infra import artifacts
from infra.artifacts import Ref, Target
from infra.storage import Store

GRID = 4
ITEMS, BITS, SIZE, SETTINGS = 24, 16, 128, {"bits": 16}
QUERY, ROW = np.arange(10), np.arange(ITEMS)[::-1]  # the image of item i is stored at row N - 1 - i


@pytest.fixture(scope="module")
def trained() -> model.Model:
    """ADAH over a frozen backbone."""
    torch.manual_seed(0)
    backbone = backbones.load("resnet18", "none")
    method = model.build("adah", SETTINGS, backbone, frozen=True, text_dim=3, labels=2)
    sizes = {"grid": GRID, "stored_size": SIZE, "image_size": SIZE, "text_dim": 3, "labels": 2}
    facts = model.facts("adah", method, SETTINGS, "resnet18", "none", length=None, **sizes)
    return model.Model(method.eval(), backbone.eval(), facts, ("a", "b", "c"), ("red", "blue"))


@pytest.fixture(scope="module")
def image_NHWC() -> np.ndarray:
    return np.random.default_rng(0).integers(256, size=(ITEMS, SIZE, SIZE, 3), dtype=np.uint8)


@pytest.fixture
def two_threads() -> Iterator[None]:
    """As on a machine of two cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def write(store: Store, kind: str, arrays: dict[str, np.ndarray], groups: int = 0) -> Ref:
    with artifacts.write(store, Target(kind, "drawn", {}, {}, 1)) as draft:
        group = zarr.open_group(draft.zarr(f"{kind}.zarr"), mode="a")
        for name, values in arrays.items():
            group.create_array(name, data=values)
        if groups:
            draft.write_table("items.parquet", pa.table({"group": [str(n) for n in range(groups)]}))
    return draft.ref


def written(store: Store, trained: model.Model, image_NHWC: np.ndarray, folder: Path) -> tuple[Ref, Ref]:
    """Codes and dataset."""
    rng = np.random.default_rng(1)
    images = write(store, "images", {"image": image_NHWC})
    label = np.eye(2, dtype=np.uint8)[np.arange(ITEMS) % 2]
    split = {"split/query": QUERY, "split/database": np.arange(len(QUERY), ITEMS)}
    dataset = write(store, "dataset", {"label": label, "image_row": ROW} | split, groups=len(label))
    model.save(trained, folder)
    with artifacts.write(store, Target("model", "drawn", {}, {}, 1)) as kept:
        kept.add_tree(folder)
    with artifacts.write(store, Target("codes", "drawn", {}, {}, 1)) as draft:
        group = zarr.open_group(draft.zarr("codes.zarr"), mode="a")
        for side in ("image", "text"):
            group.create_array(side, data=hamming.pack(rng.random((ITEMS, BITS)) > 0.5))
        facts = {"method": "adah", "order": list(range(BITS)), "significance": None, "bits": BITS}
        named = {ref.kind: ref.address for ref in (kept.ref, dataset, images)}
        draft.write_json("codes.json", facts | named)
    return draft.ref, dataset


@pytest.mark.slow
def test_the_figure_shows_what_the_model_attends_to(
    local_store: Store, trained: model.Model, image_NHWC: np.ndarray, tmp_path: Path,
    two_threads: None, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Every other query of ten, by its own image; computed by one thread, and the others are given back."""
    threads, attended = [], model.Model.attended

    def watched(self: model.Model, pictures: np.ndarray) -> np.ndarray | None:
        threads.append(torch.get_num_threads())
        return attended(self, pictures)

    monkeypatch.setattr(model.Model, "attended", watched)
    (tmp_path / "model").mkdir()
    codes, dataset = written(local_store, trained, image_NHWC, tmp_path / "model")
    aims = EvaluationSettings(bits=(BITS,))
    target = evaluate.target(codes, dataset, aims)
    made = artifacts.open_artifact(
        local_store, evaluate.make.compute(local_store, target, codes, dataset, aims, Resources()).ref
    )
    assert threads == [1]
    assert torch.get_num_threads() == 2

    pictures = image_NHWC[ROW[[0, 2, 4, 6, 8]]]
    with torch.inference_mode():
        maps = trained.backbone(torch.from_numpy(pictures).permute(0, 3, 1, 2))
        weight = trained.method.attended(tuple(adaptive_avg_pool2d(m, GRID).half().float() for m in maps))
    assert weight is not None
    assert weight.shape == (5, GRID, GRID)
    assert 0 < weight.mean() < 1
    drawn = figures.render(figures.attention(pictures, weight.numpy()), "png")
    assert made.read_bytes("attention.png") == drawn
    assert "(attention.png)" in made.read_bytes("README.md").decode()
    assert "attention.svg" in made.files
