"""The flows that look after what is kept, without a server: what they do, and what their state says."""

import shutil
from pathlib import Path

import pytest
from prefect.client.schemas.objects import State

from flows import deployments
from flows.resources import Resources
from infra import artifacts, tags
from infra.artifacts import Target
from infra.stores import open_store
from tests.flows.command_line import Called
from tests.flows.conftest import Workspace


def _said(state: State[None]) -> tuple[str | None, str | None]:
    return state.name, state.message


def test_a_whole_store_is_verified_and_a_damaged_file_named(cmh_home: Path) -> None:
    """Damage fails the run, with the remedy."""
    store = open_store()
    for number in range(2):
        with artifacts.write(store, Target("model", "toy", {"number": number})) as draft:
            draft.write_json("value.json", number)
    assert _said(deployments.verify_store.fn()) == ("Completed", "2 artifacts are whole")
    (file,) = Path(store.url, draft.ref.address).rglob("value.json")
    file.write_text("3\n")
    with pytest.raises(ValueError, match=r"1 files of 2 artifacts .*value\.json .*cmh rm"):
        deployments.verify_store.fn()


def test_what_is_left_behind_is_removed(cmh_home: Path) -> None:
    """And old artifacts if asked for; else the state says that there was nothing."""
    store = open_store()
    for number in range(2):
        with artifacts.write(store, Target("model", "toy", {"number": number})) as draft:
            draft.write_json("value.json", number)
    assert _said(deployments.gc.fn()) == ("Cached", "nothing to remove")
    state = deployments.gc.fn(older_than=-1, keep_last=1)
    assert str(state.message).startswith("1 removed, ")
    assert artifacts.published(store) == [draft.ref.address]


@pytest.mark.slow
def test_a_collection_is_kept_in_step(workspace: Workspace, first: Called, tmp_path: Path) -> None:
    """A photo that is added, changed or removed; nothing to do the next night; the model is a tag's."""
    model = next(row["address"] for row in first.rows if row["stage"] == "model")
    tag = f"{model.rsplit('/', 1)[0]}@production"
    tags.put(workspace.store, tag, model)
    photos, collection = tmp_path / "photos", tmp_path / "collection"
    photos.mkdir()
    drawings = sorted(workspace.images.iterdir())
    for drawing in drawings[:4]:
        shutil.copy(drawing, photos)

    def refresh() -> tuple[str | None, str | None]:
        return _said(deployments.refresh_index.fn(photos, collection, tag, Resources(threads=1)))

    assert refresh() == ("Completed", "4 encoded, 0 of them as they had changed; 0 removed; 0 rejected")
    assert refresh() == ("Cached", "nothing to do: 4 were there and are unchanged")
    shutil.copy(drawings[4], photos)
    shutil.copy(drawings[5], photos / drawings[0].name)
    (photos / drawings[1].name).unlink()
    assert refresh() == ("Completed", "2 encoded, 1 of them as they had changed; 1 removed; 0 rejected")
