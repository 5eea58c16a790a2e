"""Logs and progress: readable on a terminal, plain lines in a file, JSON lines on request, secrets in none.

    log = logging.getLogger(__name__)
    log.info("epoch done", extra={"fields": {"epoch": 3, "map": 0.51}})

`set_up()` is called once by a program (the CLI, a flow run), `set_up_worker()` by what works for it; neither
by a library.  Every JSON line of a block `with within(stage="model"):` tells that too, also on the workers
that the block sends work to.  docs/operations.md describes the fields.
"""

import json
import logging
import os
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

log = logging.getLogger(__name__)

OWN = ("cmh", "data_catalog", "infra", "flows")  # the loggers of this project
MASK = "***"
TRACEBACK = "Traceback"  # how a note begins that is shown on request only
_HOST = socket.gethostname()
LINE_EVERY = 10.0  # seconds between progress lines where there is no terminal

_SECRETS = (
    re.compile(r"(?<=://)[^/@\s]+(?=@)"),  # user:password in a URL
    re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),  # AWS access key ids
    re.compile(r"\b(?:hf_|ghp_|github_pat_|pypi-)\w{16,}"),
    re.compile(r"(?i)(?<=bearer )[\w.~+/=-]+"),
    re.compile(r"(?i)(?<=basic )[A-Za-z0-9+/=]{8,}"),
    re.compile(
        # Lengths are bounded, so that the search takes linear time.
        r"""(?ix) (?<![a-z0-9]) (?: [\w-]{0,40}[_-] )?
            (?: secret | token | password | passwd | api[_-]?key | signature | sig | credential )
            (?: [_-][\w-]{0,40} )? ["']? \s{0,9} [=:] \s{0,9} ["']? (?P<value> [^\s"'&,;\\)]+ )"""
    ),
)
_SECRET_VARIABLES = (
    *("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "RAY_AUTH_TOKEN"),
    *("PREFECT_API_KEY", "PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING"),
)


_places: dict[str, str] = {}
_circumstances: dict[str, Any] = {}  # of the process: threads that watch and renew tell them, too
_of_thread: ContextVar[dict[str, Any] | None] = ContextVar("circumstances", default=None)


def note_place(engine: str, place: str) -> None:
    """Remember where an engine of this process keeps its logs, for the message of a failure."""
    _places[engine] = place


def places() -> list[str]:
    """Return where the engines that were used keep their logs, a line each."""
    return [f"{engine}: {place}" for engine, place in _places.items()]


@contextmanager
def within(**facts: Any) -> Iterator[None]:
    """Have every JSON line that is logged within the block tell these facts, such as the run or the stage."""
    before = dict(_circumstances)
    _circumstances.update(facts)
    try:
        yield
    finally:
        _circumstances.clear()
        _circumstances.update(before)


@contextmanager
def working_for(circumstances: dict[str, Any]) -> Iterator[None]:
    """Have every JSON line that this thread logs within the block tell these facts, and no others.

    A worker may work for several runs at the same time, each in a thread of its own.
    """
    token = _of_thread.set(circumstances)
    try:
        yield
    finally:
        _of_thread.reset(token)


def circumstances() -> dict[str, Any]:
    """Return the facts of the blocks around, to go with work to another process."""
    mine = _of_thread.get()
    return dict(_circumstances if mine is None else mine)


def mask(text: str) -> str:
    """Replace what looks like a secret, and the values of variables that hold one.

    >>> mask("GET https://me:hunter2@host/x?token=abc&n=1")
    'GET https://***@host/x?token=***&n=1'
    """
    for name in _SECRET_VARIABLES:
        if len(value := os.environ.get(name, "")) >= 6:
            text = text.replace(value, MASK)
    for pattern in _SECRETS:
        text = pattern.sub(_masked, text)
    return text


def plain(text: str) -> str:
    r"""Replace characters that would steer a terminal, such as those that a file name may hold.

    >>> plain("a\x1b[2Jb").isprintable()
    True
    """
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)


def _masked(match: re.Match[str]) -> str:
    value = match.groupdict().get("value")
    return match.group().removesuffix(value) + MASK if value else MASK


def _masked_value(key: str, value: Any) -> Any:
    return mask(f"{key}={value}").removeprefix(f"{key}=") if isinstance(value, str) else value


class _Formatter(logging.Formatter):
    """message key=value ..., or one JSON object per line; masked after formatting, tracebacks included."""

    def __init__(self, *, as_json: bool, with_time: bool) -> None:
        super().__init__()
        self.as_json, self.with_time = as_json, with_time

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = getattr(record, "fields", {})
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))
        trace = self.formatException(record.exc_info) if record.exc_info else ""
        if self.as_json:
            entry = {"time": moment, "level": record.levelname, "logger": record.name}
            entry |= {"message": record.getMessage(), "host": _HOST, "pid": record.process} | circumstances()
            entry |= fields | ({"traceback": trace} if trace else {})
            return json.dumps({key: _masked_value(key, value) for key, value in entry.items()}, default=str)
        head = f"{moment} {record.levelname} {record.name}: " if self.with_time else ""
        line = " ".join([head + record.getMessage(), *(f"{key}={value}" for key, value in fields.items())])
        return plain(mask(f"{line}\n{trace}" if trace else line))


def is_json() -> bool:
    """Return whether log lines are to be JSON objects."""
    return os.environ.get("CMH_LOG") == "json"


def set_up(level: str = "INFO", *, as_json: bool | None = None) -> None:
    """Send all logs of this process to stderr; replaces what was set up before.

    `level` is for the project's own logs; those of the libraries are shown from WARNING on.
    `as_json` None: JSON lines if CMH_LOG=json.
    """
    as_json = is_json() if as_json is None else as_json
    terminal = sys.stderr.isatty() and not as_json
    handler: logging.Handler
    if terminal:
        handler = RichHandler(console=Console(stderr=True), show_path=False, rich_tracebacks=False)
    else:
        handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(as_json=as_json, with_time=not terminal))
    logging.basicConfig(level="WARNING", handlers=[handler], force=True)
    for own in OWN:
        logging.getLogger(own).setLevel(level)


def set_up_worker() -> None:
    """Send the project's own logs of this process to stderr; what an engine has set up for its own stays."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(as_json=is_json(), with_time=True))
    for own in OWN:
        logger = logging.getLogger(own)
        if not logger.handlers:
            logger.addHandler(handler)
            logger.setLevel("INFO")
            logger.propagate = False


def formatter() -> logging.Formatter:
    """Return what makes masked, plain lines of records, for handlers that add the time themselves."""
    return _Formatter(as_json=False, with_time=False)


Advance = Callable[[int], None]


@contextmanager
def progress(description: str, total: int) -> Iterator[Advance]:
    """Show how far a loop is: a bar on a terminal, else a log line every ten seconds and at the end.

    Yields a function that takes how many more of `total` are done.
    """
    console = Console(stderr=True)
    if console.is_terminal and not is_json():
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, TimeRemainingColumn(), console=console) as bars:
            bar = bars.add_task(description, total=total)
            yield lambda count: bars.advance(bar, count)
    else:
        lines = _Lines(description, total)
        yield lines.advance
        lines.tell()


class _Lines:
    """Progress as log lines."""

    def __init__(self, description: str, total: int) -> None:
        self.description, self.total, self.done = description, total, 0
        self.begun = self.told = time.monotonic()

    def advance(self, count: int) -> None:
        self.done += count
        if time.monotonic() - self.told >= LINE_EVERY and self.done < self.total:
            self.tell()

    def tell(self) -> None:
        self.told = time.monotonic()
        fields = {"done": self.done, "total": self.total, "seconds": round(self.told - self.begun, 1)}
        log.info(self.description, extra={"fields": fields})
