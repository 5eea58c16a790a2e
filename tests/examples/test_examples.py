"""The examples, run as their readers run them; what they print is true."""

import csv
import json
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch.nn.functional import adaptive_avg_pool2d

from cmh import model
from cmh.collection_files import changes, manifest
from cmh.collection_files.parts import FileState
from cmh.data import readers
from cmh.data.batches import to_stages
from cmh.data.images import read_image
from cmh.data.items import Items
from cmh.data.texts import bag_of_words
from cmh.networks import backbones
from cmh.training import solver
from data_catalog import catalog

EXAMPLES = Path(__file__).parents[2] / "examples"
OWN = EXAMPLES / "own_dataset"
WORDS = ("blue", "circle", "green", "red", "square", "triangle", "yellow")
BITS, SIZE = 16, 64


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the drawings and their table."""
    folder = tmp_path_factory.mktemp("own")
    runpy.run_path(str(OWN / "make_drawings.py"))["main"](folder)
    return folder


@pytest.fixture(scope="module")
def table(dataset: Path) -> list[dict[str, str]]:
    """The rows of the table, with the images' whole paths."""
    with (dataset / "items.csv").open(encoding="utf-8", newline="") as file:
        return [row | {"image": str(dataset / "drawings" / row["image"])} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def trained(table: list[dict[str, str]]) -> model.Model:
    """SCM on these drawings, as features of a network with random weights."""
    torch.manual_seed(0)
    backbone = backbones.load("resnet18", "none").eval()
    pixels = np.stack([read_image(Path(row["image"]), SIZE) for row in table])
    with torch.inference_mode():
        stages = backbone(*to_stages((pixels,), torch.device("cpu")))
        features = tuple(adaptive_avg_pool2d(stage, 1).numpy() for stage in stages)
    label = np.array([[word in row["labels"].split("|") for word in WORDS] for row in table], np.uint8)
    text = bag_of_words([row["text"] for row in table], WORDS)
    sizes: dict[str, Any] = {"text_dim": len(WORDS), "labels": len(WORDS)}
    method = model.build("scm", {"bits": BITS}, backbone, frozen=True, **sizes)
    solver.fit(method, Items(features, text, label, np.arange(len(table))), seed=0)
    sizes |= {"grid": 1, "stored_size": SIZE, "image_size": SIZE, "length": None}
    facts = model.facts("scm", method, {"bits": BITS}, "resnet18", "none", **sizes)
    return model.Model(method.eval(), backbone, facts, WORDS, WORDS)


def collect(trained: model.Model, what: str, codes_NP: Any, names: list[str], folder: Path) -> Path:
    """A collection as `cmh index` makes it."""
    (made := folder.with_name("trained")).mkdir()
    model.save(trained, made)
    changes.create(folder, made, what, "model/by-hand/0")
    files = [FileState.of(Path(name)) for name in names] if what == "image" else None
    changes.add_part(folder, manifest.read(folder), codes_NP, names, files)
    return folder


@pytest.fixture
def images(trained: model.Model, table: list[dict[str, str]], tmp_path: Path) -> Path:
    """A collection of the drawings."""
    names = [row["image"] for row in table]
    codes_NP = trained.encode_images([read_image(Path(name), SIZE) for name in names])
    return collect(trained, "image", codes_NP, names, tmp_path / "images")


def search(*arguments: object) -> None:
    """Run search.py in this process, which has torch already."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["search.py", *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / "search.py"), run_name="__main__")


def hits(printed: str) -> list[tuple[str, int]]:
    """Names and distances of the hits, whose ranks are 1, 2, ..."""
    found = re.findall(rf"^(\d+)\. (.*)  \((\d+) of {BITS} bits differ\)$", printed, re.M)
    assert [int(rank) for rank, _, _ in found] == [1, 2, 3, 4, 5]
    assert len(printed.splitlines()) == 5
    return [(name, int(distance)) for _, name, distance in found]


def kind(row: dict[str, str]) -> str:
    """Colour and shape of a drawing."""
    return row["labels"].replace("|", " ")


@pytest.mark.parametrize("words", ["red circle", "blue triangle", "a yellow square, please"])
def test_words_find_the_drawings_that_they_name(
    images: Path, table: list[dict[str, str]], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The nearest is of that colour and shape, as are most of the five."""
    search(images, words)
    found = hits(capsys.readouterr().out)
    kinds = {row["image"]: kind(row) for row in table}
    right = [kinds[name] in words for name, _ in found]
    assert right[0]
    assert sum(right) >= 4


def test_an_image_finds_itself_and_its_like(
    images: Path, table: list[dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    """At most two bits away itself: projections near 0 round by the batch size; its like come first."""
    row = table[17]
    search(images, row["image"])
    found = hits(capsys.readouterr().out)
    kinds = {row["image"]: kind(row) for row in table}
    assert dict(found)[row["image"]] <= 2
    assert kinds[found[0][0]] == kind(row)


def test_texts_are_searched_too(
    trained: model.Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a collection of texts the hits are the texts."""
    texts = ["red circle", "blue square", "green triangle", "yellow circle", "blue circle", "red triangle"]
    folder = collect(trained, "text", trained.encode_texts(texts), texts, tmp_path / "texts")
    search(folder, "green triangle")
    found = hits(capsys.readouterr().out)
    assert found[0] == ("green triangle", 0)
    assert {name for name, _ in found} < set(texts)


def test_what_cannot_be_searched_is_said_in_words(images: Path, tmp_path: Path) -> None:
    """No traceback: how to call it, that there is no collection, which words there are."""
    for arguments, message in (
        ([], "python examples/search.py my-photos"),
        ([tmp_path, "red"], "is no collection; make one with"),
        ([images, "zebra"], "no word of 'zebra'"),
        ([images, images / "collection.json"], "not an image of a kind that is read"),
    ):
        with pytest.raises(SystemExit, match=re.escape(message)):
            search(*arguments)


def test_codes_from_elsewhere_are_measured() -> None:
    """Codes with a fifth of their signs turned: far above a random ranking, each mean within its interval."""
    command = [sys.executable, "metrics_of_codes.py"]
    printed = subprocess.run(command, cwd=EXAMPLES, capture_output=True, text=True, check=True).stdout
    rows = re.findall(r"^(\S+)(?: (\S+))? +(\S+) \[(\S+), (\S+)\]", printed, re.M)
    mean, low, high = np.array([row[2:] for row in rows], float).T
    assert [row[0] for row in rows] == ["MAP", "precision@100"] + 11 * ["recall"]
    assert [float(row[1]) for row in rows[2:]] == [n / 10 for n in range(11)]
    assert (low < mean).all()
    assert (mean < high).all()
    assert (high - low < 0.1).all()
    random, chance = map(float, re.findall(r"(?:random ranking|by chance) (\S+)", printed))
    assert abs(random - 0.1) < 0.01
    assert abs(chance - 0.1) < 0.01
    assert mean[0] > random + 0.5
    assert mean[1] > chance + 0.5
    assert (np.diff(mean[2:]) < 0).all()  # precision falls as recall grows
    # Eleven levels of the interpolated curve, in the mean a little above MAP.
    assert abs(mean[2:].mean() - mean[0]) < 0.1


def test_an_own_method_learns(capsys: pytest.CaptureFixture[str]) -> None:
    """In both directions well above chance, of items that it was not trained on; chance is a fifth."""
    runpy.run_path(str(EXAMPLES / "own_method.py"), run_name="__main__")
    scores = re.findall(r"MAP (\S+), chance (\S+)", capsys.readouterr().out)
    assert len(scores) == 2
    assert all(abs(float(chance) - 0.2) < 0.02 for _, chance in scores)
    assert all(float(value) > float(chance) + 0.4 for value, chance in scores)


def test_an_own_dataset_is_as_its_entry_says(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixty images with texts and labels, by the reader that the entry names; twelve kinds, five of each."""
    entry = catalog.load(OWN / "drawings.yaml")
    assert entry.differing_counts(records=60) == ""
    paths = {name: dataset / source.path for name, source in entry.sources.items()}
    records = list(readers.load(entry.reader).read(paths, entry.options))
    assert len(records) == 60
    assert records[0].text == "a large red circle"
    assert records[0].traits["labels"] == ("red", "circle")
    kinds = [record.traits["labels"] for record in records]
    assert {kinds.count(one) for one in kinds} == {5}
    assert len({record.image() for record in records}) == 60  # no drawing twice


def test_the_table_beside_the_script_is_what_it_writes(dataset: Path) -> None:
    """Readers see the form of the table before they run anything."""
    assert (OWN / "items.csv").read_bytes() == (dataset / "items.csv").read_bytes()


@pytest.mark.slow
def test_the_commands_of_the_readme_are_understood(
    dataset: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each `cmh run` of it, up to the plan: entry, method, options and table are accepted."""
    from tests.flows.command_line import cmh  # imports every engine

    monkeypatch.setenv("CMH_HOME", str(tmp_path))
    monkeypatch.delenv("CMH_STORE", raising=False)
    monkeypatch.chdir(dataset)
    Path("drawings.yaml").write_bytes((OWN / "drawings.yaml").read_bytes())
    runs = re.findall(r"^cmh (run .*?)(?:  +#.*)?$", (OWN / "README.md").read_text("utf-8"), re.M)
    assert len(runs) == 3
    for run in runs:
        called = cmh(*shlex.split(run), "--dry-run", "--json")
        assert called.status == 0, called.err
        assert [row["stage"] for row in called.rows][-1] == "report"


def test_the_notebook_draws_its_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every cell runs; longer codes lie above shorter ones and chance; no output is kept in the file."""
    mpl.use("Agg")
    book = json.loads((EXAMPLES / "figures.ipynb").read_text("utf-8"))
    assert (book["nbformat"], book["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in book["cells"]}) == len(book["cells"])
    cells = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
    # Figures that pyplot does not know are shown only where this was said.
    assert cells[0]["source"][0] == "%matplotlib inline\n"
    names: dict[str, Any] = {}
    for cell in cells:
        assert cell["outputs"] == []
        assert cell["execution_count"] is None
        exec("".join(line for line in cell["source"] if not line.startswith("%")), names)
    axes = {}
    for name in ("map_by_bits", "precision_recall", "precision_at_n"):
        assert isinstance(names[name], Figure)
        (axes[name],) = names[name].axes
    bars = axes["map_by_bits"].containers[0].lines[0]
    assert bars.get_xdata().tolist() == [8, 16, 32, 64]
    assert (np.diff(bars.get_ydata()) > 0).all()
    assert bars.get_ydata()[0] > 0.1
    for name in ("precision_recall", "precision_at_n"):
        curves = drawn(axes[name])
        assert list(curves) == ["8 bits", "16 bits", "32 bits", "64 bits", "chance"]
        heights = [curves[f"{bits} bits"].mean() for bits in (8, 16, 32, 64)]
        assert heights == sorted(heights)
        assert heights[0] > curves["chance"].mean()


def drawn(axis: Axes) -> dict[str, Any]:
    """Heights of the lines by label."""
    return {str(line.get_label()): np.asarray(line.get_ydata(), float) for line in axis.lines}
