"""Who may ask, how much, and how fast."""

import asyncio
import time
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient

from cmh.service.guard import Guard
from cmh.service.metrics import Metrics
from cmh.service.settings import Settings
from cmh.service.snapshots import Snapshots
from tests.cmh.service.conftest import open_client

TOKEN = "correct horse battery staple"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8000", 200), ("localhost", 200), ("LOCALHOST:1", 200), ("[::1]:8000", 200),
        ("evil.example", 421), ("127.0.0.1.evil.example", 421), ("", 421), ("localhost@evil.example", 421),
    ],
)  # fmt: skip
def test_a_service_of_this_machine_is_called_by_its_names_only(
    client: TestClient, host: str, status: int
) -> None:
    """So that a page elsewhere cannot make its own name an alias of it."""
    assert client.get("/collection", headers={"host": host}).status_code == status


def test_pages_of_other_sites_are_refused(client: TestClient) -> None:
    """By what the browser says of them; a link to the page works, and no header lets others read answers."""
    for site in ("cross-site", "same-site"):
        assert client.get("/collection", headers={"sec-fetch-site": site}).status_code == 403
        followed = {"sec-fetch-site": site, "sec-fetch-mode": "navigate"}
        assert client.get("/", headers=followed).status_code == 200
        assert client.post("/search", headers=followed, data={"text": "red"}).status_code == 403
    answer = client.get("/collection", headers={"origin": "https://evil.example"})
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 404),  # a program
        ({"origin": "http://127.0.0.1:8000"}, 404),
        ({"origin": "https://behind.a.proxy", "sec-fetch-site": "same-origin"}, 404),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "http://127.0.0.1:3000"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://[evil"}, 403),
        ({"origin": "http://127.0.0.1:8000", "sec-fetch-site": "cross-site"}, 403),
    ],
)
def test_pages_of_other_origins_change_nothing(
    snapshots: Snapshots, headers: dict[str, str], status: int
) -> None:
    """Of another port of this machine neither; and a browser that asks first gets no leave."""
    with open_client(snapshots, writable=True) as client:
        answer = client.delete("/items/0000000000000000", headers=headers)
        assert answer.status_code == status
        asked = {"access-control-request-method": "DELETE", **headers}
        leave = client.options("/items/0000000000000000", headers=asked)
        assert leave.status_code in (403, 405)
        assert not [name for name in leave.headers if name.startswith("access-control")]


def test_every_answer_has_the_headers_that_protect_the_page(client: TestClient) -> None:
    """Refusals and files too."""
    for path in ("/", "/page/app.js", "/collection", "/nowhere", "/search?k=0", "/healthz"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["cross-origin-resource-policy"] == "same-origin"


def test_with_a_token_nothing_of_the_collection_is_told_without_it(snapshots: Snapshots) -> None:
    """The page, which asks for it, and the probes are open."""
    with open_client(snapshots, token=TOKEN, hosts=None) as client:
        for path in ("/collection", "/search?text=red", "/items", "/metrics", "/items/0/thumbnail"):
            for given in ("", f"Bearer {TOKEN}x", "Bearer ", f"Basic {TOKEN}", "Bearer é"):
                answer = client.get(path, headers={"authorization": given.encode()})
                assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
            assert client.get(path, headers={"authorization": f"Bearer {TOKEN}"}).status_code in (200, 404)
        for path in ("/", "/page/app.js", "/healthz", "/readyz"):
            assert client.get(path).status_code == 200
        assert client.get("/readyz").json() == {"status": "ok"}  # a problem would name files
        assert "items" in client.get("/readyz", headers={"authorization": f"Bearer {TOKEN}"}).json()


def test_the_page_trades_the_token_for_a_cookie_that_does_not_hold_it(snapshots: Snapshots) -> None:
    """Images are asked for without a header of ours, so the browser must know something."""
    with open_client(snapshots, token=TOKEN, hosts=None) as client:
        assert client.post("/session", json={"token": "wrong"}).status_code == 401
        assert client.get("/collection").status_code == 401
        answer = client.post("/session", json={"token": TOKEN})
        cookie = answer.headers["set-cookie"]
        assert answer.status_code == 204
        assert TOKEN not in cookie
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert client.get("/collection").status_code == 200
        assert client.get("/collection", headers={"cookie": "cmh_session=wrong"}).status_code == 401


def test_a_short_token_is_refused() -> None:
    """Before any port is open."""
    with pytest.raises(ValueError, match="at least 16 characters, got 4"):
        Settings(token="1234")


@pytest.mark.parametrize("told", [True, False], ids=["told", "chunked"])
def test_a_body_above_the_limit_is_refused(snapshots: Snapshots, told: bool) -> None:
    """Whether its length is told beforehand or not; the limit itself passes."""
    with open_client(snapshots, body_bytes=10_000) as client:
        body = b"--x\r\n" + b"a" * 20_000
        content: Any = body if told else iter([body[:4000], body[4000:8000], body[8000:]])
        kind = {"content-type": "multipart/form-data; boundary=x"}
        answer = client.post("/search", content=content, headers=kind)
        assert answer.status_code == 413
        assert "at most" in answer.json()["error"]
        assert client.get("/search?text=red").status_code == 200


def guarded(settings: Settings) -> Guard:
    """An application that reads its body, and one that fails."""
    app = FastAPI()

    @app.post("/read")
    async def read(request: Request) -> int:
        return len(await request.body())

    @app.get("/fail")
    async def fail() -> None:
        raise RuntimeError("secret detail")

    return Guard(app, settings, Metrics())


async def call(guard: Guard, method: str, path: str, receive: Any) -> tuple[int, bytes]:
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"localhost")]
    scope = {"type": "http", "method": method, "path": path, "headers": headers, "query_string": b""}
    await guard({**scope, "raw_path": path.encode(), "http_version": "1.1"}, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    """Each piece within the time, but not all of them."""

    async def trickle() -> dict[str, Any]:
        await asyncio.sleep(0.05)
        return {"type": "http.request", "body": b"a", "more_body": True}

    began = time.monotonic()
    status, body = asyncio.run(call(guarded(Settings(seconds=0.2)), "POST", "/read", trickle))
    assert status == 408
    assert b"took more than 0.2 s" in body
    assert time.monotonic() - began < 2


def test_bodies_are_bounded_together() -> None:
    """Each is within the limit of one; what is too much at the same time is let in afterwards."""

    async def ask() -> list[tuple[int, bytes]]:
        guard, goes_on = guarded(Settings(body_bytes=100, bodies=1.5)), asyncio.Event()
        pieces = iter([b"a" * 90, b""])

        async def slow() -> dict[str, Any]:
            piece = next(pieces)
            if not piece:
                await goes_on.wait()
            return {"type": "http.request", "body": piece, "more_body": bool(piece)}

        async def whole() -> dict[str, Any]:
            return {"type": "http.request", "body": b"a" * 90, "more_body": False}

        held = asyncio.create_task(call(guard, "POST", "/read", slow))
        await asyncio.sleep(0.05)  # it has its first piece
        refused = await call(guard, "POST", "/read", whole)
        goes_on.set()
        return [await held, refused, await call(guard, "POST", "/read", whole)]

    held, refused, after = asyncio.run(ask())
    assert (held[0], held[1]) == (200, b"90")
    assert refused[0] == 503
    assert b"at once" in refused[1]
    assert after[0] == 200


def test_a_failure_is_said_without_its_details() -> None:
    """Which are in the log."""

    async def nothing() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    status, body = asyncio.run(call(guarded(Settings()), "GET", "/fail", nothing))
    assert status == 500
    assert b"secret" not in body
