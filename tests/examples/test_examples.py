"""The examples, run as their readers run them; what they print is true."""

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from cmh import collection, model
from cmh.networks import backbones
from data_catalog import catalog

EXAMPLES = Path(__file__).parents[2] / "examples"
WORDS = ("blue", "red", "square")


def printed(*arguments: object, folder: Path = EXAMPLES) -> str:
    """Run a script in a process of its own; what it printed."""
    command = [sys.executable, *map(str, arguments)]
    called = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert called.returncode == 0, called.stderr
    return called.stdout


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A collection of six images by an untrained model."""
    torch.manual_seed(0)
    backbone = backbones.load("resnet18", "none")
    settings = {"bits": 16}
    method = model.build("scahn", settings, backbone, frozen=True, text_dim=3, labels=2)
    sizes = {"grid": 1, "stored_size": 32, "image_size": 32, "text_dim": 3, "labels": 2, "length": None}
    facts = model.facts("scahn", method, settings, "resnet18", "none", **sizes)
    trained = model.Model(method.eval(), backbone.eval(), facts, WORDS, ("a", "b"))
    folder = tmp_path / "own"
    (folder / "model").mkdir(parents=True)
    model.save(trained, folder / "model")
    about = {"format": collection.FORMAT, "what": "image", "model": "model/by-hand/0"}
    (folder / "collection.json").write_text(json.dumps(about))
    rng, names, images = np.random.default_rng(0), [], []
    for number in range(6):
        images.append(rng.integers(256, size=(32, 32, 3), dtype=np.uint8))
        names.append(str(tmp_path / f"{number}.png"))
        Image.fromarray(images[-1]).save(names[-1])
    collection.write_part(folder, trained.encode_images(images), names)
    return folder


def test_a_collection_is_searched_by_words_and_by_an_image(own: Path) -> None:
    """An image of the collection finds itself, at distance 0; words find five images."""
    image = own.parent / "3.png"
    lines = printed(EXAMPLES / "search.py", own, image).splitlines()
    assert len(lines) == 5
    assert any(f"{image}  (0 of 16 bits" in line for line in lines)
    assert len(printed(EXAMPLES / "search.py", own, "red square").splitlines()) == 5


def test_codes_from_elsewhere_are_measured() -> None:
    """Codes with a fifth of their bits flipped: far above a random ranking, within their interval."""
    found = re.search(
        r"MAP (\S+) \[(\S+), (\S+)\], of a random ranking (\S+)", out := printed("metrics_of_codes.py")
    )
    assert found
    mean, low, high, random = map(float, found.groups())
    assert low <= mean <= high
    assert mean > random + 0.5
    assert len(re.findall(r"^recall", out, re.M)) == 11


def test_an_own_method_learns() -> None:
    """In both directions well above chance, of items that it was not trained on."""
    scores = re.findall(r"MAP (\S+), chance (\S+)", printed("own_method.py"))
    assert len(scores) == 2
    assert all(float(value) > float(chance) + 0.25 for value, chance in scores)


def test_an_own_dataset_is_as_its_entry_says(tmp_path: Path) -> None:
    """Sixty pictures with texts and labels, read by the reader that the entry names."""
    from cmh.data import readers

    runpy.run_path(str(EXAMPLES / "own_dataset" / "make_drawings.py"))["main"](tmp_path)
    entry = catalog.load(EXAMPLES / "own_dataset" / "drawings.yaml")
    paths = {name: tmp_path / source.path for name, source in entry.sources.items()}
    records = list(readers.load(entry.reader).read(paths, entry.options))
    assert len(records) == 60
    assert records[0].text == "a red circle, number 0"
    assert records[0].traits["labels"] == ("red", "circle")


def test_the_notebook_draws_its_figures() -> None:
    """Every cell runs; three figures with something drawn in them; no output is kept in the file."""
    mpl.use("Agg")
    cells = json.loads((EXAMPLES / "figures.ipynb").read_text())["cells"]
    names: dict[str, Any] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            exec("".join(cell["source"]), names)
    for name in ("map_by_bits", "precision_recall", "precision_at_n"):
        assert isinstance(names[name], Figure)
        assert any(axis.lines for axis in names[name].axes)
