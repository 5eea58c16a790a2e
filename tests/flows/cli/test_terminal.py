"""What is printed is what was found: no text of a user's is taken for markup, or steers the terminal."""

import json

import pytest

from flows.cli import terminal

TEXT = "IMG [old] [/b] \x1b[31mscan\x07"


def test_brackets_are_text_and_controls_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """In cells, titles and lines."""
    terminal.show([{"text": TEXT}], False, TEXT)
    terminal.say(TEXT, "dim")
    printed = capsys.readouterr().out
    assert printed.count("IMG [old] [/b] \ufffd[31mscan\ufffd") == 3


def test_json_holds_it_unchanged(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.show([{"text": TEXT}], True)
    assert json.loads(capsys.readouterr().out) == {"text": TEXT}
