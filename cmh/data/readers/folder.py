"""A folder of images and a table of their texts and labels: the user's own data.

Reads: images  a folder;
       items   a CSV file in UTF-8 with a header: image (path below the folder), text, labels (separated by |
               or ;), and if wanted id (else the image's path) and group (items of one group stay on one side
               of the split).
"""

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from cmh.data.records import Record

REQUIRED = ("image", "text", "labels")
ALLOWED = (*REQUIRED, "id", "group")
MAX_IMAGE_BYTES = 64 << 20


def read(sources: Mapping[str, Path], options: Mapping[str, Any]) -> Iterator[Record]:
    """Yield one record per line of the table, in its order.

    Raises:
        ValueError: naming the file and the line: not UTF-8, missing columns, an image outside the folder. A
            missing image is an error of that record only, when its bytes are asked for.
    """
    images, items = sources["images"], sources["items"]
    if not images.is_dir():
        raise ValueError(f"{images} is not a folder; give the folder that holds the images")
    if not items.is_file():
        raise ValueError(f"{items} is not a file; give a CSV file with the columns {', '.join(REQUIRED)}")
    inside = images.resolve()
    for line, row in _rows(items):
        name = row["image"].strip()
        path = images / name
        if not name or "\0" in name or not path.resolve().is_relative_to(inside):
            raise ValueError(f"{items}, line {line}: image {name!r} is not a file name below {images}")
        if any(part.startswith(".") for part in Path(name).parts):
            raise ValueError(f"{items}, line {line}: image {name!r} is hidden; rename it, without the dot")
        identity = row.get("id", "").strip() or name
        yield Record(
            id=identity,
            source=items.name,
            group=row.get("group", "").strip() or identity,
            text=row["text"].strip(),
            media_type="image/svg+xml" if path.suffix.lower() == ".svg" else "image",
            image=partial(_bytes, path),
            traits={"labels": tuple(filter(None, (s.strip() for s in re.split(r"[|;]", row["labels"]))))},
        )


def _rows(items: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Return line numbers and rows."""
    try:
        text = items.read_text(encoding="utf-8-sig")  # -sig: spreadsheets put a byte order mark in front
    except UnicodeDecodeError as error:
        raise ValueError(f"{items} is not UTF-8 (byte {error.start}); save it as CSV UTF-8") from None
    header = text.split("\n", 1)[0]
    # Spreadsheets write ; or a tab in some countries; in `labels` ; is fine where the table has commas.
    separator = max(",;\t", key=header.count)
    # StringIO ends lines as files do; str.splitlines would also at characters that texts hold.
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        columns = [name.strip().lower() for name in next(rows, [])]
        _check_columns(items, columns)
        for row in rows:
            if not row:  # an empty line
                continue
            if len(row) != len(columns):
                raise ValueError(
                    f"{items}, line {rows.line_num}: {len(row)} fields for {len(columns)} columns; "
                    f"put texts with {separator!r} in quotes"
                )
            yield rows.line_num, dict(zip(columns, row, strict=True))
    except csv.Error as error:
        raise ValueError(
            f"{items}, line {rows.line_num}: {error}; close every quote, and write a quote within a text "
            "twice"
        ) from error


def _check_columns(items: Path, columns: Sequence[str]) -> None:
    named = [name for name in columns if name in ALLOWED]
    missing = [name for name in REQUIRED if name not in named]
    twice = [name for name in dict.fromkeys(named) if named.count(name) > 1]
    if missing or twice:
        raise ValueError(
            f"{items} "
            + (f"lacks the column(s) {', '.join(missing)}" if missing else f"has {', '.join(twice)} twice")
            + f"; it has {', '.join(columns) or 'none'}; read are {', '.join(ALLOWED)}"
        )


def _bytes(path: Path) -> bytes:
    if not path.is_file():
        raise FileNotFoundError(f"image file {path.name} is missing")
    if path.stat().st_size > MAX_IMAGE_BYTES:
        raise ValueError(f"image file {path.name} has more than {MAX_IMAGE_BYTES} bytes")
    return path.read_bytes()
