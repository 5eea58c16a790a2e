"""Download a file from a server that is not trusted: bounded, resumable, no redirects inwards."""

import http.client
import ipaddress
import shutil
import socket
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from infra.logging import mask

Progress = Callable[[str, int, int | None], None]
"""Called with what is fetched, bytes so far, and bytes in all (None where the server does not say)."""

BLOCK = 1 << 20
TIMEOUT_S = 60  # without a byte; a whole download may take as long as it needs
MAX_BYTES = 500 << 30
SPARE = 1 << 30  # bytes of the disk that a download leaves free


class DownloadError(ValueError):
    """A file could not be downloaded; the message says why and what to do."""


def download(address: str, partial: Path, progress: Progress | None) -> None:
    """Download into `partial`, going on after what is there.

    Raises:
        DownloadError: if the server fails, redirects to where it may not, or sends too much.
    """
    shown = mask(address)  # it may be signed
    have = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(address, headers={"Range": f"bytes={have}-"} if have else {})
    opener = urllib.request.build_opener(_Redirects(address))
    try:
        with opener.open(request, timeout=TIMEOUT_S) as response:
            if response.status != 206:  # the server knows no ranges: from the start
                have = 0
            length = response.headers.get("Content-Length", "")
            total = have + int(length) if length.isdecimal() else None
            _check_room(shown, partial, (total or 0) - have, total or 0)
            with partial.open("ab" if have else "wb") as target:
                while block := response.read(BLOCK):
                    target.write(block)
                    have += len(block)
                    if total is None:
                        _check_room(shown, partial, BLOCK, have)
                    if progress:
                        progress(shown, have, total)
            if total is not None and have < total:
                raise DownloadError(f"{shown}: broke off at {have} of {total} bytes; run again to go on")
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing after what we have: complete, the checksum will tell
            return
        raise DownloadError(
            f"{shown}: the server answers {error.code} {error.reason[:200]}; check the address, or try "
            "again later"
        ) from error
    except (OSError, http.client.HTTPException) as error:
        said = f"{type(error).__name__} {str(error)[:200]}"
        raise DownloadError(f"{shown}: {said}; check the connection and run again to go on") from error


def _check_room(address: str, partial: Path, more: int, size: int) -> None:
    free = shutil.disk_usage(partial.parent).free
    if size > MAX_BYTES or more + SPARE > free:
        raise DownloadError(
            f"{address}: {size} bytes or more, of at most {MAX_BYTES}, and {free} bytes are free in "
            f"{partial.parent}; free some space, or set CMH_HOME to a larger disk"
        )


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects to http(s) only, never from https to http, nor from a public host to a private one."""

    def __init__(self, address: str) -> None:
        self.address = address

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        before, after = urlsplit(req.full_url), urlsplit(newurl)
        fault = ""
        if after.scheme not in ("http", "https"):
            fault = f"the scheme {after.scheme[:20]!r}"
        elif (before.scheme, after.scheme) == ("https", "http"):
            fault = "plain http"
        elif not _is_private(urlsplit(self.address).hostname) and _is_private(after.hostname):
            fault = "a private address"
        if fault:
            raise DownloadError(
                f"{mask(self.address)}: the server redirects to {fault}, which is not followed"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _is_private(host: str | None) -> bool:
    try:
        addresses = socket.getaddrinfo(host or "", None)
    except (OSError, UnicodeError):
        return False  # then it cannot be reached either
    return any(not ipaddress.ip_address(str(one[4][0]).partition("%")[0]).is_global for one in addresses)
