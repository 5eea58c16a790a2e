"""A user's data that cannot be used: each mistake ends the run early, with one message that names it."""

import csv
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest
from PIL import Image
from prefect.client.orchestration import get_client
from prefect.client.schemas import FlowRun
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import Log
from prefect.settings import get_current_settings

from infra import stores
from tests.flows.command_line import cmh

pytestmark = pytest.mark.slow

Row = tuple[str, str, str]
USABLE: list[Row] = [(f"{n}.png", f"word{n % 5} red", "a" if n % 2 else "b|c") for n in range(30)]


def data(folder: Path, spoil: Callable[[Path], list[Row]]) -> list[object]:
    """A folder of red squares, spoilt, and the table that `spoil` gives; the options that name them."""
    (folder / "photos").mkdir()
    for name, _, _ in USABLE:
        path = folder / "photos" / name
        Image.new("RGB", (40, 30), "red").save(path)
        path.write_bytes(path.read_bytes() + name.encode())  # no two files are the same, byte by byte
    with (folder / "items.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image", "text", "labels"), *spoil(folder / "photos")])
    size = ["--bits", "16", "--evaluation.bits", "16", "--training.batch-size", "28"]
    return ["--images", folder / "photos", "--items", folder / "items.csv", "--method", "scahn", *size]


def no_labels(_: Path) -> list[Row]:
    return [(image, text, "") for image, text, _ in USABLE]


def one_label(_: Path) -> list[Row]:
    return [(image, text, "cat") for image, text, _ in USABLE]


def other_words(_: Path) -> list[Row]:
    """No text shares a word with another."""
    return [(image, f"word{image[:-4]}", labels) for image, _, labels in USABLE]


def own_labels(_: Path) -> list[Row]:
    return [(image, text, f"label {image}") for image, text, _ in USABLE]


def label_everywhere(_: Path) -> list[Row]:
    return [(image, text, f"{labels}|photo") for image, text, labels in USABLE]


def empty_text(_: Path) -> list[Row]:
    return [*USABLE[:-1], ("29.png", " ", "a")]


def missing_image(photos: Path) -> list[Row]:
    (photos / "7.png").unlink()
    return USABLE


def corrupt_image(photos: Path) -> list[Row]:
    Image.new("RGB", (400, 300), "red").save(photos / "7.jpg")
    (photos / "7.jpg").write_bytes((photos / "7.jpg").read_bytes()[:700])
    return [*USABLE[:7], ("7.jpg", "a broken one", "a"), *USABLE[8:]]


def few(_: Path) -> list[Row]:
    return USABLE


def newest_run() -> FlowRun:
    """What Prefect knows of the last run."""

    async def ask() -> FlowRun:
        async with get_client() as client:
            return max(await client.read_flow_runs(), key=lambda run: run.start_time)

    return anyio.run(ask)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (other_words, "folder: none of the 4 query texts has a word that occurs in the 24 training texts"),
        (own_labels, "folder: every label occurs at most once among the 24 training items"),
        (label_everywhere, "folder: each of the 24 training items has the label 'photo', so all items"),
        (
            empty_text,
            "folder: at least 1 of 30 items are unusable, more than 1%:\n  29.png: its text is empty",
        ),
        (
            missing_image,
            "folder: at least 1 of 30 items are unusable, more than 1%:\n  7.png: image file 7.png is",
        ),
        (corrupt_image, "folder: at least 1 of 30 items are unusable, more than 1%:\n  7.jpg: "),
        (few, "folder has 24 training items, and 16 bits in batches of 28 need at least 28"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_message(
    spoil: Callable[[Path], list[Row]], message: str,
    tmp_path: Path, cmh_home: Path, prefect_server: None,
):  # fmt: skip
    """The message is the last thing said; no features, no training; Prefect has the run as FAILED."""
    called = cmh("run", *data(tmp_path, spoil))
    assert called.status == 2
    said = called.err[called.err.rindex("cmh: ") :]
    assert said.startswith(f"cmh: {message}")
    assert "Traceback" not in said
    kinds = {path.split("/")[0] for path in stores.open_store().sizes("")}
    assert not kinds & {"features", "model", "codes", "report"}
    run = newest_run()
    assert run.state is not None
    assert run.state.type == "FAILED"
    assert message.split("\n")[0] in (run.state.message or "")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (no_labels, "no item has a label, so nothing tells which pairs belong together"),
        (one_label, "there is only one label, 'cat'"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_table_without_labels(
    spoil: Callable[[Path], list[Row]], message: str, tmp_path: Path, cmh_home: Path
) -> None:
    """Refused before any work for a method that learns from labels, with one that does not."""
    called = cmh("run", *data(tmp_path, spoil))
    assert called.status == 2
    assert f"cmh: {message}" in called.err
    assert "--method joint" in called.err
    assert not stores.open_store().sizes("")


def test_fewer_rows_than_a_batch(tmp_path: Path, cmh_home: Path) -> None:
    """Refused before any image is decoded, however the split will be drawn."""
    *options, _ = data(tmp_path, few)
    called = cmh("run", *options, 31)
    assert called.status == 2
    assert "folder has at most 30 training items, and 16 bits in batches of 31 need at least 31" in called.err
    assert not stores.open_store().sizes("")


def test_no_traceback(tmp_path: Path, cmh_home: Path, prefect_server: None, monkeypatch: pytest.MonkeyPatch):
    """In a process of its own `cmh` says nothing but the message, and nothing on stdout."""
    monkeypatch.setenv("PREFECT_API_URL", str(get_current_settings().api.url))
    program = [sys.executable, "-c", "from flows.cli import main; main()"]
    call = [*program, "run", *map(str, data(tmp_path, no_labels))]
    called = subprocess.run(call, capture_output=True, text=True)
    assert called.returncode == 2
    assert called.stdout == ""
    assert "Traceback" not in called.stderr
    assert "cmh: no item has a label" in called.stderr


def test_the_logs_tab_has_our_lines(tmp_path: Path, cmh_home: Path, prefect_server: None) -> None:
    """What was read, before the failure, masked and with the name of its logger."""
    cmh("run", *data(tmp_path, own_labels))
    run = newest_run()

    async def ask() -> list[Log]:
        async with get_client() as client:
            return await client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run.id])))

    until = time.monotonic() + 30  # they are sent in batches
    own: list[Log] = []
    while not own and time.monotonic() < until:
        time.sleep(0.5)
        own = [log for log in anyio.run(ask) if log.name.startswith("flows.")]
    assert any("items.csv: 30 items with 30 labels" in log.message for log in own), own
