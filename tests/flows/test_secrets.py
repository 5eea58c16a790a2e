"""What Prefect keeps of a run holds no credentials of its sources."""

import time
from pathlib import Path

import pytest
from prefect.client.schemas.filters import LogFilter
from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL, PREFECT_LOCAL_STORAGE_PATH

from tests.flows.command_line import cmh
from tests.flows.conftest import Workspace
from tests.flows.test_pipeline import entry, prefect

pytestmark = pytest.mark.slow

SIGNATURE, PASSWORD = "5ab1e0c0ffee5ab1e", "correct-horse-battery"


@pytest.mark.usefixtures("cmh_home", "prefect_server")
def test_signed_address_is_in_no_parameter_state_or_log(drawn: Workspace, tmp_path: Path):
    """A run whose source cannot be fetched: flow run, task runs, logs and message tell no signature."""
    sources = {
        "images": {"kind": "path", "path": str(drawn.images)},
        "items": {
            "kind": "url",
            "licence": "CC0",
            "url": f"http://me:{PASSWORD}@127.0.0.1:9/items.csv?X-Amz-Signature={SIGNATURE}",
            "sha256": "0" * 64,
        },
    }
    began = time.time()
    run = cmh("run", "--dataset", entry(drawn, tmp_path / "signed.yaml", sources=sources), *drawn.small)
    assert run.status == 2
    assert "/items.csv" in run.err
    runs = prefect(lambda client: client.read_flow_runs())
    tasks = prefect(lambda client: client.read_task_runs())
    logs = prefect(lambda client: client.read_logs(LogFilter()))
    assert any(one.name.startswith("scahn-folder-") for one in runs)
    kept = [one.model_dump_json() for one in (*runs, *tasks, *logs)]
    for text in (run.err, *kept):
        assert SIGNATURE not in text
    database = Path(str(PREFECT_API_DATABASE_CONNECTION_URL.value()).partition(":///")[2])
    results = _since(began, Path(PREFECT_LOCAL_STORAGE_PATH.value()))
    files = [*database.parent.glob(f"{database.name}*"), *results]
    assert database in files
    for file in files:  # what no page shows, too: exceptions are kept pickled
        data = file.read_bytes()
        assert SIGNATURE.encode() not in data
        assert PASSWORD.encode() not in data
    assert any(b"scahn-folder-" in file.read_bytes() for file in files)


def _since(began: float, storage: Path) -> list[Path]:
    every = storage.rglob("*") if storage.exists() else ()
    return [path for path in every if path.is_file() and path.stat().st_mtime >= began]
