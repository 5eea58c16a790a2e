"""Work on threads against the plain loop: same results in the same order, errors passed on."""

import os

import pytest

from cmh.codes.threads import chosen_threads, run


@pytest.mark.parametrize("threads", [None, 1, 4])
def test_results_come_in_order(threads: int | None) -> None:
    """Whatever the number of threads."""
    assert run(lambda x: x * x, range(20), threads) == [x * x for x in range(20)]


def test_omp_num_threads_is_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable that torch and Dask's workers follow; anything but a positive number means all CPUs."""
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert chosen_threads(None) == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "0")
    assert chosen_threads(None) == len(os.sched_getaffinity(0))


def test_errors_of_the_work_reach_the_caller_and_no_threads_are_refused() -> None:
    """A failure in a thread is not lost."""
    with pytest.raises(ZeroDivisionError):
        run(lambda x: 1 // x, [1, 0, 1], 2)
    with pytest.raises(ValueError, match="at least one thread"):
        run(str, [1, 2], 0)


def test_a_forked_child_starts_its_own_threads() -> None:
    """The pool works after a fork, where the parent's threads do not exist."""
    run(str, range(4), 2)
    child = os.fork()
    if child == 0:
        os._exit(0 if run(str, range(4), 2) == ["0", "1", "2", "3"] else 1)
    assert os.waitpid(child, 0)[1] == 0
