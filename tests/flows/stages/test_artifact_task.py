"""The task pattern: made once, found afterwards, an outage is an error; once within a real Prefect flow."""

import pytest
from prefect import flow

from flows.stages.artifact_task import artifact_task
from infra import artifacts
from infra.artifacts import Target
from infra.storage import StorageError
from infra.stores import open_store

TARGET = Target("report", "tiny", {"x": 1})


@artifact_task(name="tiny")
def tiny(_store, draft, text):
    """Write one file."""
    draft.write_bytes("a.txt", text.encode())


def test_made_once(tmp_path):
    """The second call finds it and does not run the function again."""
    store = open_store(str(tmp_path))
    first = tiny.compute(store, TARGET, "one")
    second = tiny.compute(store, TARGET, "two")
    assert (first.cached, second.cached) == (False, True)
    assert first.ref == second.ref
    assert artifacts.open_artifact(store, second.ref).read_bytes("a.txt") == b"one"


def test_outage_is_not_a_miss(tmp_path, monkeypatch):
    """A store that cannot be asked stops the task; nothing is computed for it."""
    store = open_store(str(tmp_path))

    def out(*_):
        raise StorageError("the store is out")

    monkeypatch.setattr(type(store), "read_bytes", out)
    with pytest.raises(StorageError, match="is out"):
        tiny.compute(store, TARGET, "one")


@pytest.mark.slow
def test_within_a_flow(tmp_path, prefect_server):
    """As Prefect tasks both calls give the same reference."""
    store = open_store(str(tmp_path / "store"))

    @flow
    def both():
        return [tiny(store, TARGET, "one"), tiny(store, TARGET, "two")]

    refs = both()
    assert refs[0] == refs[1] == artifacts.lookup(store, TARGET)
