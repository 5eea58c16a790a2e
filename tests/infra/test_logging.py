"""What is logged is readable, as text or JSON, and holds no secret; progress goes without a terminal too."""

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra import logging as cmh_logging
from infra.logging import mask, progress, set_up
from infra.workers import call_within

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """The loggers as they were."""
    loggers = [logging.getLogger(name) for name in (None, *cmh_logging.OWN)]
    before = [(logger, logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    yield
    for logger, handlers, level, propagate in before:
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("https://user:hunter2@host/path", "hunter2"),
        ("key AKIAIOSFODNN7EXAMPLE used", "AKIAIOSFODNN7EXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG", "wJalrXUtnFEMI"),
        ("{'aws_secret_access_key': 'wJalrXUtnFEMI'}", "wJalrXUtnFEMI"),
        ("GET /o?X-Amz-Signature=deadbeef01&x=1", "deadbeef01"),
        ("Authorization: Bearer abc.def-123", "abc.def-123"),
        ("authorization: basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
        ('"token": "s3cr3t"', "s3cr3t"),
        ("password: hunter2, next", "hunter2"),
        ("hf_abcdefghijklmnopqrst", "hf_abcdefghijklmnopqrst"),
    ],
)
def test_secrets_are_masked(text: str, secret: str) -> None:
    """Keys, tokens and passwords in their usual disguises do not get through."""
    assert secret not in mask(text)
    assert "***" in mask(text)


@pytest.mark.parametrize(
    "text", ["epoch=3 map=0.51", "s3://bucket/codes/toy", "tokens 12 and keys", "tokenizer: none"]
)
def test_the_rest_is_left(text: str) -> None:
    """Ordinary lines stay as they are."""
    assert mask(text) == text


def test_known_variables_are_masked_wherever_they_appear(monkeypatch: pytest.MonkeyPatch) -> None:
    """The value of a secret variable is masked even where nothing around it says that it is one."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "quite-ordinary-words")
    assert mask("it failed with quite-ordinary-words in it") == "it failed with *** in it"


def test_json_lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """With CMH_LOG=json each line is an object with the fields, the traceback in it, and no secret."""
    monkeypatch.setenv("CMH_LOG", "json")
    set_up()
    log = logging.getLogger("cmh.test")
    log.info("epoch %d", 3, extra={"fields": {"map": 0.5}})
    try:
        raise ValueError("token=hunter2")
    except ValueError:
        log.exception("failed")
    first, second = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert first["message"] == "epoch 3"
    assert (first["level"], first["logger"], first["map"]) == ("INFO", "cmh.test", 0.5)
    assert "ValueError: token=***" in second["traceback"]


def test_text_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal a line has time, level, logger, message and key=value."""
    set_up(as_json=False)
    logging.getLogger("test").warning("epoch", extra={"fields": {"map": 0.5}})
    line = capsys.readouterr().err
    assert line.endswith("WARNING test: epoch map=0.5\n")


def test_progress_without_a_terminal(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Progress becomes log lines: one per interval, and one at the end with all that was done."""
    monkeypatch.setattr(cmh_logging, "LINE_EVERY", 0.0)
    caplog.set_level(logging.INFO)
    with progress("encoding", total=3) as advance:
        for _ in range(3):
            advance(1)
    assert [record.fields["done"] for record in caplog.records] == [1, 2, 3]


def test_progress_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal there is a bar that ends at the total."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    with progress("encoding", total=3) as advance:
        advance(3)
    assert "3/3" in capsys.readouterr().err


def test_lines_do_not_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Escapes of a file name are replaced, in messages and in fields."""
    set_up(as_json=False)
    logging.getLogger("infra.test").info("\x1b[2Jname \x9b31m", extra={"fields": {"file": "a\rb\x07"}})
    said = capsys.readouterr().err
    assert said.rstrip("\n").isprintable()
    assert "[2Jname" in said


TELLS = """
import sys
from infra import dask_cluster, logging, process_pool
from tests.infra import pool_work

def main():
    with logging.within(run="scahn-emoji-64-3f2a", stage="images", artifact="images/emoji/0"):
        if sys.argv[1] == "pool":
            with process_pool.start(1) as pool:
                pool.map_parts(pool_work.tell, [7])
        else:
            with dask_cluster.connect(workers=1, dashboard="127.0.0.1:0") as client:
                dask_cluster.DaskWorkers(client).map_parts(pool_work.tell, [7])

if __name__ == "__main__":
    main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["pool", "dask"])
def test_lines_of_workers_tell_what_they_work_for(tmp_path: Path, engine: str) -> None:
    """As JSON, with run, stage and artifact of whoever sent the work."""
    (tmp_path / "tells.py").write_text(TELLS)
    environment = os.environ | {"CMH_LOG": "json", "CMH_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(tmp_path / "tells.py"), engine]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=200)
    (line,) = [line for line in done.stderr.splitlines() if '"made"' in line]
    told = json.loads(line)
    assert (told["run"], told["stage"]) == ("scahn-emoji-64-3f2a", "images")
    assert (told["artifact"], told["number"], told["level"]) == ("images/emoji/0", 7, "INFO")


def test_what_a_block_tells_ends_with_it(capsys: pytest.CaptureFixture[str]) -> None:
    """Blocks within each other, another thread, and a line's own fields, which go before."""
    set_up(as_json=True)
    log = logging.getLogger("cmh.work")
    with cmh_logging.within(run="a", stage="images"):
        with cmh_logging.within(stage="model"):
            thread = threading.Thread(target=log.info, args=("inner",))
            thread.start()
            thread.join()
        log.info("outer", extra={"fields": {"run": "b"}})
    log.info("after")
    inner, outer, after = map(json.loads, capsys.readouterr().err.splitlines())
    assert (inner["run"], inner["stage"]) == ("a", "model")
    assert (outer["run"], outer["stage"]) == ("b", "images")
    assert "run" not in after
    assert {"time", "level", "logger", "message", "host", "pid"} == after.keys()


def test_threads_of_a_worker_tell_what_each_works_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks of two threads overlap, as those of two runs do on one of somebody's Dask workers."""
    monkeypatch.setenv("CMH_LOG", "json")
    cmh_logging.set_up_worker()
    log = logging.getLogger("cmh.work")
    both = threading.Barrier(2, timeout=20)

    def work(part: str) -> None:
        both.wait()
        log.info(part)
        both.wait()

    calls = [({"run": run}, work, run) for run in ("a", "b")]
    threads = [threading.Thread(target=call_within, args=one) for one in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert sorted((line["message"], line["run"]) for line in lines) == [("a", "a"), ("b", "b")]
