"""What is tried again, and what is not."""

import errno
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from cmh.training.failures import TrainingFailure
from flows import prefect_ui, retries
from infra import processes
from infra.fetch import FetchError
from infra.storage import StorageError
from infra.stores import open_store


def _caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


CAN_PASS = [
    StorageError("bucket at 127.0.0.1: connection refused"),
    ConnectionError("Dask lost its workers"),
    TimeoutError("no answer"),
    _caused(FetchError("could not be fetched"), ConnectionResetError("by peer")),
]
CANNOT = [
    ValueError("bits must be a multiple of 8"),
    FetchError("mirflickr25k.zip: no such file"),
    StorageError(errno.ENOSPC, "No space left on device"),
    _caused(StorageError("s3://bucket: Access Denied"), PermissionError("Access Denied")),
    _caused(StorageError("s3://bucket"), FileNotFoundError("The specified bucket does not exist")),
    FileNotFoundError("no artifact"),
    TrainingFailure("diverged"),
]


@pytest.mark.parametrize("error", CAN_PASS, ids=str)
def test_what_can_pass_is_tried_again(error: Exception) -> None:
    """Until it succeeds."""
    answers = [error, error, None]

    def work() -> str:
        answer = answers.pop(0)
        if answer is not None:
            raise answer
        return "done"

    assert retries.while_it_may_pass(work, [0, 0, 0]) == "done"
    assert answers == []


@pytest.mark.parametrize("error", CANNOT, ids=str)
def test_what_cannot_pass_is_raised_at_once(error: Exception) -> None:
    """A second attempt would fail as the first did."""
    calls = []

    def work() -> None:
        calls.append(1)
        raise error

    with pytest.raises(type(error)):
        retries.while_it_may_pass(work, [0, 0, 0])
    assert len(calls) == 1


def test_attempts_are_bounded() -> None:
    """The last error is raised."""
    calls = []

    def work() -> None:
        calls.append(1)
        raise ConnectionError(f"attempt {len(calls)}")

    with pytest.raises(ConnectionError, match="attempt 3"):
        retries.while_it_may_pass(work, [0, 0])


@pytest.mark.filterwarnings("ignore:Artifact creation outside of a flow")
def test_what_cannot_be_shown_ends_no_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A run whose artifacts are all there has not failed, because Prefect's server is away."""
    away = f"http://{processes.HERE}:{processes.free_port(20000, set())}/api"
    with temporary_settings({PREFECT_API_URL: away}):
        prefect_ui.links(open_store(str(tmp_path)), [])
    assert "Prefect's server does not take what the run shows" in caplog.text
