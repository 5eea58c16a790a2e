"""A collection that changes under a service: taken up as a whole, or not at all."""

import shutil
import time
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from cmh.codes import multi_index
from cmh.codes.multi_index import MultiIndex
from cmh.collection_files import changes, manifest
from cmh.onnx.exported import ExportedModel
from cmh.service import queries, snapshots
from cmh.service.snapshots import Snapshots
from tests.cmh.service.conftest import COUNT, Drawn, add, draw, open_client, open_snapshots


def wait_for(client: TestClient, wanted: str) -> None:
    """Ask until the service says it is ready with what is wanted."""
    until = time.monotonic() + 20
    while wanted not in client.get("/readyz").text:
        assert time.monotonic() < until, client.get("/readyz").text
        time.sleep(0.02)


def test_items_are_found_by_their_digest_and_nothing_else(snapshots: Snapshots) -> None:
    """The digest of an item is that of its name, whatever row it has."""
    snapshot = snapshots.current
    assert [snapshot.row(snapshot.item(row)) for row in range(COUNT)] == list(range(COUNT))
    assert snapshot.shown_name(3) == snapshot.name(3) == "set1/03.png"
    for odd in ("", "0" * 16, "f" * 16, "f" * 17, snapshot.item(0).upper() + "x", snapshot.name(0)):
        assert snapshot.row(odd) is None


def test_many_items_are_sorted_as_a_collection_is_opened(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which changes nothing in what is found."""
    scan = open_snapshots(own).current
    monkeypatch.setattr(multi_index, "LEAST", COUNT)
    many = open_snapshots(own).current
    assert isinstance(many.engine.index, MultiIndex)
    assert not isinstance(scan.engine.index, MultiIndex)
    found, wanted = (
        now.engine.for_relaxed(now.engine.relaxed(5), COUNT, order="hamming") for now in (many, scan)
    )
    assert found == wanted


def test_images_elsewhere_are_named_below_the_folder_that_they_share(own: Path, drawn: Drawn) -> None:
    """No answer holds a whole path; the images are found all the same."""
    outside = drawn[1].parent / "elsewhere"
    names = [str(draw(outside / f"{n}" / "a.png", n)) for n in (60, 61)]
    add(own, drawn[0], names)
    with open_client(open_snapshots(own)) as client:
        shown = client.get("/items", params={"k": 5, "offset": COUNT - 1}).json()["shown"]
        assert [item["name"] for item in shown] == [f"set1/{COUNT - 1}.png", "60/a.png", "61/a.png"]
        for item in shown:
            assert client.get(f"/items/{item['id']}/image").status_code == 200


def test_changes_are_taken_up_without_a_restart(own: Path, drawn: Drawn, tmp_path: Path) -> None:
    """Additions and removals; items keep their ids, and the version says that something changed."""
    with open_client(open_snapshots(own), poll=0.02) as client:
        before = client.get("/items?k=30").json()
        draw(drawn[1].parent / "photos" / "set1" / "new.png", 77)
        add(own, drawn[0], ["set1/new.png"])
        wait_for(client, f'"items":{COUNT + 1}')
        found = client.get("/search", params={"like": before["shown"][0]["id"], "k": 50}).json()
        assert "set1/new.png" in {hit["name"] for hit in found["hits"]}
        assert found["version"] != before["version"]
        with changes.lock(own):
            changes.remove(own, manifest.read(own), {"set1/new.png", "set0/00.png"})
        wait_for(client, f'"items":{COUNT - 1}')
        after = client.get("/items?k=30").json()
        assert {item["id"] for item in after["shown"]} == {item["id"] for item in before["shown"][1:]}
        gone = client.get("/search", params={"like": before["shown"][0]["id"]})
        assert gone.status_code == 404
        assert "may have been removed" in gone.json()["error"]


def test_a_damaged_change_leaves_the_old_state_in_service(own: Path, drawn: Drawn) -> None:
    """What is wrong is told, and when it is mended the new state serves."""
    manifest = own / "collection.json"
    whole = manifest.read_text()
    with open_client(open_snapshots(own), poll=0.02) as client:
        manifest.write_text("{")
        wait_for(client, "damaged or of another format")
        assert client.get("/search?text=red").json()["items"] == COUNT
        manifest.unlink()
        wait_for(client, "is no collection")
        assert client.get("/search?text=red").status_code == 200
        manifest.write_text(whole)
        wait_for(client, '"problem":null')
        assert 'cmh_collection_reloads_total{result="failed"}' in client.get("/metrics").text


def test_files_that_arrive_after_the_manifest_are_taken_up(
    own: Path, drawn: Drawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a state that is copied from elsewhere: what could not be opened is tried again after a while."""
    with open_client(open_snapshots(own), poll=0.02) as client:
        draw(drawn[1].parent / "photos" / "set0" / "copied.png", 78)
        before = set(own.rglob("*"))
        manifest = own / "collection.json"
        whole = manifest.read_bytes()
        add(own, drawn[0], ["set0/copied.png"])
        new, late = manifest.read_bytes(), own.parent / "late"
        manifest.write_bytes(whole)
        (part,) = (path for path in own.iterdir() if path not in before and path.name != "lock")
        wait_for(client, f'"items":{COUNT},"problem":null')
        part.rename(late)
        manifest.write_bytes(new)
        wait_for(client, part.name)
        late.rename(part)
        monkeypatch.setattr(snapshots, "AGAIN", 0.02)
        wait_for(client, f'"items":{COUNT + 1},"problem":null')


def test_a_query_under_way_ends_with_the_state_that_it_began_with(own: Path) -> None:
    """A snapshot does not change, and needs its folder no more."""
    snapshots = open_snapshots(own)
    old = snapshots.current
    queries.warm_up(old)
    shutil.rmtree(own)
    assert not snapshots.renew()
    assert snapshots.current is old
    assert len(old.engine.for_words("red", COUNT)) == COUNT


@pytest.mark.parametrize("what", ["nothing", "empty"])
def test_what_is_no_collection_or_an_empty_one_is_refused(own: Path, tmp_path: Path, what: str) -> None:
    """Before a port answers."""
    folder = tmp_path / "other"
    if what == "empty":
        changes.create(folder, own / "model", "image", "model/a/b")
    with pytest.raises(ValueError, match=r"cmh index photos/ --to"):
        Snapshots(folder)


def test_a_model_that_cannot_encode_is_not_taken_into_service(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state before goes on; at the start the failure is told, and no port answers."""
    snapshots = open_snapshots(own)
    before = snapshots.current

    def broken(*_: object, **__: object) -> None:
        raise ValueError("the network cannot be loaded")

    monkeypatch.setattr(ExportedModel, "text_outputs", broken)
    assert not snapshots.renew(queries.warm_up)
    assert (snapshots.current, snapshots.problem) == (before, "the network cannot be loaded")
    with pytest.raises(ValueError, match="cannot be loaded"), open_client(snapshots):
        pass
