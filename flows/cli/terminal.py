"""What the commands print: tables and lines for people, JSON lines for programs."""

import json
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from infra.logging import plain

_out = Console()
_WIDE = 1000  # characters of a line in a file or pipe, where nothing is folded
TITLE = 200  # characters of a table's title
Json = Annotated[bool, Parameter(name="--json", negative="", help="machine-readable output")]


def show(rows: list[dict[str, Any]], as_json: bool, title: str = "") -> None:
    """Print rows as a table for people, or as JSON lines for programs."""
    if as_json:
        for row in rows:
            print(json.dumps(row, default=str))
        return
    title = title if len(title) <= TITLE else f"{title[: TITLE - 3]}..."
    table = Table(header_style="bold", box=None, pad_edge=False)
    for head in rows[0] if rows else ():
        table.add_column(head, overflow="fold")
    for row in rows:
        table.add_row(*(_plain("" if value is None else str(value)) for value in row.values()))
    out = _out if _out.is_terminal else Console(width=_WIDE)
    if not rows:
        out.print(Text(plain(f"{title}: none" if title else "none")))
        return
    if title:  # not the table's own, which is folded to the width of the table
        out.print(_plain(title), style="italic", soft_wrap=True)
    out.print(table)


def say(line: str, style: str = "") -> None:
    """Print one line, word for word: brackets in paths and texts are no markup."""
    _out.print(_plain(line), style=style, highlight=False, soft_wrap=True)


def _plain(text: str) -> Text:
    return Text(plain(text))


def size(count: int) -> str:
    """Return bytes for people.

    >>> size(18_800_000)
    '18.8 MB'
    """
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"
