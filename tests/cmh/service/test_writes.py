"""Items that are added and deleted over the port: what comes of it, and what a failed change leaves."""

import errno
import io
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from fastapi.testclient import TestClient
from PIL import Image

from cmh import collection
from cmh.collection_files import changes, manifest, uploads
from cmh.service.app import create_app
from cmh.service.settings import Settings
from tests.cmh.service.conftest import COUNT, SIZE, Drawn, draw, open_client, open_snapshots
from tests.cmh.service.test_hostile import hostile


@pytest.fixture
def client(own: Path) -> Iterator[TestClient]:
    """A service over a copy of the collection of drawings that may be changed."""
    with open_client(open_snapshots(own), writable=True, poll=0.02) as made:
        yield made


def drawing(number: int, folder: Path) -> bytes:
    return draw(folder / "upload.png", number).read_bytes()


def put(client: TestClient, id_: str, data: bytes | None = None, **form: str) -> Any:
    files = None if data is None else {"image": ("any name", data, "image/png")}
    return client.put("/items", params={"id": id_}, files=files, data=form)


def wait(client: TestClient, version: str) -> None:
    """Until the service answers from a state."""
    until = time.monotonic() + 20
    while client.get("/readyz").json()["version"] != version:
        assert time.monotonic() < until, client.get("/readyz").json()
        time.sleep(0.02)


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "lock"
    }


def test_an_image_is_added_replaced_and_deleted(
    client: TestClient, own: Path, drawn: Drawn, tmp_path: Path
) -> None:
    """By its id, as often as it is asked for; it is found, shown, and filtered by its columns."""
    data = drawing(77, tmp_path)
    first = put(client, "cat/17 ü", data, columns='{"year": 2021, "labels": ["cat"]}')
    assert (first.status_code, first.json()["change"]) == (200, "added"), first.text
    wait(client, first.json()["version"])
    again = put(client, "cat/17 ü", data, columns='{"year": 2021, "labels": ["cat"]}').json()
    assert again == {**first.json(), "change": "unchanged"}
    hits = client.post("/search", files={"image": ("q.png", data, "image/png")}).json()["hits"]
    assert (hits[0]["id"], hits[0]["name"], hits[0]["distance"]) == (again["id"], "cat/17 ü", 0)
    assert hits[0]["columns"] == {"year": 2021, "labels": ["cat"]}
    shown = client.get(f"/items/{again['id']}/image").content
    assert Image.open(io.BytesIO(shown)).size == (96, 64)
    assert client.get("/items", params={"where": '"cat" in labels'}).json()["matching"] == 1

    other = drawing(78, tmp_path)
    replaced = put(client, "cat/17 ü", other, columns='{"year": 2022}').json()
    assert (replaced["id"], replaced["change"]) == (again["id"], "replaced")
    wait(client, replaced["version"])
    assert client.get(f"/items/{again['id']}").json()["columns"] == {"year": 2022, "labels": None}
    engine = collection.open_collection(own)
    assert len(engine.index) == COUNT + 1
    (row,) = [row for row in range(COUNT + 1) if engine.describe(row)[0].startswith("upload:")]
    code = drawn[0].encode_images([np.asarray(engine.image(row))])[0]
    assert engine.index.codes(slice(row, row + 1))[0].tolist() == code.tolist()

    deleted = client.delete(f"/items/{again['id']}")
    assert deleted.json()["change"] == "deleted"
    assert client.delete(f"/items/{again['id']}").status_code == 404
    wait(client, deleted.json()["version"])
    assert client.get(f"/items/{again['id']}").status_code == 404
    back = put(client, "cat/17 ü", data).json()
    wait(client, back["version"])
    assert client.get(f"/items/{back['id']}").json()["columns"] == {"year": None, "labels": None}
    client.delete(f"/items/{back['id']}")
    with changes.lock(own):
        uploads.sweep(own, manifest.read(own))
    assert not any((own / "uploads").iterdir())
    assert len(collection.open_collection(own).index) == COUNT


def test_texts_are_added_replaced_and_deleted(drawn: Drawn, tmp_path: Path) -> None:
    """With ids of their own beside texts that have none."""
    folder = tmp_path / "texts"
    changes.create(folder, drawn[1] / "model", "text", "model/a/b", embeddings="int8")
    with pytest.raises(ValueError, match="is empty"):
        open_snapshots(folder)
    relaxed = drawn[0].relax_texts(["red circle"])
    with changes.lock(folder):
        packed, kept = drawn[0].pack(relaxed), (relaxed * 0).astype(np.int8)
        changes.add_part(folder, manifest.read(folder), packed, ["red circle"], None, kept)
    with open_client(open_snapshots(folder), writable=True, poll=0.02) as client:
        made = [put(client, f"t{n}", text=text).json() for n, text in enumerate(["blue square", "red"])]
        wait(client, made[-1]["version"])
        assert put(client, "t0", text="blue square").json()["change"] == "unchanged"
        assert put(client, "t0", text="blue square", columns='{"year": 1}').json()["change"] == "replaced"
        changed = put(client, "t1", text="green circle").json()
        assert (changed["id"], changed["change"]) == (made[1]["id"], "replaced")
        wait(client, changed["version"])
        items = client.get("/items").json()["shown"]
        assert {(one["name"], one["text"], one["columns"]["year"]) for one in items} == {
            ("", "red circle", None), ("t0", "blue square", 1), ("t1", "green circle", None)
        }  # fmt: skip
        assert "knows no word" in put(client, "t2", text="zzz").json()["error"]
        assert "give one text for the id" in put(client, "t2", b"x").json()["error"]
        for one in items[:2]:
            assert client.delete(f"/items/{one['id']}").status_code == 200
        assert "this is the last item" in client.delete(f"/items/{items[2]['id']}").json()["error"]


@pytest.mark.parametrize(
    ("id_", "form", "said"),
    [
        ("", {}, "id: "),
        ("x" * 201, {}, "id: "),
        ("a\nb", {}, "id: "),
        ("a", {"text": "red"}, "give one image for the id"),
        ("a", {"columns": "[1]"}, "columns are a JSON object"),
        ("a", {"columns": '{"year": 1, "year": 2}'}, "columns: an object has the key 'year' twice"),
        ("a", {"columns": "[" * 60_000}, "columns are a JSON object"),
        ("a", {"columns": '{"name": "b"}'}, "none called name"),
        ("a", {"columns": '{"year": NaN}'}, "columns are a JSON object"),
        ("a", {"columns": '{"box": {"w": 1}}'}, "columns are numbers, texts, dates"),
        ("a", {"columns": '{"year": [1, "x"]}'}, "these columns cannot be kept"),
        ("a", {"columns": '{"year": ' + "9" * 400 + "}"}, "these columns cannot be kept"),
        ("a", {"columns": "x" * 70_000}, "columns: "),
    ],
)
def test_what_cannot_be_an_item_is_refused(
    client: TestClient, own: Path, tmp_path: Path, id_: str, form: dict[str, str], said: str
) -> None:
    """With the reason, and nothing of it is kept."""
    before = files_of(own)
    answer = put(client, id_, drawing(5, tmp_path), **form)
    assert answer.status_code == 422, answer.text
    assert said in answer.json()["error"]
    assert files_of(own) == before


def test_columns_are_bounded_over_all_requests_and_a_null_is_no_cell(
    client: TestClient, own: Path, tmp_path: Path
) -> None:
    """As each may bring other columns; and a null says nothing of the type that a column has."""
    data = drawing(5, tmp_path)
    assert put(client, "a", data, columns='{"year": null}').json()["change"] == "added"
    assert put(client, "a", data, columns='{"year": 2021}').json()["change"] == "replaced"
    some = json.dumps({f"c{n}": n for n in range(199)})
    assert put(client, "a", data, columns=some).status_code == 200
    before = files_of(own)
    answer = put(client, "a", data, columns='{"one more": 1}')
    assert answer.status_code == 422
    assert "at most 200 are kept" in answer.json()["error"]
    assert files_of(own) == before


def test_a_service_that_only_reads_says_so(own: Path, tmp_path: Path) -> None:
    """By default; a token that is missing is said first."""
    with open_client(open_snapshots(own)) as client:
        answers = [put(client, "a", drawing(5, tmp_path)), client.delete("/items/0000000000000000")]
        assert [one.status_code for one in answers] == [403, 403]
        assert "start it with --writable" in answers[0].json()["error"]
        assert client.get("/collection").json()["writable"] is False
    with open_client(open_snapshots(own), token="t" * 16, hosts=None, writable=True) as client:
        assert put(client, "a", drawing(5, tmp_path)).status_code == 401


def test_a_model_that_was_replaced_encodes_no_item(client: TestClient, own: Path, tmp_path: Path) -> None:
    """The service still has the old one, if the collection under this name was made anew."""
    contents = manifest.read(own)
    with changes.lock(own):
        manifest.commit(own, replace(contents, model_files={"config.json": "0" * 64}))
    answer = put(client, "a", drawing(5, tmp_path))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "model was replaced" in answer.json()["error"]
    assert not (own / "uploads").exists()


def test_another_process_that_changes_the_collection_is_waited_for(
    client: TestClient, own: Path, tmp_path: Path
) -> None:
    """By asking again later, as the answer says."""
    with changes.lock(own):
        answer = put(client, "a", drawing(5, tmp_path))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert put(client, "a", drawing(5, tmp_path)).status_code == 200


@pytest.mark.parametrize("at", [0, 1, 3, 6, 8, 9])  # upload, its folder, part, its folder, columns, the end
def test_a_full_disk_leaves_the_collection_as_it_was(
    client: TestClient, own: Path, tmp_path: Path, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever of its files finds no room; the same request succeeds when there is some."""
    before, synced, reached = files_of(own), os.fsync, 0

    def full(descriptor: int) -> None:
        nonlocal reached
        reached += 1
        if reached == at + 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        synced(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    answer = put(client, "a", drawing(5, tmp_path), columns='{"year": 1}')
    monkeypatch.setattr(os, "fsync", synced)
    assert answer.status_code == 507
    assert answer.json() == {"error": "the disk is full; nothing was changed"}
    assert files_of(own) == before
    assert put(client, "a", drawing(5, tmp_path), columns='{"year": 1}').json()["change"] == "added"


def test_two_hundred_hostile_uploads(client: TestClient, own: Path, tmp_path: Path) -> None:
    """Each is kept as an image that can be shown, or refused; the service and the collection stay whole."""
    rng, whole = np.random.default_rng(3), drawing(5, tmp_path)
    corpus = [data for _, _, data in hostile()]
    kept = set()
    for number in range(200):
        data = bytearray(corpus[number] if number < len(corpus) else whole)
        for at in rng.integers(len(data), size=8) if number >= len(corpus) else ():
            data[at] = rng.integers(256)
        answer = put(client, f"h{number % 20}", bytes(data))
        assert answer.status_code in (200, 422), answer.text
        if answer.status_code == 200:
            kept.add(answer.json()["id"])
    assert client.get("/healthz").status_code == client.get("/search?text=red").status_code == 200
    contents = manifest.read(own)
    assert changes.damage(own, contents) == uploads.damage(own, contents) == []
    engine = collection.open_collection(own)
    assert len(engine.index) == COUNT + len(kept)
    assert all(engine.image(row).shape == (SIZE, SIZE, 3) for row in range(COUNT, len(engine.index)))


def test_a_connection_that_is_cut_amid_an_upload_leaves_nothing(own: Path, tmp_path: Path) -> None:
    """The whole request was announced, and half of it came."""
    app = create_app(open_snapshots(own), Settings(writable=True))
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on"))
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    before = files_of(own)
    thread.start()
    host, port = listening.getsockname()
    body = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n' + drawing(
        5, tmp_path
    )
    head = (
        f"PUT /items?id=a HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: {len(body) * 2}\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
    )
    with socket.create_connection((host, port), timeout=30) as cut:
        cut.sendall(head.encode() + body)
        time.sleep(0.3)
    with socket.create_connection((host, port), timeout=30) as asked:
        asked.sendall(f"GET /healthz HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
        assert b"200 OK" in asked.recv(4096)
    server.should_exit = True
    thread.join(20)
    assert files_of(own) == before
