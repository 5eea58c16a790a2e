"""What is logged is readable, as text or JSON, and holds no secret; progress goes without a terminal too."""

import json
import logging
from collections.abc import Iterator

import pytest

from infra import logging as cmh_logging
from infra.logging import mask, progress, set_up


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """The root logger as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("https://user:hunter2@host/path", "hunter2"),
        ("key AKIAIOSFODNN7EXAMPLE used", "AKIAIOSFODNN7EXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG", "wJalrXUtnFEMI"),
        ("{'aws_secret_access_key': 'wJalrXUtnFEMI'}", "wJalrXUtnFEMI"),
        ("GET /o?X-Amz-Signature=deadbeef01&x=1", "deadbeef01"),
        ("Authorization: Bearer abc.def-123", "abc.def-123"),
        ("authorization: basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
        ('"token": "s3cr3t"', "s3cr3t"),
        ("password: hunter2, next", "hunter2"),
        ("hf_abcdefghijklmnopqrst", "hf_abcdefghijklmnopqrst"),
    ],
)
def test_secrets_are_masked(text: str, secret: str) -> None:
    """Keys, tokens and passwords in their usual disguises do not get through."""
    assert secret not in mask(text)
    assert "***" in mask(text)


@pytest.mark.parametrize(
    "text", ["epoch=3 map=0.51", "s3://bucket/codes/toy", "tokens 12 and keys", "tokenizer: none"]
)
def test_the_rest_is_left(text: str) -> None:
    """Ordinary lines stay as they are."""
    assert mask(text) == text


def test_known_variables_are_masked_wherever_they_appear(monkeypatch: pytest.MonkeyPatch) -> None:
    """The value of a secret variable is masked even where nothing around it says that it is one."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "quite-ordinary-words")
    assert mask("it failed with quite-ordinary-words in it") == "it failed with *** in it"


def test_json_lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """With CMH_LOG=json each line is an object with the fields, the traceback in it, and no secret."""
    monkeypatch.setenv("CMH_LOG", "json")
    set_up()
    log = logging.getLogger("cmh.test")
    log.info("epoch %d", 3, extra={"fields": {"map": 0.5}})
    try:
        raise ValueError("token=hunter2")
    except ValueError:
        log.exception("failed")
    first, second = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert first["message"] == "epoch 3"
    assert (first["level"], first["logger"], first["map"]) == ("INFO", "cmh.test", 0.5)
    assert "ValueError: token=***" in second["traceback"]


def test_text_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal a line has time, level, logger, message and key=value."""
    set_up(as_json=False)
    logging.getLogger("test").warning("epoch", extra={"fields": {"map": 0.5}})
    line = capsys.readouterr().err
    assert line.endswith("WARNING test: epoch map=0.5\n")


def test_progress_without_a_terminal(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Progress becomes log lines: one per interval, and one at the end with all that was done."""
    monkeypatch.setattr(cmh_logging, "LINE_EVERY", 0.0)
    caplog.set_level(logging.INFO)
    with progress("encoding", total=3) as advance:
        for _ in range(3):
            advance(1)
    assert [record.fields["done"] for record in caplog.records] == [1, 2, 3]


def test_progress_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal there is a bar that ends at the total."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    with progress("encoding", total=3) as advance:
        advance(3)
    assert "3/3" in capsys.readouterr().err


def test_lines_do_not_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Escapes of a file name are replaced, in messages and in fields."""
    set_up(as_json=False)
    logging.getLogger("infra.test").info("\x1b[2Jname \x9b31m", extra={"fields": {"file": "a\rb\x07"}})
    said = capsys.readouterr().err
    assert said.rstrip("\n").isprintable()
    assert "[2Jname" in said
