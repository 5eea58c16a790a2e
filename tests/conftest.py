"""Stores for tests: a local folder, and a bucket on a real S3 server that starts when a test first asks."""

import logging
import os
import secrets
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import s3fs

from infra.storage import Store
from infra.stores import open_store
from tests import s3_server
from tests.s3_server import BUCKET, S3Server

# Set before Prefect is imported: the first import of its server on a fresh machine outlasts the default 20 s.
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "300")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")
if _worker := os.environ.get("PYTEST_XDIST_WORKER"):  # a Prefect each: SQLite takes one writer at a time
    _home = os.environ.get("PREFECT_HOME", os.path.expanduser("~/.prefect"))
    os.environ["PREFECT_HOME"] = os.path.join(_home, _worker)
# One token for all Rays of the session: a process keeps the first token that it has read.
os.environ["RAY_AUTH_MODE"] = "token"
os.environ["RAY_AUTH_TOKEN_PATH"] = f"{tempfile.mkdtemp(prefix='cmh-tests-')}/ray-token"
with open(os.open(os.environ["RAY_AUTH_TOKEN_PATH"], os.O_CREAT | os.O_WRONLY, 0o600), "w") as _token:
    _token.write(secrets.token_hex(32))


def pytest_unconfigure() -> None:
    """Prefect says goodbye from `atexit`, to a stream that pytest has closed; that is no error of a test."""
    logging.raiseExceptions = False


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """The S3 server of this session."""
    server = s3_server.start(tmp_path_factory.mktemp("seaweedfs"))
    yield server
    server.kill()


@pytest.fixture
def cmh_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty CMH_HOME, so that no test touches the user's."""
    monkeypatch.setenv("CMH_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("CMH_STORE", raising=False)
    return tmp_path / "home"


@pytest.fixture
def local_store(cmh_home: Path, tmp_path: Path) -> Store:
    """An empty store in a local folder."""
    return open_store(str(tmp_path / "store"))


@pytest.fixture
def s3_store(s3: S3Server, cmh_home: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty prefix on the S3 server, with the environment set for it."""
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()  # an instance keeps the environment it was made in
    return open_store(f"s3://{BUCKET}/{uuid.uuid4().hex}")


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.slow)])
def store(request: pytest.FixtureRequest) -> Store:
    """An empty store of each kind.  The server takes about 5 s to start, hence the mark."""
    return request.getfixturevalue(f"{request.param}_store")
