"""The service through its interface: what it finds, what it refuses, and how it says so."""

import io
import logging
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from cmh.service.snapshots import Snapshots
from tests.cmh.service.conftest import BITS, COUNT, Drawn, open_client, open_snapshots, photo


def ids(client: TestClient) -> list[str]:
    return [item["id"] for item in client.get("/items", params={"k": COUNT}).json()["shown"]]


def test_a_text_finds_what_the_engine_finds(client: TestClient, snapshots: Snapshots) -> None:
    """With rank, distance, name below the images' folder, a thumbnail, and where the next page is."""
    answer = client.get("/search", params={"text": "red circle", "k": 3}).json()

    expected = snapshots.current.engine.for_words("red circle", 3)
    assert [(hit["rank"], hit["distance"]) for hit in answer["hits"]] == [
        (h.rank, h.distance) for h in expected
    ]
    assert [hit["name"] for hit in answer["hits"]] == [h.id for h in expected]
    assert (answer["items"], answer["bits"], answer["next"], answer["what"]) == (COUNT, BITS, 3, "image")
    shorter = client.get("/search", params={"text": "red circle", "bits": 16}).json()
    assert shorter["bits"] == 16
    assert max(hit["distance"] for hit in shorter["hits"]) <= 16


def test_an_uploaded_image_finds_itself_first(client: TestClient, drawn: Drawn) -> None:
    """At distance 0; with a text beside it, it is one query of two parts."""
    with open(photo(drawn, 5), "rb") as file:
        answer = client.post("/search", files={"image": file}, data={"k": 2}).json()
        file.seek(0)
        both = client.post("/search", files={"image": file}, data={"text": "blue"}).json()
    assert (answer["hits"][0]["name"], answer["hits"][0]["distance"]) == ("set1/05.png", 0)
    assert both["hits"][0]["distance"] > 0


def test_more_like_an_item_leaves_it_out(client: TestClient) -> None:
    """And the last page says that there is no next one."""
    first = ids(client)[0]
    answer = client.get("/search", params={"like": first, "k": COUNT}).json()
    assert len(answer["hits"]) == COUNT - 1
    assert first not in {hit["id"] for hit in answer["hits"]}
    assert answer["next"] is None


def test_texts_are_searched_too(drawn: Drawn) -> None:
    """They are their own name, and have no image."""
    with open_client(open_snapshots(drawn[2])) as client:
        hits = client.get("/search", params={"text": "red circle"}).json()["hits"]
        assert (hits[0]["text"], hits[0]["distance"], hits[0]["thumbnail"]) == ("red circle", 0, None)
        assert client.get(f"/items/{hits[0]['id']}/thumbnail").status_code == 404


def test_a_batch_gives_an_outcome_for_each_query(client: TestClient) -> None:
    """Also for those that cannot be answered."""
    asked = [{"text": ["red"], "k": 1}, {"text": ["zzz"]}, {"like": [ids(client)[2]], "text": ["blue"]}]
    first, second, third = client.post("/search/batch", json={"queries": asked}).json()["outcomes"]
    alone = client.get("/search", params={"text": "red", "k": 1}).json()
    assert first["answer"]["hits"] == alone["hits"]
    assert second["answer"] is None
    assert "knows no word" in second["error"]
    assert len(third["answer"]["hits"]) == 10


def test_a_condition_and_an_order_are_parts_of_a_query(described_client: TestClient) -> None:
    """Of a search, of a form, of a batch and of the list of items; values are those of the columns."""
    asked = {"text": "red", "k": 50, "where": 'year == 2021 and "it\'s odd" in labels', "order": "hamming"}
    rows = [n for n in range(COUNT) if n % 3 == 1 and n % 2]
    client = described_client
    answer = client.get("/search", params=asked).json()
    form = client.post("/search", data=asked).json()
    question = {**asked, "text": ["red"]}
    (batch,) = client.post("/search/batch", json={"queries": [question]}).json()["outcomes"]
    items = client.get("/items", params={"where": asked["where"], "k": 3}).json()
    default = client.get("/search", params={"text": "red"}).json()
    about = client.get("/collection").json()
    assert {hit["name"] for hit in answer["hits"]} == {f"set1/{n:02}.png" for n in rows}
    assert (answer["matching"], answer["items"], answer["order"]) == (len(rows), COUNT, "hamming")
    assert answer["hits"] == form["hits"] == batch["answer"]["hits"]
    distances = [hit["distance"] for hit in answer["hits"]]
    assert distances == sorted(distances)
    assert [item["name"] for item in items["shown"]] == [f"set1/{n:02}.png" for n in rows[:3]]
    assert (items["matching"], items["next"]) == (len(rows), 3)
    assert items["shown"][0]["columns"] == {
        "caption": "drawing 1 of <b>its</b> set", "labels": ["round", "it's odd"], "year": 2021,
        "taken at": "2021-01-02", "url": "https://example.org/1?a=1&b", "size": None,
    }  # fmt: skip
    assert default["order"] == "embeddings"
    similarities = [hit["similarity"] for hit in default["hits"]]
    assert similarities == sorted(similarities, reverse=True)
    assert about["orders"] == ["embeddings", "weighted", "hamming"]
    assert [(column["name"], column["kind"]) for column in about["columns"]][:2] == [
        ("caption", "text"),
        ("labels", "list"),
    ]
    assert about["columns"][1]["commonest"][1]["where"] == '"it\'s odd" in labels'


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("colour == 3", "there is no column 'colour'; the items have: caption, labels, year"),
        ("year ==", "is not understood"),
        ("year == 'x'", "compared with a column of int64"),
        ("__import__('os').system('true')", "is no condition"),
        ("(" * 400, "is not understood"),
        ("year > 0 or " * 60 + "year > 0", "at most 500 characters"),
        ("", "at least 1 character"),
        ("\ud800".encode("utf-8", "replace").decode(), "is not understood"),
        ("year > 1\x00", "is not understood"),
    ],
)
def test_a_wrong_condition_is_refused_in_words(described_client: TestClient, where: str, said: str) -> None:
    """By a search and by the list of items."""
    for answer in (
        described_client.get("/search", params={"text": "red", "where": where}),
        described_client.get("/items", params={"where": where}),
    ):
        assert answer.status_code == 422
        assert said in answer.json()["error"]


def test_images_of_items_are_drawn(client: TestClient) -> None:
    """A square of the size that the model reads, and the whole image; known ones are not sent again."""
    item = client.get("/items").json()["shown"][0]
    thumbnail, whole = (client.get(f"/items/{item['id']}/{kind}") for kind in ("thumbnail", "image"))
    assert [Image.open(io.BytesIO(r.content)).size for r in (thumbnail, whole)] == [(32, 32), (96, 64)]
    again = client.get(item["thumbnail"], headers={"if-none-match": thumbnail.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_an_image_whose_file_is_gone_is_said_to_be_gone(
    client: TestClient, drawn: Drawn, tmp_path: Path
) -> None:
    """Without its path; the search goes on."""
    photo(drawn, 9).rename(tmp_path / "kept.png")
    try:
        answer = client.get(f"/items/{ids(client)[9]}/image")
    finally:
        (tmp_path / "kept.png").rename(photo(drawn, 9))
    assert answer.status_code == 404
    assert answer.json() == {"error": "the image's file is gone or cannot be read any more"}


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("", "a query has 1 to 8 texts, images and items, got 0"),
        ("text=", "at least 1 character"),
        ("text=red&k=0", "k: Input should be greater than or equal to 1"),
        ("text=red&k=1000000000000", "k: Input should be less than or equal to 200"),
        ("text=red&k=ten", "k: Input should be a valid integer"),
        ("text=red&offset=-1", "offset: "),
        ("text=red&offset=1999&k=100", "2000 together at most"),
        ("text=red&bits=65", "the codes have 64 bits, got bits=65"),
        ("text=red&bits=0", "bits: "),
        ("like=../../etc/passwd", "like.0: String should match pattern"),
        ("&".join(["text=red"] * 9), "text: List should have at most 8 items"),
        (f"text={'red' * 400}", "at most 1000 characters"),
        ("text=red&order=best", "order: Input should be 'embeddings', 'weighted' or 'hamming'"),
        ("text=red&order=embeddings", "choose one of weighted, hamming; this collection keeps no embeddings"),
        ("text=red&where=year>1", "the items have no columns"),
        ("text=zzz", "such as blue, circle"),
        ("text=%ff%fe", "knows no word"),
        ("text=%00", "knows no word"),
    ],
)
def test_a_query_that_cannot_be_asked_is_refused_with_the_reason(
    client: TestClient, query: str, said: str
) -> None:
    """By 422 and one line."""
    answer = client.get(f"/search?{query}")
    assert answer.status_code == 422
    assert said in answer.json()["error"]


def test_metrics_count_requests_by_route_and_not_by_what_was_asked(client: TestClient) -> None:
    """Queries and items are in none of the labels."""
    client.get("/search?text=square")
    client.get("/nowhere/private-thing")
    text = client.get("/metrics").text
    assert 'cmh_requests_total{route="/search",status="200"}' in text
    assert f"cmh_collection_items {COUNT}.0" in text
    assert "square" not in text
    assert "private" not in text


def test_logs_hold_the_queries_only_if_asked(snapshots: Snapshots, caplog: pytest.LogCaptureFixture) -> None:
    """Every other field of the line is there."""
    caplog.set_level(logging.INFO, "cmh.service")
    for log_queries in (False, True):
        caplog.clear()
        with open_client(snapshots, log_queries=log_queries) as client:
            client.get("/search?text=square")
        fields = [getattr(record, "fields", {}) for record in caplog.records]
        assert any(line.get("route") == "/search" and line["status"] == 200 for line in fields)
        assert ("square" in str(fields)) == log_queries


def test_openapi_describes_every_route_with_its_refusals(client: TestClient) -> None:
    """With an example of a text."""
    described = client.get("/openapi.json").json()
    assert set(described["paths"]) >= {"/search", "/search/batch", "/items/{item}", "/readyz", "/metrics"}
    search = described["paths"]["/search"]["get"]
    assert {"200", "401", "422", "503"} <= set(search["responses"])
    assert search["parameters"][0]["schema"]["examples"] == [["a dog in the snow"]]


def test_the_page_and_its_files_come_from_the_package(client: TestClient) -> None:
    """And every file that one of them names is there; none is of another host."""
    page = client.get("/").text
    names = {"page/app.js", "page/style.css", "page/icon.svg"}
    assert names <= {part.split('"')[0] for part in page.split('="')}
    for name in names | {
        f"page/{one}.js" for one in ("api", "cards", "choice", "columns", "given", "pictures", "state")
    }:
        assert client.get(f"/{name}").status_code == 200
        assert "https://" not in client.get(f"/{name}").text
    assert "https://" not in page
