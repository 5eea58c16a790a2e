"""One whole run of the pipeline for many tests: a user's folder, through Prefect, Dask and Ray."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageDraw
from prefect.testing.utilities import prefect_test_harness
from safetensors.torch import save_file

from cmh.networks import backbones
from flows import engines
from flows.resources import Resources
from infra import dask_cluster
from infra.storage import Store
from infra.stores import open_store
from tests.flows.command_line import Called, cmh

COLOURS = ("red", "green", "blue", "orange")
SHAPES = ("circle", "square", "triangle")
ITEMS = 120
BITS = 16


@dataclass(frozen=True)
class Workspace:
    """A user's folder: drawings, a table of their texts and labels, weights of a backbone, and CMH_HOME."""

    folder: Path

    @property
    def images(self) -> Path:
        return self.folder / "drawings"

    @property
    def items(self) -> Path:
        return self.folder / "items.csv"

    @property
    def weights(self) -> Path:
        return self.folder / "resnet18.safetensors"

    @property
    def store(self) -> Store:
        return open_store(str(self.folder / "home" / "store"))

    @property
    def data(self) -> list[object]:
        """The options that name the user's own data."""
        return ["--images", self.images, "--items", self.items]

    @property
    def small(self) -> list[object]:
        """The options of a small run by a method that needs no text network to be fetched."""
        return ["--method", "scahn", *self.sized]

    @property
    def sized(self) -> list[object]:
        """The options that make a run of any method small."""
        return [
            *("--bits", BITS, "--training.epochs", 20, "--training.batch-size", 16, "--threads", 1),
            *("--backbone.name", "resnet18", "--backbone.weights", self.weights, "--backbone.image-size", 32),
        ]


@pytest.fixture(scope="session", autouse=True)
def _imports_of_workers() -> None:
    """Have what workers import loaded once, as a run does."""
    engines.prepare(Resources())


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """A Prefect server with an empty database of its own, until the session ends."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
        patch.setenv("DO_NOT_TRACK", "1")
        with prefect_test_harness(server_startup_timeout=500):
            yield


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The folder, before anything was run."""
    workspace = Workspace(tmp_path_factory.mktemp("user"))
    workspace.images.mkdir()
    rows = [_draw(workspace.images, number) for number in range(ITEMS)]
    with workspace.items.open("w", newline="") as file:
        csv.writer(file).writerows([("image", "text", "labels"), *rows])
    torch.manual_seed(0)
    save_file(backbones.load("resnet18", "none").network.state_dict(), workspace.weights)
    return workspace


def _draw(folder: Path, number: int) -> tuple[str, str, str]:
    """One drawing, and its row of the table."""
    colour, shape = COLOURS[number % len(COLOURS)], SHAPES[number % len(SHAPES)]
    inset, name = 6 + number % 9, f"{number:03}.png"
    box = (inset, inset, 64 - inset, 64 - inset)
    image = Image.new("RGB", (64, 64), "white")
    draw = ImageDraw.Draw(image)
    if shape == "circle":
        draw.ellipse(box, fill=colour)
    elif shape == "square":
        draw.rectangle(box, fill=colour)
    else:
        draw.polygon([(box[0], box[3]), (32, box[1]), (box[2], box[3])], fill=colour)
    image.save(folder / name)
    return name, f"{colour} {shape} number {number % 9}", f"{colour}|{shape}"


@pytest.fixture(scope="session")
def first(drawn: Workspace, prefect_server: None) -> Called:
    """`cmh run` on that folder, by which every artifact was computed.  About a minute."""
    with pytest.MonkeyPatch.context() as patch:
        _at_home(drawn, patch)
        return cmh("run", *drawn.data, *drawn.small, "--json")


@pytest.fixture
def workspace(drawn: Workspace, first: Called, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """The folder and its CMH_HOME after the first run."""
    assert first.status == 0, first.err
    _at_home(drawn, monkeypatch)
    return drawn


def _at_home(workspace: Workspace, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("CMH_HOME", str(workspace.folder / "home"))
    patch.delenv("CMH_STORE", raising=False)


@pytest.fixture(scope="session")
def dask_scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Dask cluster of two workers for tests that are not about starting one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CMH_HOME", str(tmp_path_factory.mktemp("dask")))
        with dask_cluster.connect(workers=2, threads=1, dashboard="127.0.0.1:0") as client:
            yield client.scheduler.address
