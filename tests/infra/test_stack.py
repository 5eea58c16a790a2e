"""What the stack keeps and asks, without its servers."""

import os
import socket
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra import processes, stack, stack_servers
from infra.stack import Server, Stack


@pytest.fixture
def prepared(cmh_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    """A stack with its own S3, of which nothing is started yet."""
    monkeypatch.setattr(stack, "weed", lambda: "weed")
    started, _ = stack.prepare()
    yield started
    stack.end(started)


def test_clients_get_the_account_of_the_stack(prepared: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever store another shell works on: `cmh status` there asks the same servers."""
    mine = stack.environment(prepared)
    assert mine["AWS_ACCESS_KEY_ID"] == "cmh"
    monkeypatch.setenv("CMH_STORE", "/elsewhere")
    assert stack.environment(prepared)["AWS_SECRET_ACCESS_KEY"] == mine["AWS_SECRET_ACCESS_KEY"]


def test_what_servers_keep_is_the_users_alone(prepared: Stack, cmh_home: Path) -> None:
    """Logs, Prefect's database and secrets; artifacts follow the umask, as a team may share them."""
    for private in (cmh_home / "local", cmh_home / "prefect"):
        assert private.stat().st_mode & 0o077 == 0


def test_a_damaged_note_of_what_runs_is_said(cmh_home: Path) -> None:
    """Nothing is taken for down that may be up."""
    stack.folder().mkdir(parents=True)
    (stack.folder() / "stack.json").write_text("{")
    with pytest.raises(ValueError, match="is damaged, so what was started"):
        stack.read()


def test_an_account_of_the_user_is_left_alone(cmh_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where artifacts are kept in a store of theirs, also in a shell that names none."""
    monkeypatch.setattr(stack, "weed", lambda: "weed")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "theirs")
    monkeypatch.setenv("CMH_STORE", "s3://theirs/store")
    started, _ = stack.prepare()
    monkeypatch.delenv("CMH_STORE")
    known = stack.environment(started)
    stack.end(started)
    assert (known["CMH_STORE"], known["AWS_ACCESS_KEY_ID"]) == ("s3://theirs/store", "theirs")


def test_a_folder_is_the_same_one_for_every_server(
    cmh_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs of Prefect's worker have a working folder of their own, which is deleted after them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CMH_STORE", "my store")
    started, _ = stack.prepare()
    stack.end(started)
    assert started.environment["CMH_STORE"] == str(tmp_path / "my store")


def test_a_server_that_talks_nonsense_does_not_answer(prepared: Stack, tmp_path: Path) -> None:
    """It is not up, and nothing breaks."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def talk() -> None:
            one, _ = listening.accept()
            with one:
                one.recv(4096)
                one.sendall(b"nonsense\r\n\r\n")

        thread = threading.Thread(target=talk, daemon=True)  # nobody may ask: the test fails, and ends
        thread.start()
        pid = processes.start(["sleep", "60"], os.environ, tmp_path / "log", prepared.mark)
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        try:
            server = Server(name="dask", pid=pid, address=address, log=tmp_path / "log")
            assert not stack_servers.answers(prepared, server)
        finally:
            processes.end(None, prepared.mark, grace=1)
            thread.join(10)


def test_two_at_once_take_turns(cmh_home: Path) -> None:
    """`cmh up` beside `cmh up` waits, and says so; what was killed lets go."""
    told: list[str] = []
    order: list[str] = []

    def second() -> None:
        with stack.alone(lambda: told.append("waits")):
            order.append("second")

    with stack.alone(lambda: told.append("nobody is there")):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.3)
        order.append("first")
    thread.join(10)
    assert (told, order) == (["waits"], ["first", "second"])


def test_a_process_that_is_gone_is_not_there() -> None:
    """Nor is one of the same number that somebody else started."""
    assert processes.started(2**22 + 1, uuid.uuid4().hex) is None
    assert processes.started(os.getpid(), uuid.uuid4().hex) is None
