r"""The table of a user's own dataset: a CSV file in UTF-8, one item a line.

    image    path of the image below the folder, with / or \; also called file_name (Hugging Face)
    text     the text
    labels   separated by | or ;, or a JSON list of strings
    id       identifier of the item (optional; else the image's path)
    group    items of one group stay on one side of the split (optional; else the image)
    split    train, query, database or validation (optional; also test = query, val = validation)

Cells that look like another notation are refused rather than taken for one label.
"""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten

REQUIRED = ("image", "text", "labels")
ALLOWED = (*REQUIRED, "id", "group", "split")
SPLITS = {
    "train": "train", "training": "train", "query": "query", "test": "query", "database": "database",
    "retrieval": "database", "validation": "validation", "val": "validation", "valid": "validation",
    "dev": "validation",
}  # fmt: skip
MAX_BYTES = 2 << 30
MAX_CELL = 4 << 20  # characters; csv's own limit is 131,072

_ALIASES = {"file_name": "image", "filename": "image"}
_MISSING = ("nan", "none", "null", "n/a", "<na>")  # how programs write that there is no value
_QUOTED = r"""(?:'[^'\\]*'|"[^"\\]*")"""
_PYTHON_LIST = re.compile(rf"[\[(]\s*{_QUOTED}(?:\s*,\s*{_QUOTED})*\s*,?\s*[\])]")


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    line: int
    image: str
    text: str
    labels: tuple[str, ...]
    id: str
    group: str
    split: str  # train, query, database, validation; "" where the table has no such column


def read(items: Path) -> list[Row]:
    """Return the rows of the table; empty ones are passed over.

    Raises:
        ValueError: naming the file, the line and the cell.
    """
    cells = list(_rows(items))
    has_split = bool(cells) and "split" in cells[0][1]
    _check_separators(items, [(line, row["labels"]) for line, row in cells])
    return [
        Row(
            line,
            image=row["image"].strip().replace("\\", "/"),
            text=row["text"].strip(),
            labels=_labels(row["labels"].strip(), f"{items}, line {line}"),
            id=row.get("id", "").strip(),
            group=row.get("group", "").strip(),
            split=_split(row["split"], f"{items}, line {line}") if has_split else "",
        )
        for line, row in cells
    ]


def remarks(items: Path, rows: Sequence[Row]) -> list[str]:
    """Return what a person should know about the table, a line each."""
    with io.StringIO(_text(items), newline="") as stream:
        columns = _columns(next(csv.reader(stream, delimiter=_separator(stream.getvalue())), []))
    found = []
    unread = [name for name in columns if name not in ALLOWED]
    if unread:
        found.append(
            f"column(s) {', '.join(unread)} of {items.name} are not read; read are {', '.join(ALLOWED)}"
        )
    missing = sum(row.text.lower() in _MISSING for row in rows)
    if missing:
        found.append(f"{missing} text(s) of {items.name} are a word such as 'nan' that means a missing value")
    labels = Counter(label for row in rows for label in row.labels)
    commonest = ", ".join(f"{label} ({count})" for label, count in labels.most_common(5))
    found.append(f"{items.name}: {len(rows)} items with {len(labels)} labels, the commonest are {commonest}")
    return found


def _labels(cell: str, where: str) -> tuple[str, ...]:
    if cell.startswith(("[", "(", "{")):
        return _listed(cell, where)
    labels = tuple(dict.fromkeys(filter(None, (part.strip() for part in re.split(r"[|;]", cell)))))
    for label in labels:
        if label.lower() in _MISSING:
            raise ValueError(
                f"{where}: label {_shown(label)} is how programs write a missing value; leave the cell "
                "empty, or write "
                f'["{label[:60]}"] if it is a label'
            )
    return labels


def _listed(cell: str, where: str) -> tuple[str, ...]:
    """Return the labels of a JSON list, or of a Python list of strings."""
    try:
        found = json.loads(cell)
    except (ValueError, RecursionError):
        quoted = re.findall(_QUOTED, cell) if _PYTHON_LIST.fullmatch(cell) else None
        found = quoted and [label[1:-1] for label in quoted]
    if not isinstance(found, list) or not all(isinstance(label, str | int) for label in found):
        raise ValueError(
            f"{where}: labels {_shown(cell)} are not understood; separate labels with | or ;, or write a "
            "JSON list of "
            'strings such as ["red", "fruit"]'
        )
    return tuple(dict.fromkeys(filter(None, (str(label).strip() for label in found))))


def _check_separators(items: Path, cells: Sequence[tuple[int, str]]) -> None:
    """Refuse commas between labels: "red, fruit" would be one label, and every item would have its own."""
    plain = [(line, cell) for line, cell in cells if not cell.strip().startswith(("[", "(", "{"))]
    if any("|" in cell or ";" in cell for _, cell in plain):
        return  # then a comma belongs to a name
    for mark in (",", "\t", "\n"):
        line, cell = next(((line, cell) for line, cell in plain if mark in cell.strip()), (0, ""))
        if line:
            raise ValueError(
                f"{items}, line {line}: labels {_shown(cell)} hold {mark!r}, and no line of the table has "
                f"| or ;; separate labels with | or ;.  If {mark!r} belongs to a name, write it as a JSON "
                f"list: {json.dumps([cell.strip()[:60]])}"
            )


def _shown(cell: str) -> str:
    return repr(cell if len(cell) <= 60 else cell[:57] + "...")


def _split(cell: str, where: str) -> str:
    known = SPLITS.get(cell.strip().lower())
    if known is None:
        raise ValueError(
            f"{where}: split {_shown(cell.strip())} is not known; allowed are {', '.join(SPLITS)} on every "
            "line, or no column 'split'"
        )
    return known


def _text(items: Path) -> str:
    if not items.is_file():
        raise ValueError(f"{items} is not a file; give a CSV file with the columns {', '.join(REQUIRED)}")
    if items.stat().st_size > MAX_BYTES:
        raise ValueError(f"{items} has {items.stat().st_size} bytes; tables of at most {MAX_BYTES} are read")
    try:
        return items.read_text(encoding="utf-8-sig")  # -sig: spreadsheets put a byte order mark in front
    except UnicodeDecodeError as error:
        raise ValueError(f"{items} is not UTF-8 (byte {error.start}); save it as CSV UTF-8") from None


def _separator(text: str) -> str:
    """Return the mark between columns: spreadsheets write ; or a tab in some countries."""
    return max(",;\t", key=text.split("\n", 1)[0].count)


def _columns(header: Sequence[str]) -> list[str]:
    names = [name.strip().lower() for name in header]
    return [_ALIASES[name] if name in _ALIASES and "image" not in names else name for name in names]


def _rows(items: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield line numbers and rows."""
    text = _text(items)
    separator = _separator(text)
    before = csv.field_size_limit(MAX_CELL)
    # StringIO ends lines as files do; str.splitlines would also at characters that texts hold.
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        columns = _columns(next(rows, []))
        _check_columns(items, columns)
        for row in rows:
            if not any(cell.strip() for cell in row):  # an empty line, or a line of separators alone
                continue
            if len(row) != len(columns):
                raise ValueError(
                    f"{items}, line {rows.line_num}: {len(row)} fields for {len(columns)} columns; "
                    f"put texts with {separator!r} in quotes"
                )
            yield rows.line_num, dict(zip(columns, row, strict=True))
    except csv.Error as error:
        raise ValueError(
            f"{items}, line {rows.line_num}: {error}; close every quote, write a quote within a text "
            f"twice, and keep texts below {MAX_CELL} characters"
        ) from error
    finally:
        csv.field_size_limit(before)


def _check_columns(items: Path, columns: Sequence[str]) -> None:
    named = [name for name in columns if name in ALLOWED]
    missing = [name for name in REQUIRED if name not in named]
    twice = [name for name in dict.fromkeys(named) if named.count(name) > 1]
    if missing or twice:
        raise ValueError(
            f"{items} "
            + (f"lacks the column(s) {', '.join(missing)}" if missing else f"has {', '.join(twice)} twice")
            + f"; it has {shorten(', '.join(columns), 200) or 'none'}; read are {', '.join(ALLOWED)}"
        )
