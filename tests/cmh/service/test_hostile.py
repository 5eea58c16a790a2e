"""Hostile requests: each is refused by a status of the asker's, and the service goes on."""

import io
import json
import struct
import zlib

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from tests.cmh.service.conftest import Drawn, photo


@pytest.mark.parametrize(
    "path",
    [
        "/items/../../etc/passwd/thumbnail",
        "/items/%2e%2e%2f%2e%2e%2fetc%2fpasswd/thumbnail",
        "/items/%2Fetc%2Fpasswd",
        "/items/0000000000000000/image",
        "/items/-000000000000001/image",
        "/items/0x00000000000001/image",
        "/items/+_00000000000001/image",
        "/items/٠٠٠٠٠٠٠٠٠٠٠٠٠٠٠٠",
        "/items/%00/thumbnail",
        "/page/..%2fapp.py",
        "/page/../app.py",
        "/page/%00",
        "//etc/passwd",
        "/docs",
    ],
)
def test_paths_of_requests_reach_no_file(client: TestClient, path: str) -> None:
    """Items are named by digests, and the page's files by a list."""
    answer = client.get(path)
    assert answer.status_code == 404
    assert set(answer.json()) == {"error"}


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"",
        b"[]",
        b'{"queries": []}',
        b'{"queries": [{"text": "red"}]}',
        b'{"queries": [{"text": ["red"], "path": "/etc/passwd"}]}',
        b'{"queries": [{"text": ["\\ud800"]}]}',
        b'{"queries": [{"text": ["red"], "k": 1e400}]}',
        b'{"queries": [{"text": ["red"], "k": ' + b"9" * 5000 + b"}]}",
        b"[" * 50_000,
        json.dumps({"queries": [{"text": ["red"]}] * 65}).encode(),
        b"\xff\xfe\x00",
    ],
)
def test_broken_json_is_refused(client: TestClient, body: bytes) -> None:
    """By a status of the asker's, never by one of ours."""
    answer = client.post("/search/batch", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)
    assert answer.json()["error"]
    assert client.get("/readyz").status_code == 200


def _grey(side: int) -> bytes:
    """A PNG of so many rows and columns, all of one colour: large as pixels, small as a file."""
    rows = zlib.compress(b"\0" * (side + 1) * side, 1)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)), (b"IDAT", rows), (b"IEND", b"")]
    made = (struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(made)


def hostile() -> list[tuple[str, str, bytes]]:
    """Uploads that are no images, damaged ones, and images that would take too much."""
    png, noise = io.BytesIO(), np.random.default_rng(0).bytes(4000)
    Image.new("RGB", (64, 64), "red").save(png, "PNG")
    whole = png.getvalue()
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/>'
    return [
        ("empty", "image/png", b""),
        ("noise", "image/jpeg", noise),
        ("cut", "image/png", whole[: len(whole) // 2]),
        ("html", "text/html", b"<script>alert(1)</script>"),
        (
            "gigapixel",
            "image/bmp",
            b"BM" + b"\0" * 12 + b"\x28\0\0\0\xff\xff\0\0\xff\xff\0\0\1\0\x18\0" + noise,
        ),
        ("endless svg", "image/svg+xml", svg * 2000),
        ("laughs", "image/svg+xml", b'<!DOCTYPE s [<!ENTITY a "aaaa">]><svg>&a;</svg>'),
        ("header", "image/png", b"\x89PNG\r\n\x1a\n" + noise),
        ("large", "image/png", _grey(20_000)),
        ("drawing", "image/png", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
    ]


@pytest.mark.parametrize(("name", "media_type", "data"), [pytest.param(*one, id=one[0]) for one in hostile()])
def test_hostile_uploads_are_refused(client: TestClient, name: str, media_type: str, data: bytes) -> None:
    """With the reason, and the next query is answered."""
    answer = client.post("/search", files={"image": (f"../../{name}", data, media_type)})
    assert answer.status_code == 422, answer.text
    assert "the uploaded image cannot be used" in answer.json()["error"]
    assert client.get("/search?text=red").status_code == 200


def test_two_hundred_damaged_uploads_leave_the_service_as_it_was(client: TestClient, drawn: Drawn) -> None:
    """Bytes of an image changed at random: answered or refused, never failed."""
    rng, whole = np.random.default_rng(3), photo(drawn, 1).read_bytes()
    before = client.get("/search?text=red").json()["hits"]
    for _ in range(200):
        data = bytearray(whole)
        for at in rng.integers(len(data), size=8):
            data[at] = rng.integers(256)
        answer = client.post("/search", files={"image": ("a.png", bytes(data), "image/png")})
        assert answer.status_code in (200, 422), answer.text
    assert client.get("/search?text=red").json()["hits"] == before


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("multipart/form-data", b"--x\r\n", 400),
        ("multipart/form-data; boundary=x", b"--y\r\nnothing", 400),
        ("multipart/form-data; boundary=x", b"", 422),
        ("application/json", b"{}", 422),
        ("application/x-www-form-urlencoded", b"image=/etc/passwd&text=red", 422),
    ],
)
def test_broken_forms_are_refused(client: TestClient, content_type: str, body: bytes, status: int) -> None:
    """A text where a file is expected is not opened as one."""
    answer = client.post("/search", content=body, headers={"content-type": content_type})
    assert (answer.status_code, set(answer.json())) == (status, {"error"})
