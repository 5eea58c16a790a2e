"""The command line after a run: its codes are searched, its failures are followed."""

import re
from pathlib import Path

import pytest
from PIL import Image

from tests.flows.command_line import Called, cmh
from tests.flows.conftest import BITS, ITEMS, Workspace


@pytest.fixture
def codes(first: Called) -> list[str]:
    """The option that names the codes of the first run; other tests may have made newer ones."""
    return ["--codes", next(row["address"] for row in first.rows if row["stage"] == "codes")]


@pytest.mark.slow
def test_search_by_words(workspace: Workspace, codes: list[str], tmp_path: Path):
    """Ten images, nearest first by either order; most have the label; the contact sheet shows them."""
    sheet = tmp_path / "found.png"
    hits = cmh("search", "red circle", *codes, "--sheet", sheet, "--json").rows
    assert [hit["rank"] for hit in hits] == list(range(1, 11))
    similarities = [hit["similarity"] for hit in hits]
    assert similarities == sorted(similarities, reverse=True)
    by_bits = cmh("search", "red circle", *codes, "--order", "hamming", "--json").rows
    distances = [hit["distance"] for hit in by_bits]
    assert distances == sorted(distances)
    assert 0 <= distances[0] <= distances[-1] <= BITS
    right = sum("red" in hit["text"] or "circle" in hit["text"] for hit in hits)
    assert right >= 7  # half of the drawings are one or the other
    with Image.open(sheet) as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 100
    printed = cmh("search", "red circle", *codes, "--top", 3).out
    assert all(hit["id"] in printed for hit in hits[:3])
    assert hits[3]["id"] not in printed


@pytest.mark.slow
def test_search_by_image(workspace: Workspace, codes: list[str]):
    """Words and images for a drawing of the database: itself is among the nearest."""
    rows = cmh("search", "--image", workspace.images / "003.png", *codes, "--top", ITEMS, "--json").rows
    words = [row["id"] for row in rows if not row["text"]]
    found = {row["id"]: row["distance"] for row in rows if row["text"]}
    assert {"red", "circle", "triangle"} <= set(words)
    assert len(found) == ITEMS  # the queries of the split too
    assert found["003.png"] <= sorted(found.values())[10]


@pytest.mark.slow
def test_search_for_unknown_words(workspace: Workspace, codes: list[str]):
    """A text of which the model knows no word is refused, with words that it knows."""
    called = cmh("search", "xylophone", *codes)
    assert called.status == 2
    assert "no word of 'xylophone'" in called.err
    assert "such as" in called.err


@pytest.mark.slow
def test_a_training_gone_wrong_can_be_followed(workspace: Workspace):
    """One line with phase, step, epoch and what to do; where logs lie; the worker's traceback, on request."""
    settings = '{"lr": 1e30}'
    command = ["run", *workspace.data, *workspace.sized, "--method", "chn", "--settings", settings]
    called = cmh(*command)
    assert called.status == 2
    message, *rest = called.err[called.err.index("cmh: ") :].splitlines()
    assert re.search(r"in phase '\w+', step \d+ of epoch \d+ .*lower the learning rate", message)
    places = dict(line.strip().split(": ", 1) for line in rest if line.startswith("  "))
    assert "Ray" not in places  # it was not asked for
    assert places["Prefect"].startswith("prefect flow-run inspect ")
    assert "docs/debugging.md" in rest[-1]
    assert not any("Traceback" in line for line in (message, *rest))
    assert not any("chn" in row["address"] for row in cmh("ls", "model", "--json").rows)
    whole = cmh("--debug", *command, "--ray", "local")
    assert whole.status == 2
    logs = re.search(r"^ +Ray: (\S+)", whole.err, re.MULTILINE)
    assert logs is not None
    assert Path(logs[1]).is_dir()
    assert "Traceback on the worker of rank 0" in whole.err
    assert "training/trainer.py" in whole.err
