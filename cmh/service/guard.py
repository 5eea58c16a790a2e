"""What every request passes around the application: host, origin, token, size, time, headers, log."""

import asyncio
import hashlib
import hmac
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.cookies import CookieError, SimpleCookie

from fastapi import HTTPException
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cmh.service.metrics import Metrics
from cmh.service.settings import Settings

log = logging.getLogger(__name__)

COOKIE = "cmh_session"
_OPEN = ("/", "/healthz", "/readyz", "/session", "/openapi.json")  # hold nothing of the collection
_QUIET = ("/", "/page/", "/healthz", "/readyz", "/metrics", "/items/")  # logged only if something is wrong
_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


def session(token: str) -> str:
    """Return what the page's cookie holds in place of the token."""
    return hmac.new(token.encode(), b"cmh session", hashlib.sha256).hexdigest()


def is_token(given: str, token: str) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(given.encode(), token.encode())


class Guard:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics) -> None:
        self._app, self._settings, self._metrics = app, settings, metrics
        self._bodies = _Bodies(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        try:
            if refusal := self._refusal(scope):
                await refusal(scope, receive, answer)
            else:
                with self._bodies.one(receive, scope) as body:
                    await self._app(scope, body.receive, answer)
        except ClientDisconnect:
            pass
        except Exception:
            log.exception("a request failed")
            if not status:
                failed = JSONResponse({"error": "the service failed; its log says more"}, 500)
                await failed(scope, receive, answer)
        finally:
            self._note(scope, status, time.perf_counter() - began)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        """Return the answer to a request that is not let in."""
        headers = Headers(scope=scope)
        path = scope["path"].removeprefix(scope.get("root_path", ""))  # of one of several collections
        hosts, host = self._settings.hosts, _host(headers.get("host", ""))
        if hosts is not None and host not in hosts:
            # A page of another site may have made its own name an alias of this machine (DNS rebinding).
            names = " or ".join(sorted(hosts))
            return JSONResponse(
                {"error": f"this service is called {names}, not {host[:80]!r}; use one of these addresses"},
                421,
            )
        if _is_foreign(scope["method"], headers):
            return JSONResponse({"error": "pages of other sites may not ask this service"}, 403)
        if path in _OPEN or path.startswith("/page/") or admits(headers, self._settings.token):
            return None
        return JSONResponse(
            {"error": "a token is needed: send the header Authorization: Bearer TOKEN"},
            401,
            {"www-authenticate": "Bearer"},
        )

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        # The template of the path, not the path: it holds neither items nor queries.
        route = str(getattr(scope.get("route"), "path", "other"))
        self._metrics.requests.labels(route, str(status)).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        quiet = status < 400 and any(route == one or (one != "/" and route.startswith(one)) for one in _QUIET)
        fields = {"method": scope["method"], "route": route, "status": status, "ms": round(seconds * 1e3, 1)}
        log.log(logging.DEBUG if quiet else logging.INFO, "request", extra={"fields": fields})


class _Bodies:
    """The bodies of all requests at the same time, which may not hold more than the settings say."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._held = settings, 0

    @contextmanager
    def one(self, receive: Receive, scope: Scope) -> Iterator["_Body"]:
        """Yield the body of one request; with the block ends what it holds."""
        body = _Body(receive, scope, self._settings, self._hold)
        try:
            yield body
        finally:
            self._held -= body.bytes

    def _hold(self, size: int) -> None:
        self._held += size
        if self._held > self._settings.bodies * self._settings.body_bytes:
            raise HTTPException(503, "too many large requests come at once; try again", {"retry-after": "1"})


class _Body:
    """The body of a request, which may not be larger or come slower than the settings say."""

    def __init__(
        self, receive: Receive, scope: Scope, settings: Settings, hold: Callable[[int], None]
    ) -> None:
        self._receive, self._settings, self._hold, self.bytes = receive, settings, hold, 0
        self._until, self._whole = time.monotonic() + settings.seconds, False
        length = Headers(scope=scope).get("content-length", "")
        self._told = int(length) if length.isascii() and length.isdecimal() else 0

    async def receive(self) -> Message:
        """Return the next message.

        Raises:
            HTTPException: 413, 408 or 503.
        """
        if self._whole:
            return await self._receive()
        self._check_size(self._told)
        try:
            message = await asyncio.wait_for(self._receive(), self._until - time.monotonic())
        except TimeoutError:
            raise HTTPException(408, f"the body took more than {self._settings.seconds:g} s") from None
        size = len(message.get("body", b""))
        self.bytes += size
        self._hold(size)
        self._whole = not message.get("more_body", False)
        self._check_size(self.bytes)
        return message

    def _check_size(self, size: int) -> None:
        if size > self._settings.body_bytes:
            most = f"{self._settings.body_bytes / 2**20:g} MiB"
            raise HTTPException(413, f"a request has at most {most}; send smaller or fewer images")


def _is_foreign(method: str, headers: Headers) -> bool:
    """Return whether a page of another origin asks, by what the browser says; a link to here may be followed.

    Browsers name the relation of the two (Sec-Fetch-Site) on HTTPS and on this machine; with what changes
    something they name the page's origin everywhere.
    """
    site = headers.get("sec-fetch-site")
    if site in ("cross-site", "same-site"):  # the latter: another port or another name below the same domain
        return method != "GET" or headers.get("sec-fetch-mode") != "navigate"
    origin = headers.get("origin")
    if site is not None or origin is None or method not in ("PUT", "DELETE"):
        return False
    return origin.partition("://")[2].lower() != headers.get("host", "").lower()


def _host(header: str) -> str:
    """Return the name of a Host header, without the port."""
    name, colon, port = header.rpartition(":")
    return (name if colon and port.isdecimal() else header).strip("[]").lower()


def admits(headers: Headers, token: str | None) -> bool:
    """Return whether a request proves that it knows the token, by its header or the page's cookie."""
    if token is None:
        return True
    scheme, _, given = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return is_token(given.strip(), token)
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return False
    return cookie is not None and is_token(cookie.value, session(token))
