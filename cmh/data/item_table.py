r"""What the columns of a user's own table mean, and what is said of cells that are not understood.

    image    path of the image below the folder, with / or \; also called file_name (Hugging Face)
    text     the text; also called caption.  A list of texts is an item each
    labels   separated by | or ;, or a JSON list of strings (optional, as is each cell)
    id       identifier of the item (optional; else the image's path)
    group    items of one group stay on one side of the split (optional; else the image)
    split    train, query, database or validation (optional; also test = query, val = validation)

Columns of other names are read where the caller says which is which (`{"image": "path", "text": "title"}`).
Cells that look like another notation are refused rather than taken for one label.
"""

import json
import math
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import shorten
from typing import Any

from cmh.data import tables
from cmh.data.tables import Table

REQUIRED = ("image", "text")
ALLOWED = (*REQUIRED, "labels", "id", "group", "split")
SPLITS = {
    "train": "train", "training": "train", "restval": "train", "query": "query", "test": "query",
    "database": "database", "retrieval": "database", "validation": "validation", "val": "validation",
    "valid": "validation", "dev": "validation",
}  # fmt: skip

ALIASES = {"file_name": "image", "filename": "image", "caption": "text"}
MISSING = ("nan", "none", "null", "n/a", "<na>")  # how programs write that there is no value
_QUOTED = r"""(?:'[^'\\]*'|"[^"\\]*")"""
_PYTHON_LIST = re.compile(rf"[\[(]\s*{_QUOTED}(?:\s*,\s*{_QUOTED})*\s*,?\s*[\])]")


@dataclass(frozen=True, slots=True)
class Row:
    """One item of a table."""

    place: str  # such as "line 2"
    image: str
    text: str
    labels: tuple[str, ...]
    id: str
    group: str
    split: str  # train, query, database, validation; "" where the table has no such column


@dataclass(frozen=True)
class ItemTable:
    """A table that was understood.

    Attributes:
        name: of the file, for messages.
        kind: CSV, TSV, JSON Lines, JSON or Parquet.
        columns: each column → what it is read as; None: it is not read.
        rows: its items; empty lines are passed over.
    """

    name: str
    kind: str
    columns: Mapping[str, str | None]
    rows: Sequence[Row] = field(repr=False)


def columns_of(given: str) -> dict[str, str]:
    """Return what is read → the column that holds it, of what a person writes.

    Raises:
        ValueError: it is not understood.

    >>> columns_of("image=path, text=caption")
    {'image': 'path', 'text': 'caption'}
    """
    found: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in given.split(","))):
        meaning, equals, column = (piece.strip() for piece in part.partition("="))
        if meaning not in ALLOWED or not equals or not column or meaning in found:
            raise ValueError(
                f"columns {given[:200]!r} are not understood at {part[:60]!r}; write WHAT=COLUMN, such as "
                f"image=path,text=caption, for each of {', '.join(ALLOWED)} once at most"
            )
        found[meaning] = column
    return found


def read(items: Path, columns: Mapping[str, str] | None = None) -> ItemTable:
    """Read the table at `items`.

    Args:
        items: the file.
        columns: what is read → the column that holds it, where it has another name.

    Raises:
        ValueError: naming the file, the line and the cell.
    """
    return understand(tables.read(items), columns or {})


def understand(
    table: Table, columns: Mapping[str, str], required: Sequence[str] = REQUIRED
) -> ItemTable:  # fmt: skip
    """Read the rows of a table; as `read`.

    required: what its columns have to hold.
    """
    read_as = _read_as(table, columns, required)
    column = {meaning: name for name, meaning in read_as.items() if meaning is not None}
    for meaning, name in column.items():
        if name in table.unread and meaning != "image":  # images may lie in the table itself
            raise ValueError(
                f"{table.name}: column {name!r} holds {table.unread[name]}, which is not read as {meaning}; "
                "write texts or numbers" + (", or lists of these" if meaning in ("labels", "text") else "")
            )
    cells = [(place, {meaning: row[name] for meaning, name in column.items()}) for place, row in table.rows]
    _check_separators(table.name, [(place, row.get("labels", "")) for place, row in cells])
    rows = [row for place, found in cells for row in _rows(found, place, table.name, "split" in column)]
    return ItemTable(Path(table.name).name, table.kind, read_as, rows)


def _rows(cells: Mapping[str, Any], place: str, name: str, has_split: bool) -> list[Row]:
    """Return the items of one line: one, or one for each of its texts."""
    where = f"{name}, {place}"
    said = cells.get("text", "")
    texts = [_text(one, where, "text") for one in (said if isinstance(said, list) and said else [said])]
    labels = _labels(cells.get("labels", ""), where)
    image, id_, group = (_text(cells.get(key, ""), where, key) for key in ("image", "id", "group"))
    split = _split(_text(cells["split"], where, "split"), where) if has_split else ""
    image = image.replace("\\", "/")
    if len(texts) == 1:
        return [Row(place, image, texts[0], labels, id_, group, split)]
    return [
        Row(place, image, text, labels, f"{id_}#{number}" if id_ and number > 1 else id_, group, split)
        for number, text in enumerate(texts, start=1)
    ]


def remarks(table: ItemTable) -> list[str]:
    """Return what a person should know about the table, a line each."""
    found, rows = [], table.rows
    unread = [name for name, meaning in table.columns.items() if meaning is None]
    if unread:
        found.append(
            f"column(s) {', '.join(unread)} of {table.name} are not read; read are {', '.join(ALLOWED)} "
            "(--columns says which column is which)"
        )
    missing = sum(row.text.lower() in MISSING for row in rows)
    if missing:
        found.append(f"{missing} text(s) of {table.name} are a word such as 'nan' that means a missing value")
    labels = Counter(label for row in rows for label in row.labels)
    commonest = ", ".join(f"{label} ({count})" for label, count in labels.most_common(5))
    told = f"with {len(labels)} labels, the commonest are {commonest}" if labels else "without labels"
    found.append(f"{table.name}: {len(rows)} items {told}")
    without = sum(not row.labels for row in rows)
    if labels and without:
        found.append(f"{without} of {len(rows)} items of {table.name} have no label")
    return found


def _text(cell: Any, where: str, column: str) -> str:
    """Return a cell as text; what programs write where there is no value is empty."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)  # whole numbers become fractions in a column where some are missing
    if isinstance(cell, list | dict | bool):
        written = json.dumps(cell, default=str)  # as in the table: true, not True
        raise ValueError(f"{where}: {column} {_shown(written)} is not understood; write a text or a number")
    return str(cell).strip()


def _labels(cell: Any, where: str) -> tuple[str, ...]:
    if isinstance(cell, list | dict):
        return _listed(json.dumps(cell), where)
    if isinstance(cell, bool):
        raise ValueError(
            f"{where}: labels {json.dumps(cell)} is yes or no, which names no label; write the names of the "
            "item's labels, such as red|fruit, or null where it has none"
        )
    cell = _text(cell, where, "labels")
    if cell.startswith(("[", "(", "{")):
        return _listed(cell, where)
    parts = filter(None, map(str.strip, re.split(r"[|;]", cell)))
    labels = tuple(dict.fromkeys(map(sys.intern, parts)))  # few of them for many items
    for label in labels:
        if label.lower() in MISSING:
            raise ValueError(
                f"{where}: label {_shown(label)} is how programs write a missing value; leave the cell "
                f'empty, or write ["{label[:60]}"] if it is a label'
            )
    return labels


def _listed(cell: str, where: str) -> tuple[str, ...]:
    """Return the labels of a JSON list, or of a Python list of strings."""
    try:
        found = json.loads(cell)
    except (ValueError, RecursionError):
        quoted = re.findall(_QUOTED, cell) if _PYTHON_LIST.fullmatch(cell) else None
        found = quoted and [label[1:-1] for label in quoted]
    if not isinstance(found, list) or not all(_is_label(label) for label in found):
        raise ValueError(
            f"{where}: labels {_shown(cell)} are not understood; separate labels with | or ;, or write a "
            'JSON list of strings such as ["red", "fruit"]'
        )
    return tuple(dict.fromkeys(filter(None, (str(label).strip() for label in found))))


def _is_label(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool))


def _check_separators(name: str, cells: Sequence[tuple[str, Any]]) -> None:
    """Refuse commas between labels: "red, fruit" would be one label, and every item would have its own."""
    texts = [(place, cell) for place, cell in cells if isinstance(cell, str)]
    plain = [(place, cell) for place, cell in texts if not cell.strip().startswith(("[", "(", "{"))]
    if any("|" in cell or ";" in cell for _, cell in plain):
        return  # then a comma belongs to a name
    for mark in (",", "\t", "\n"):
        place, cell = next(((place, cell) for place, cell in plain if mark in cell.strip()), ("", ""))
        if place:
            raise ValueError(
                f"{name}, {place}: labels {_shown(cell)} hold {mark!r}, which separates no labels; write | "
                f"or ; between them or, if {mark!r} belongs to a name, a JSON list: "
                f"{json.dumps([cell.strip()[:60]])}"
            )


def _shown(cell: str) -> str:
    return repr(cell if len(cell) <= 60 else cell[:57] + "...")


def _split(cell: str, where: str) -> str:
    known = SPLITS.get(cell.lower())
    if known is None:
        raise ValueError(
            f"{where}: split {_shown(cell)} is not known; allowed are {', '.join(SPLITS)} on every "
            "line, or no column 'split'"
        )
    return known


def _read_as(table: Table, given: Mapping[str, str], required: Sequence[str]) -> dict[str, str | None]:
    """Return what each column of the table is read as; `given` goes before names, names before aliases."""
    plain = [name.strip().lower() for name in table.columns]
    for meaning, name in given.items():
        if meaning not in ALLOWED:
            raise ValueError(
                f"--columns: nothing is read as {meaning!r}; write WHAT=COLUMN for {', '.join(ALLOWED)}"
            )
        if name.strip().lower() not in plain:
            raise ValueError(f"{table.name} has no column {name!r} for {meaning}; it has {_listing(table)}")
    taken: dict[str, str | None] = {name.strip().lower(): meaning for meaning, name in given.items()}
    found: dict[str, str | None] = {}
    for column, name in zip(table.columns, plain, strict=True):
        read_as = taken[name] if name in taken else _by_name(name, plain, given)
        if read_as in found.values() and read_as is not None:
            raise ValueError(
                f"{table.name} has {read_as} twice; it has {_listing(table)}; say which with "
                f"--columns {read_as}=COLUMN"
            )
        found[column] = read_as
    missing = [meaning for meaning in required if meaning not in found.values()]
    if missing:
        raise ValueError(
            f"{table.name} lacks the column(s) {', '.join(missing)}; it has {_listing(table)}; read are "
            f"{', '.join(ALLOWED)}, or say which is which: --columns "
            + ",".join(f"{meaning}=COLUMN" for meaning in missing)
        )
    return found


def _by_name(name: str, columns: Sequence[str], given: Mapping[str, str]) -> str | None:
    """Return what a column is read as by its own name; an alias only where the name itself is not there."""
    if name in ALLOWED:
        return None if name in given else name
    alias = ALIASES.get(name)
    return None if alias in given or alias in columns else alias


def _listing(table: Table) -> str:
    return shorten(", ".join(name.strip().lower() for name in table.columns), 200) or "none"
