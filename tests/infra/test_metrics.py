"""Counters of many runs in one file, which Prometheus can read at any time."""

import multiprocessing
import time
import urllib.request
from pathlib import Path

import pytest
from prometheus_client import start_http_server
from prometheus_client.parser import text_string_to_metric_families

from infra import metrics, processes


@pytest.fixture(autouse=True)
def _nothing_is_waiting(cmh_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What other tests of this process have counted is not counted here."""
    monkeypatch.setattr(metrics, "_added", {})
    monkeypatch.setattr(metrics, "_set", {})


def _values(text: str) -> dict[tuple[str, str], float]:
    return {
        (sample.name, "/".join(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def _count(times: int) -> None:
    for _ in range(times):
        metrics.add(metrics.ITEMS, 2, stage="images")
        metrics.write()


def test_runs_at_once_lose_no_count(cmh_home: Path) -> None:
    """Four processes add to one file; it is whole whenever it is read."""
    context = multiprocessing.get_context("fork")
    runs = [context.Process(target=_count, args=(25,)) for _ in range(4)]
    for run in runs:
        run.start()
    while any(run.is_alive() for run in runs):
        assert _values(metrics.text().decode()).get(("cmh_items_total", "images"), 0) % 2 == 0
    for run in runs:
        run.join()
    assert _values(metrics.file().read_text())["cmh_items_total", "images"] == 200
    assert sorted(path.name for path in metrics.file().parent.iterdir()) == ["cmh.lock", "cmh.prom"]


def test_counters_go_on_and_gauges_are_replaced() -> None:
    """As a second run finds them; names of data may hold anything."""
    name = 'my "photos"\\\n2'
    for loss in (0.5, 0.25):
        metrics.add(metrics.REJECTED, 3, dataset=name)
        metrics.put(metrics.LOSS, loss, method="scahn", dataset=name, bits=64)
        metrics.write()
    metrics.add(metrics.REJECTED, 1, dataset="no UTF-8: \udcff, and \r")  # as a folder may be called
    metrics.write()
    values = _values(metrics.text().decode())
    assert values["cmh_rejected_items_total", "no UTF-8: \ufffd, and \ufffd"] == 1
    assert values["cmh_rejected_items_total", name] == 6
    assert values["cmh_loss", f"64/{name}/scahn"] == 0.25
    assert values["cmh_last_change_timestamp_seconds", ""] > 1e9


def test_a_damaged_file_and_a_full_disk_end_no_run(caplog: pytest.LogCaptureFixture) -> None:
    """The one begins anew, and is said; with the other the counts wait."""
    metrics.file().parent.mkdir(parents=True)
    metrics.file().write_text('cmh_items_total{stage="ima')
    metrics.add(metrics.ITEMS, 1, stage="images")
    metrics.write()
    assert "begin anew" in caplog.text
    metrics.file().unlink()
    metrics.file().mkdir()  # nothing can be put in its place
    metrics.add(metrics.ITEMS, 1, stage="images")
    metrics.write()
    metrics.file().rmdir()
    metrics.write()
    assert _values(metrics.text().decode())["cmh_items_total", "images"] == 1


def test_what_is_served_is_new_each_time() -> None:
    """Prometheus asks a port that outlives the runs."""
    port = processes.free_port(20000, set())
    server, thread = start_http_server(port, processes.HERE, metrics.registry())
    try:
        for total in (1, 2):
            metrics.add(metrics.RETRIES, of="run")
            metrics.write()
            with urllib.request.urlopen(f"http://{processes.HERE}:{port}/metrics") as answer:
                assert _values(answer.read().decode())["cmh_retries_total", "run"] == total
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_no_run_waits_for_one_that_holds_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a stopped one: the counts wait, and the work goes on."""
    monkeypatch.setattr(metrics, "_written", 0.0)
    with metrics._alone(metrics.file().with_suffix(".lock"), patience=0.0):
        began = time.monotonic()
        metrics.add(metrics.ITEMS, 1, stage="images")
        assert time.monotonic() - began < metrics._PATIENCE / 2
        assert not metrics.file().exists()
    metrics.write()
    assert _values(metrics.text().decode())["cmh_items_total", "images"] == 1
