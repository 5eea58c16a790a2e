"""Small collections of drawings, and a model with random weights, whose own codes check what it finds."""

import shutil
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image, ImageDraw
from torch import Tensor, nn

from cmh import model
from cmh.codes import embeddings
from cmh.collection_files import changes, manifest
from cmh.collection_files.parts import FileState
from cmh.data.images import read_image
from cmh.networks import backbones
from cmh.networks.backbones import BackboneSpec
from cmh.onnx import exported
from cmh.service.app import create_app
from cmh.service.settings import Settings
from cmh.service.snapshots import Snapshots

BITS, SIZE = 64, 32
CHANNELS = (8, 16, 16, 32)
WORDS = ("blue", "circle", "green", "red", "square")
COUNT = 30
_HOME = tempfile.TemporaryDirectory(prefix="cmh-tests-")
HOME = Path(_HOME.name)  # CMH_HOME of the services that are processes
GRAPHS = HOME / "graphs"  # so that the model is exported once


Drawn = tuple[model.Model, Path, Path]


class Small(nn.Module):
    """An image network of four stages that takes no time."""

    def __init__(self) -> None:
        super().__init__()
        sizes = (3, *CHANNELS)
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(i, o, 3, 2, 1), nn.ReLU()) for i, o in pairwise(sizes)
        )

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        maps = []
        for stage in self.stages:
            image = stage(image)
            maps.append(image)
        return tuple(maps)


def make_model(folder: Path) -> model.Model:
    """A model of 64 bits with random weights, in a folder; its graphs are in `GRAPHS`."""
    torch.manual_seed(0)
    spec = BackboneSpec(network=Small, channels=CHANNELS, mean=(127.0,) * 3, std=(64.0,) * 3, default="none")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(backbones.SPECS, "small", spec)  # type: ignore[arg-type]
        made = _make_model(folder)
        exporting = exported.load(folder, threads=1, cache=GRAPHS)
        exporting.relax_images([np.zeros((SIZE, SIZE, 3), np.uint8)])
        exporting.relax_texts([WORDS[0]])
    return made


def _make_model(folder: Path) -> model.Model:
    backbone = backbones.load("small", "none")
    built = model.build("scahn", {"bits": BITS}, backbone, frozen=True, text_dim=len(WORDS), labels=2)
    sizes = {"grid": 1, "stored_size": SIZE, "image_size": SIZE, "text_dim": len(WORDS), "labels": 2}
    facts = model.facts("scahn", built, {"bits": BITS}, "small", "none", **sizes)
    made = model.Model(built.eval(), backbone.eval(), facts, WORDS, ("warm", "cold"))
    folder.mkdir()
    model.save(made, folder)
    return made


def draw(path: Path, number: int) -> Path:
    """A drawing that no other number has; wider than high."""
    image = Image.new("RGB", (96, 64), tuple(np.random.default_rng(number).integers(256, size=3).tolist()))
    at = np.random.default_rng(number + 1000).integers(8, 40, size=2).tolist()
    ImageDraw.Draw(image).ellipse((*at, at[0] + 30, at[1] + 20), fill=(255, number, 0))
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path


def add(folder: Path, trained: model.Model, names: list[str]) -> None:
    """Add images, by their paths below the collection's root, or texts."""
    contents = manifest.read(folder)
    if contents.what == "image":
        paths = [contents.path(folder, name) for name in names]
        relaxed = trained.relax_images([read_image(path, SIZE) for path in paths])
        states: list[FileState] | None = [FileState.of(path) for path in paths]
    else:
        relaxed, states = trained.relax_texts(names), None
    kept = embeddings.shrink(relaxed, contents.embeddings)
    with changes.lock(folder):
        changes.add_part(folder, contents, trained.pack(relaxed), names, states, kept)


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    """A model, a collection of 30 drawings that it encoded, and one of texts; never changed by a test."""
    root = tmp_path_factory.mktemp("service")
    trained = make_model(root / "model")
    photos = [f"set{n % 2}/{n:02}.png" for n in range(COUNT)]
    for number, name in enumerate(photos):
        draw(root / "photos" / name, number)
    for what, names in (("image", photos), ("text", ["red circle", "blue square", "green circle red"])):
        folder = root / f"{what}s"
        changes.create(folder, root / "model", what, "model/a/b", root="../photos")
        add(folder, trained, names)
    return trained, root / "images", root / "texts"


def photo(drawn: Drawn, number: int) -> Path:
    """The file of a drawing."""
    return drawn[1].parent / "photos" / f"set{number % 2}" / f"{number:02}.png"


@pytest.fixture(scope="session")
def described(drawn: Drawn) -> Path:
    """A collection of the same drawings that keeps embeddings and has columns; never changed by a test."""
    folder = drawn[1].parent / "described"
    changes.create(folder, drawn[1] / "model", "image", "model/a/b", root="../photos", embeddings="int8")
    names = [f"set{n % 2}/{n:02}.png" for n in range(COUNT)]
    add(folder, drawn[0], names)
    table = pa.table(
        {
            "name": names,
            "caption": [f"drawing {n} of <b>its</b> set" for n in range(COUNT)],
            "labels": [["round", "it's odd"] if n % 2 else ["round"] for n in range(COUNT - 1)] + [None],
            "year": [2020 + n % 3 for n in range(COUNT)],
            "taken at": pa.array([f"2021-01-{n + 1:02}" for n in range(COUNT)]).cast(pa.date32()),
            "url": [
                "javascript:alert(1)" if n == 0 else f"https://example.org/{n}?a=1&b" for n in range(COUNT)
            ],
            "size": [float("nan") if n == 1 else n / 2 for n in range(COUNT)],
        }
    )
    with changes.lock(folder):
        changes.set_columns(folder, manifest.read(folder), table)
    return folder


@pytest.fixture(scope="session")
def snapshots(drawn: Drawn) -> Snapshots:
    """The collection of drawings, open."""
    return open_snapshots(drawn[1])


@pytest.fixture(scope="session")
def described_snapshots(described: Path) -> Snapshots:
    """The collection of drawings with columns, open."""
    return open_snapshots(described)


@pytest.fixture(scope="session")
def client(snapshots: Snapshots) -> Iterator[TestClient]:
    """The service over the drawings."""
    with open_client(snapshots) as made:
        yield made


@pytest.fixture(scope="session")
def described_client(described_snapshots: Snapshots) -> Iterator[TestClient]:
    """The service over the drawings with columns."""
    with open_client(described_snapshots) as made:
        yield made


def open_snapshots(folder: Path) -> Snapshots:
    """A collection, open, as a service has it."""
    return Snapshots(folder, threads=1, cache=GRAPHS)


def open_client(snapshots: Snapshots, **settings: object) -> TestClient:
    """A service over a collection, asked as from this machine."""
    app = create_app(snapshots, Settings(**settings))
    return TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False)


@pytest.fixture
def own(drawn: Drawn, tmp_path: Path) -> Path:
    """A copy of the collection of drawings that a test may change."""
    folder = Path(shutil.copytree(drawn[1], tmp_path / "own"))
    with changes.lock(folder):
        root = str(drawn[1].parent / "photos")
        changes.set_root(folder, manifest.read(folder), root)
    return folder
