"""Several collections behind one port: each at an address of its own, as it is alone."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from cmh.service import several
from cmh.service.settings import Settings
from cmh.service.snapshots import Snapshots
from tests.cmh.service.conftest import COUNT, GRAPHS, Drawn

TOKEN = "correct horse battery staple"


def client(folders: list[Path], **settings: object) -> TestClient:
    names = several.names(folders)
    opened = {
        name: Snapshots(folder, threads=1, cache=GRAPHS, address=several.address(name))
        for name, folder in zip(names, folders, strict=True)
    }
    app = several.create_service(opened, Settings(**settings))  # type: ignore[arg-type]
    return TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False)


def test_each_answers_below_its_address(drawn: Drawn) -> None:
    """With addresses of its thumbnails there, and a list of all; the root leads to the first one's page."""
    with client([drawn[1], drawn[2]]) as asked:
        places = asked.get("/collections").json()
        assert places == [{"name": n, "address": f"/collections/{n}/"} for n in ("images", "texts")]
        for place, what in zip(places, ("image", "text"), strict=True):
            about = asked.get(f"{place['address']}collection").json()
            assert (about["name"], about["what"], about["collections"]) == (place["name"], what, places)
            hits = asked.get(f"{place['address']}search?text=red").json()["hits"]
            assert len(hits) == (10 if what == "image" else 3)
        thumbnail = asked.get("/collections/images/items").json()["shown"][0]["thumbnail"]
        assert thumbnail.startswith("/collections/images/items/")
        assert asked.get(thumbnail).headers["content-type"] == "image/jpeg"
        page = asked.get("/")
        assert (page.url.path, page.status_code) == ("/collections/images/", 200)
        for path in ("/readyz", "/healthz", "/collections/texts/readyz", "/collections/texts/page/app.js"):
            assert asked.get(path).status_code == 200
        assert f"cmh_collection_items {COUNT}.0" in asked.get("/collections/images/metrics").text
        for path in ("/search?text=red", "/collections/other/", "/collections/../etc/passwd"):
            assert asked.get(path).status_code == 404


def test_one_token_is_for_all(drawn: Drawn) -> None:
    """And the session that the page of one gets is good for the others."""
    with client([drawn[1], drawn[2]], token=TOKEN, hosts=None) as asked:
        for path in ("/collections", "/collections/texts/collection", "/collections/images/items"):
            assert asked.get(path).status_code == 401
        assert asked.get("/collections/texts/").status_code == 200
        assert asked.post("/collections/texts/session", json={"token": TOKEN}).status_code == 204
        assert asked.get("/collections/images/items").status_code == 200


def test_names(tmp_path: Path) -> None:
    """What does not belong into an address becomes a dash; two of one name are refused."""
    assert several.names([tmp_path / "my photos?", tmp_path / "Ü.2"]) == ["my-photos-", "Ü.2"]
    assert several.address("Ü.2") == "/collections/%C3%9C.2"
    with pytest.raises(ValueError, match="two collections are called 'a'; rename"):
        several.names([tmp_path / "a", tmp_path / "b" / "a"])
