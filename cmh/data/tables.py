"""Rows of cells out of a table, whatever it is written in; the kind is told by the content, not by the name.

    CSV         in UTF-8, cells separated by commas, semicolons, tabs or |
    JSON Lines  an object a line
    JSON        a list of objects
    Parquet     columns of text, numbers, or lists of these; of images only the path beside the bytes is read

Tables are foreign: their bytes and cells are limited, and nothing in them is taken for more than a value.
"""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from cmh.data import parquet_batches

MAX_BYTES = 2 << 30  # of a table in text, and of what is read of Parquet
MAX_CELL = 4 << 20  # characters; csv's own limit is 131,072
SEPARATORS = ",;\t|"
_BETWEEN = re.compile(r"[\s,]*")  # entries of a JSON list
_NO_TABLES = {
    b"PK\x03\x04": "a zip, such as a workbook of Excel", b"\xd0\xcf\x11\xe0": "a workbook of Excel",
    b"SQLite format 3\0": "a database of SQLite", b"\x1f\x8b": "compressed", b"%PDF": "a PDF",
}  # fmt: skip

Cells = dict[str, Any]
"""Cell by column: text, and from JSON and Parquet numbers, lists and None as well."""


@dataclass(frozen=True)
class Table:
    """A table: its kind, its columns as it names them, and its rows, each with its place ("line 2")."""

    name: str
    kind: str
    columns: Sequence[str]
    rows: Iterator[tuple[str, Cells]]
    unread: Mapping[str, str] = field(default_factory=dict)  # columns without cells here → what they hold


def read(path: Path) -> Table:
    """Open the table at `path`; its rows are read as they are asked for.

    Raises:
        ValueError: naming the file, and from the rows the line: no table, too large, not UTF-8, or damaged.
    """
    if not path.is_file():
        raise ValueError(f"{path} is not a file; give a table: CSV, TSV, JSON Lines or Parquet")
    return parse(lambda: path.open("rb"), str(path), path.stat().st_size)


def parse(opened: Callable[[], IO[bytes]], name: str, size: int) -> Table:
    """Open a table of `size` bytes that `opened` gives; `name` is what messages call it."""
    with opened() as stream:
        head = stream.read(4096)
    if head.startswith(b"PAR1"):
        return _parquet(opened, name)
    for signature, what in _NO_TABLES.items():
        if head.startswith(signature):
            raise ValueError(f"{name} is {what}, no table in text; export it as CSV UTF-8 and give that")
    if size > MAX_BYTES:
        raise ValueError(f"{name} has {size} bytes; tables of at most {MAX_BYTES} are read: split it")
    with opened() as stream:
        data = stream.read(MAX_BYTES + 1)
    try:
        text = data.decode("utf-8-sig")  # -sig: spreadsheets put a byte order mark in front
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} is not UTF-8 (byte {error.start}); save it as CSV UTF-8") from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ValueError(f"{name}, line {line}: a null character; this is no text: save it as CSV UTF-8")
    first = text.lstrip()[:1]
    if first == "{":
        return _json_lines(text, name)
    if first == "[":
        return _json_list(text, name)
    return _csv(text, name)


def separator(text: str) -> str:
    """Return the mark between columns, by the first line: spreadsheets write ; or a tab in some countries."""
    return max(SEPARATORS, key=text.split("\n", 1)[0].count)


def _csv(text: str, name: str) -> Table:
    mark = separator(text)
    # StringIO ends lines as files do; str.splitlines would also at characters that texts hold.
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True)

    def rows() -> Iterator[tuple[str, Cells]]:
        for row in _limited(lines, name):
            if not any(cell.strip() for cell in row):  # an empty line, or a line of separators alone
                continue
            if len(row) != len(columns):
                raise ValueError(
                    f"{name}, line {lines.line_num}: {len(row)} fields for {len(columns)} columns; "
                    f"put texts with {mark!r} in quotes"
                )
            yield f"line {lines.line_num}", dict(zip(columns, row, strict=True))

    columns = next(_limited(lines, name), [])
    return Table(name, "CSV" if mark != "\t" else "TSV", columns, rows())


def _limited(lines: Any, name: str) -> Iterator[list[str]]:
    """Yield the lines of a CSV reader with long cells allowed, and its errors explained."""
    while True:
        before = csv.field_size_limit(MAX_CELL)
        try:
            line = next(lines, None)
        except csv.Error as error:
            raise ValueError(
                f"{name}, line {lines.line_num}: {error}; close every quote, write a quote within a text "
                f"twice, and keep texts below {MAX_CELL} characters"
            ) from error
        finally:
            csv.field_size_limit(before)
        if line is None:
            return
        yield line


class RepeatedKey(ValueError):
    """A JSON object has a key twice."""


def each_key_once(pairs: list[tuple[str, Any]]) -> Cells:
    """Return a JSON object as a dict; for `object_pairs_hook`, as `json` would take the last of equal keys.

    Raises:
        RepeatedKey: a key is there twice.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        key = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise RepeatedKey(f"an object has the key {key[:60]!r} twice; keep one of the two")
    return found


def _json_lines(text: str, name: str) -> Table:
    rows = []
    for number, line in enumerate(io.StringIO(text, newline="\n"), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line, object_pairs_hook=each_key_once)
        except RepeatedKey as error:
            raise ValueError(f"{name}, line {number}: {error}") from None
        except (ValueError, RecursionError) as error:
            raise ValueError(
                f"{name}, line {number}: not JSON ({error}); JSON Lines have an object a line"
            ) from None
        rows.append((f"line {number}", _object(value, f"{name}, line {number}")))
    return _of_objects(rows, name, "JSON Lines")


def _json_list(text: str, name: str) -> Table:
    try:
        values = json.loads(text, object_pairs_hook=each_key_once)
    except RepeatedKey as error:
        raise ValueError(f"{name}, {_place_of_repeated(text)}: {error}") from None
    except RecursionError:
        raise ValueError(f"{name} is nested too deeply; a list of objects is read") from None
    except ValueError as error:
        raise ValueError(
            f"{name} begins with [ and is not JSON: {error}; it may be one list of objects, or JSON Lines, "
            "which have an object a line"
        ) from None
    rows = [(f"entry {n}", _object(value, f"{name}, entry {n}")) for n, value in enumerate(values, start=1)]
    return _of_objects(rows, name, "JSON")


def _place_of_repeated(text: str) -> str:
    """Return which entry of a JSON list has a key twice, and the line that it begins in.

    `json` does not say where it was when the hook refused, so the list is read again, entry by entry.
    """
    decoder = json.JSONDecoder(object_pairs_hook=each_key_once)
    number, at = 1, text.index("[") + 1
    while True:
        at = _BETWEEN.match(text, at).end()  # type: ignore[union-attr]  # matches nothing, too
        try:
            _, at = decoder.raw_decode(text, at)
        except RepeatedKey:
            return f"entry {number} (line {text.count(chr(10), 0, at) + 1})"
        number += 1


def _object(value: Any, where: str) -> Cells:
    if not isinstance(value, dict):
        raise ValueError(f"{where}: expected an object with the cells of one item, got {str(value)[:60]!r}")
    return value


def _of_objects(rows: list[tuple[str, Cells]], name: str, kind: str) -> Table:
    columns = list(dict.fromkeys(key for _, cells in rows for key in cells))
    return Table(name, kind, columns, ((where, {c: cells.get(c) for c in columns}) for where, cells in rows))


def _parquet(opened: Callable[[], IO[bytes]], name: str) -> Table:
    try:
        file = pq.ParquetFile(opened())
        schema = file.schema_arrow
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{name} is a damaged Parquet file: {error}") from error
    fields = [field.name for field in schema]
    wanted = [column for field in schema for column in _readable(field)]
    classes = class_names(schema)

    def rows() -> Iterator[tuple[str, Cells]]:
        number = 0
        try:
            for batch in parquet_batches.read(file, name, wanted, MAX_BYTES):
                for cells in batch.to_pylist():
                    number += 1
                    yield f"row {number}", _plain(cells, fields, classes)
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"{name}, after row {number}: damaged Parquet ({error})") from error

    unread = {one.name: str(one.type) for one in schema if not _readable(one)}
    return Table(name, "Parquet", fields, rows(), unread)


def _readable(field: pa.Field) -> list[str]:
    """Return what is read of a column: itself, of an image its path, of bytes and of vectors nothing."""
    if is_image(field.type):
        return [f"{field.name}.path"] if pa.types.is_struct(field.type) else []
    kind = field.type.value_type if pa.types.is_list(field.type) else field.type
    if pa.types.is_floating(kind) and kind is not field.type:
        return []
    plain = (pa.types.is_string, pa.types.is_large_string, pa.types.is_integer, pa.types.is_floating,
             pa.types.is_boolean, pa.types.is_dictionary, pa.types.is_null)  # fmt: skip
    return [field.name] if any(test(kind) for test in plain) else []


def is_image(kind: pa.DataType) -> bool:
    """Return whether a column holds encoded images: bytes, or as `datasets` writes it {bytes, path}."""
    if pa.types.is_struct(kind):
        held = {field.name: field.type for field in kind}
        return held.keys() == {"bytes", "path"} and _is_bytes(held["bytes"])
    return _is_bytes(kind)


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def class_names(schema: pa.Schema) -> dict[str, list[str]]:
    """Return the names of classes that a column holds the numbers of, as `datasets` notes them."""
    try:
        noted = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = noted.get("info", {}).get("features", {})
    except (ValueError, RecursionError, AttributeError):
        return {}
    found = {}
    for column, feature in features.items() if isinstance(features, dict) else ():
        while isinstance(feature, dict) and "feature" in feature:  # a sequence of classes
            feature = feature["feature"]
        if isinstance(feature, dict) and isinstance(feature.get("names"), list):
            found[column] = [str(name) for name in feature["names"]]
    return found


def _plain(cells: Cells, fields: Sequence[str], classes: dict[str, list[str]]) -> Cells:
    found: Cells = dict.fromkeys(fields)
    for column, cell in cells.items():
        if isinstance(cell, dict):  # an image
            cell = cell.get("path")
        names = classes.get(column)
        if names:
            cell = class_name(cell, names)
        found[column] = cell
    return found


def class_name(number: Any, names: Sequence[str]) -> Any:
    """Return the name of a class, or of each of a list; -1 is how `datasets` writes that there is none."""
    if isinstance(number, list):
        return [class_name(one, names) for one in number]
    if not isinstance(number, int):
        return number
    return names[number] if 0 <= number < len(names) else None
