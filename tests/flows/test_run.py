"""One resolved run: read once, with absolute paths, and not again by workers that start in other folders."""

import csv
import os
import pickle
from pathlib import Path

import cloudpickle
import numpy as np
import pytest
import ray
import torch
import yaml
from PIL import Image
from ray.cluster_utils import Cluster
from safetensors.torch import save_file

from cmh.networks import backbones
from data_catalog import yaml_files
from flows import deployments, pipeline
from flows.experiment import BackboneSettings, Experiment, TrainingSettings
from flows.resources import Resources
from flows.run import resolve
from infra import artifacts, ray_cluster
from infra.storage import Store
from infra.stores import open_store

ITEMS, SIZE = 96, 32


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder with a catalog entry whose paths are relative to it; the working directory."""
    home = tmp_path / "user"
    (home / "photos").mkdir(parents=True)
    monkeypatch.chdir(home)
    rng = np.random.default_rng(0)
    rows = [("image", "text", "labels")]
    for number in range(ITEMS):
        colour = ("red", "green", "blue")[number % 3]
        pixels = np.zeros((SIZE, SIZE, 3), np.uint8)
        pixels[..., number % 3] = rng.integers(128, 256, size=(SIZE, SIZE))
        Image.fromarray(pixels).save(home / "photos" / f"{number}.png")
        rows.append((f"{number}.png", f"{colour} square {number % 7}", colour))
    with open("items.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    entry = {
        "name": "own", "title": "Own", "reader": "folder", "images": {"size": SIZE},
        "sources": {
            "images": {"kind": "path", "path": "photos"}, "items": {"kind": "path", "path": "items.csv"},
        },
        "split": {"query": 0.2, "validation": 0.2, "train": 1.0},
    }  # fmt: skip
    Path("own.yaml").write_text(yaml.safe_dump(entry))
    return home


def test_paths_of_an_own_entry_are_absolute(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of its sources, and of a home; the run survives a pickle into another folder."""
    run = resolve(Experiment(dataset="own.yaml"))
    again = cloudpickle.loads(cloudpickle.dumps(run))
    monkeypatch.chdir("/")
    assert again == run
    assert {str(source.path) for source in again.entry.sources.values()} == {
        str(folder / "photos"), str(folder / "items.csv"),
    }  # fmt: skip


def test_the_entry_is_read_once(folder: Path, cmh_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many stages a plan has; what is edited meanwhile cannot change what runs."""
    read: list[Path] = []
    original = yaml_files.read
    monkeypatch.setattr(yaml_files, "read", lambda path: read.append(path) or original(path))
    settings = BackboneSettings(name="resnet18", image_size=SIZE)
    pipeline.plan(Experiment(dataset="own.yaml", backbone=settings), Resources(threads=1))
    assert [path.name for path in read] == ["own.yaml"]


@pytest.mark.slow
def test_workers_that_start_elsewhere_train_on_a_relative_entry(
    folder: Path, cmh_home: Path, tmp_path: Path
) -> None:
    """A real Ray whose node was started in another folder, two workers, `own.yaml` relative to ours."""
    torch.manual_seed(0)
    save_file(backbones.load("resnet18", "none").network.state_dict(), "resnet18.safetensors")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    ray_cluster.authenticate()
    os.chdir(elsewhere)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    try:
        os.chdir(folder)
        experiment = Experiment(
            dataset="own.yaml", method="dcmh", bits=16,
            backbone=BackboneSettings(name="resnet18", weights="resnet18.safetensors", image_size=SIZE),
            training=TrainingSettings(epochs=2, batch_size=16),
        )  # fmt: skip
        done = pipeline.start(experiment, Resources(workers=2, threads=2, ray=cluster.address), "model")
    finally:
        ray.shutdown()
        cluster.shutdown()
    model = artifacts.open_artifact(open_store(), done[-1].ref)
    assert [one.ref.kind for one in done] == ["images", "dataset", "features", "model"]
    assert len(model.read_bytes("metrics.jsonl").splitlines()) == 2


@pytest.mark.slow
def test_data_in_a_bucket_become_the_report_of_a_folder(folder: Path, s3_store: Store) -> None:
    """Images and table from a real S3 server; then from here, where nothing is left to do."""
    torch.manual_seed(0)
    save_file(backbones.load("resnet18", "none").network.state_dict(), "resnet18.safetensors")
    for file in [*Path("photos").iterdir(), Path("items.csv")]:
        s3_store.write_bytes(f"mine/{file}", file.read_bytes())

    def report(where: str) -> pipeline.Done:
        experiment = Experiment(
            images=f"{where}photos", items=f"{where}items.csv", method="dcmh", bits=16,
            backbone=BackboneSettings(name="resnet18", weights="resnet18.safetensors", image_size=SIZE),
            training=TrainingSettings(epochs=1, batch_size=16),
        )  # fmt: skip
        return pipeline.start(experiment, Resources(threads=1))[-1]

    made = report(f"{s3_store.url}/mine/")
    assert made.ref.kind == "report"
    again = report("")
    assert (again.ref, again.state) == (made.ref, "cached")


def test_the_default_method_goes_by_whose_data_it_is(folder: Path) -> None:
    """Own data may have no labels; an entry, of the catalog or in a file, is for comparison with papers."""
    assert Experiment().method == Experiment(dataset="own.yaml").method == "scahn"
    assert Experiment(images=folder, items=folder / "items.csv").method == "joint"
    assert Experiment(dataset=str(folder)).method == "joint"
    assert Experiment(dataset=str(folder), method="scahn").method == "scahn"
    assert Experiment(dataset="no-such-thing").method == "scahn"


@pytest.mark.parametrize("name", ["", ".", "model/toy", "/etc/passwd"])
def test_what_is_no_model_to_start_from_is_refused(cmh_home: Path, name: str) -> None:
    """A folder without a model, and what is no address, by what may be given."""
    with pytest.raises(ValueError, match="is no model to start from: give an address"):
        resolve(Experiment(start_from=name))


def test_a_form_knows_nothing_of_the_machine_that_deployed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads and addresses that nobody chose are found where the run starts."""
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
    resources = Resources(workers=2)
    assert resources.ray == "127.0.0.1:6379"
    assert resources.model_dump() == {"workers": 2}
    assert pickle.loads(pickle.dumps(resources)).ray == "127.0.0.1:6379"
    form = deployments.method_flow("scahn").parameters.model_dump_for_openapi()
    assert form["properties"]["resources"]["default"] == {}
    assert "default" not in form["definitions"]["Resources"]["properties"]["threads"]
