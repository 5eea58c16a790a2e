"""Real processes: parts in order, whoever dies, one load per process, nobody left."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from infra import process_pool
from infra.process_pool import ProcessPool
from tests.infra import pool_work
from tests.infra.pool_work import Mark

ROOT = Path(__file__).parents[2]


@pytest.fixture
def pool() -> Iterator[ProcessPool]:
    """Two processes."""
    with process_pool.start(2) as pool:
        yield pool


def test_results_keep_the_order_of_the_parts(pool: ProcessPool) -> None:
    """Two processes have a share, and what is done is told as it ends."""
    done: list[int] = []
    results = pool.map_parts(pool_work.square, range(12), on_done=lambda part, _: done.append(part))
    assert [square for square, _ in results] == [n * n for n in range(12)]
    assert len({pid for _, pid in results}) == 2
    assert sorted(done) == list(range(12))


def test_parts_of_a_process_that_died_are_made_again(
    pool: ProcessPool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """By one process, as memory was short; it is said."""
    marks = [Mark(tmp_path / "died", number) for number in range(6)]
    assert pool.map_parts(pool_work.die_once, marks) == list(range(6))
    assert pool.count == 1
    assert "a process died over" in caplog.text
    assert pool.map_parts(pool_work.fail_at_three, [1, 2]) == [1, 2]


def test_a_part_that_kills_every_process_is_an_error(pool: ProcessPool) -> None:
    """It is named, with the likely cause."""
    with pytest.raises(ConnectionError, match=r"3 processes died over shard 7, .* lack of memory"):
        pool.map_parts(pool_work.die, [7], describe="shard {}".format)


def test_an_error_names_the_part(pool: ProcessPool) -> None:
    """What a part raised arrives with its type; the pool works on."""
    with pytest.raises(ValueError, match="three is not allowed") as failure:
        pool.map_parts(pool_work.fail_at_three, range(6), describe="shard {}".format)
    assert failure.value.__notes__ == ["while working on shard 3"]
    assert pool.map_parts(pool_work.fail_at_three, [1, 2]) == [1, 2]


def test_an_object_is_loaded_once_in_each_process(pool: ProcessPool) -> None:
    """And not known once its block has ended."""
    with pool.on_every_worker(pool_work.load) as name:
        found = pool.map_parts(partial(pool_work.loaded, name), range(12))
        assert len(set(found)) == len({pid for pid, _ in found}) == 2
    with pytest.raises(RuntimeError, match="no object"):
        pool.map_parts(partial(pool_work.loaded, name), [0])


def test_functions_that_cannot_be_imported_are_refused(pool: ProcessPool) -> None:
    """A lambda would be another function over there, or none."""
    with pytest.raises(ValueError, match="cannot be imported by the workers"):
        pool.map_parts(lambda part: part, [1])


def test_processes_work_with_the_settings_of_this_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Variables and folder are this process's own, threads are one, although another was forked."""
    monkeypatch.setenv("CMH_HOME", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.chdir(tmp_path)
    with process_pool.start(1) as pool:
        assert pool.map_parts(pool_work.environment, ["CMH_HOME"]) == [
            (str(tmp_path), "1", 1, str(tmp_path.resolve()))
        ]


def test_an_error_here_ends_the_processes_at_once(tmp_path: Path) -> None:
    """Nobody waits for what another process is making."""
    began, marks = time.monotonic(), [Mark(tmp_path / "0", 0), Mark(tmp_path / "1", 1)]
    with pytest.raises(KeyboardInterrupt), process_pool.start(2) as ended:
        ended.map_parts(pool_work.note_and_wait, marks, on_done=_interrupt)
    assert time.monotonic() - began < 50


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_processes_end_with_a_program_that_was_killed(tmp_path: Path) -> None:
    """SIGKILL of the program while its pool works: nobody is left."""
    mark = tmp_path / "pid"
    program = subprocess.Popen(
        [sys.executable, "-c", f"from tests.infra import pool_work; pool_work.wait_in_a_pool({str(mark)!r})"],
        cwd=ROOT,
    )
    try:
        deadline = time.monotonic() + 60
        while not mark.exists() or not mark.read_text():
            assert time.monotonic() < deadline
            assert program.poll() is None
            time.sleep(0.1)
        left = psutil.Process(program.pid).children(recursive=True)
        assert int(mark.read_text()) in {process.pid for process in left}
    finally:
        os.kill(program.pid, signal.SIGKILL)
        program.wait()
    _, alive = psutil.wait_procs(left, timeout=20)
    assert not alive
