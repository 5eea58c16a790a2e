"""Read columns of one's own, such as caption, year, URL and labels, from CSV, TSV, Parquet or JSON Lines.

One column names the item: `image`, `file_name`, `name`, `path` or `id`, or for a collection of texts `text`.
Types are those that the file has or that Arrow finds in it; a column `labels` of text is split at | and ;.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

from cmh.data import parquet_batches, tables
from cmh.data.sides import Side

_log = logging.getLogger(__name__)

MAX_BYTES = 2 << 30
MAX_COLUMNS = 200
NAMES: Mapping[Side, Sequence[str]] = {
    "image": ("image", "file_name", "name", "path", "id"), "text": ("text", "name", "id"),
}  # fmt: skip
KEY = "name"  # the column that names the item
_TEXTS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null)
_OTHERS = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal,
           pa.types.is_date, pa.types.is_time)  # fmt: skip


def _read_csv(file: Path) -> pa.Table:
    with file.open("rb") as stream:
        mark = tables.separator(stream.readline(1 << 16).decode(errors="replace"))
    table = pyarrow.csv.read_csv(
        file, parse_options=pyarrow.csv.ParseOptions(delimiter=mark, newlines_in_values=True)
    )
    _tell_odd_cells(file, table)
    return table


def _tell_odd_cells(file: Path, table: pa.Table) -> None:
    """Warn of columns that are texts for the sake of few cells, as a number written otherwise."""
    for name, column in zip(table.column_names, table.columns, strict=True):
        if not pa.types.is_string(column.type) or not len(column):
            continue
        filled = column.filter(pc.not_equal(pc.fill_null(pc.utf8_trim_whitespace(column), ""), ""))
        number = pc.match_substring_regex(filled, r"^\s*[-+]?[0-9]+([.][0-9]+)?\s*$")
        others = filled.filter(pc.invert(number))
        if 0 < len(others) <= len(filled) / 2:
            _log.warning(
                f"{file.name}: column {name!r} is text, as {len(others)} of {len(filled)} cells are no "
                f"numbers, such as {others[0].as_py()[:60]!r}; conditions compare it as text"
            )


def _read_json_lines(file: Path) -> pa.Table:
    try:
        return pyarrow.json.read_json(file)
    except pa.ArrowException:
        tables.read(file)  # says which line is wrong; Arrow counts rows from 0, and block by block
        raise


def _read_parquet(file: Path) -> pa.Table:
    opened = pq.ParquetFile(file)
    names = opened.schema_arrow.names
    batches = [*parquet_batches.read(opened, file, names, MAX_BYTES)]
    return pa.Table.from_batches(batches) if batches else opened.schema_arrow.empty_table()


_READ: Mapping[str, Callable[[Path], pa.Table]] = {
    ".csv": _read_csv, ".tsv": _read_csv, ".parquet": _read_parquet, ".jsonl": _read_json_lines,
}  # fmt: skip
SUFFIXES = tuple(_READ)


def read(file: Path, what: Side) -> pa.Table:
    """Return a table whose first column is `name`, each name once.

    Args:
        file: a .csv, .tsv, .parquet or .jsonl file.
        what: kind of the items.

    Raises:
        ValueError: if the file cannot be read as one, names no items, or names one twice.
    """
    return _named(file, _table(file), what, NAMES[what])


def read_texts(file: Path, given: Mapping[str, str]) -> tuple[dict[str, str], pa.Table]:
    """Return name → text of each row of a table, and its other columns beside the names.

    A text is named by the column `id`; without one, or where its cell is empty, by itself, and of rows with
    the same text the first counts.

    Args:
        file: a .csv, .tsv, .parquet or .jsonl file.
        given: what a column is → the column that is it, such as {"text": "caption", "id": "key"}.

    Raises:
        ValueError: if the file cannot be read as one, holds no texts, or gives an id twice.
    """
    table = renamed(_table(file), given, file)
    if "text" not in table.column_names:
        raise ValueError(
            f"{file} does not say which text a row is about; it has the columns "
            f"{', '.join(table.column_names)[:300]}; name one of them text, or give --columns text=COLUMN"
        )
    text = _words(file, table, "text")
    table = table.drop_columns(["text"])
    if "id" not in table.column_names:
        table = table.add_column(0, "id", text).filter(_first(text))
        text = text.filter(_first(text))
    id_ = _words(file, table, "id")
    named = pc.if_else(pc.equal(id_, ""), text, id_)
    table = _named(file, table.set_column(table.column_names.index("id"), "id", named), "text", ["id"])
    found = {name: said for name, said in zip(named.to_pylist(), text.to_pylist(), strict=True) if name}
    return found, table


def renamed(table: pa.Table, given: Mapping[str, str], place: Path) -> pa.Table:
    """Return the table with the columns called as what they are; one that is called so already is left out.

    Raises:
        ValueError: if it lacks one.
    """
    for what, name in given.items():
        if name not in table.column_names:
            raise ValueError(
                f"{place} has no column {name!r} for {what}; it has {', '.join(table.column_names)[:300]}"
            )
    left = [what for what, name in given.items() if what != name and what in table.column_names]
    names = {name: what for what, name in given.items()}
    table = table.drop_columns([one for one in left if one not in names])
    return table.rename_columns([names.get(name, name) for name in table.column_names])


def _table(file: Path) -> pa.Table:
    if not file.is_file() or file.suffix.lower() not in _READ:
        raise ValueError(f"{file} is no file that ends with {', '.join(_READ)}; columns are read from these")
    if file.stat().st_size > MAX_BYTES:
        raise ValueError(
            f"{file} has {file.stat().st_size} bytes; tables of at most {MAX_BYTES} are read: split it"
        )
    try:
        table = _READ[file.suffix.lower()](file)
    except (pa.ArrowException, OSError, ValueError) as error:
        said = str(error).removeprefix(str(file)).lstrip(",: ")
        raise ValueError(f"{file} cannot be read: {said[:300]}") from None
    return table.rename_columns([name.strip() for name in table.column_names])


def _named(file: Path, table: pa.Table, what: Side, keys: Sequence[str]) -> pa.Table:
    """Return the table with the column that names the items first, as `name`, and the others as kept."""
    _check_columns(file, table, what, keys)
    key = next(name for name in keys if name in table.column_names)
    others = [name for name in table.column_names if name != key]
    if KEY in others:
        raise ValueError(
            f"{file} names items in the columns {key} and name; rename or leave out one of these"
        )
    named = _words(file, table, key)
    table = pa.table({"name": named, **{name: usable(name, table[name]) for name in others}})
    table = table.filter(pc.greater(pc.utf8_length(table["name"]), 0))
    again = table["name"].filter(pc.invert(_first(table["name"])))
    if len(again):
        raise ValueError(
            f"{file} has {len(again)} row(s) too many, such as a second of {again[0].as_py()[:100]!r}; "
            "one row an item"
        )
    return table


def update(old: pa.Table | None, new: pa.Table) -> pa.Table:
    """Return the rows of both tables; those of the new one replace rows of the same name.

    Raises:
        ValueError: if a column has different types in the two, or they are too many together.
    """
    if old is None:
        return new
    together = {*old.column_names, *new.column_names}
    if len(together) > MAX_COLUMNS + 1:
        raise ValueError(f"there would be {len(together) - 1} columns; at most {MAX_COLUMNS} are kept")
    kept = old.filter(pc.invert(pc.is_in(old["name"], value_set=new["name"].combine_chunks())))
    try:
        return pa.concat_tables([kept, new], promote_options="permissive").combine_chunks()
    except pa.ArrowException as error:
        raise ValueError(
            f"the columns do not match those that are there: {str(error)[:300]}; rename such a column"
        ) from None


def align(table: pa.Table, names: pa.Array) -> pa.Table:
    """Return the columns without `name`, a row for each of the names; nulls where the table has no row."""
    row_N = pc.index_in(names, value_set=table["name"].combine_chunks())
    return table.drop_columns(["name"]).take(row_N)


def captions(table: pa.Table | None) -> list[str]:
    """Return what the columns say of the items in words: the values of `text` or `caption`."""
    for name in ("text", "caption"):
        if table is not None and name in table.column_names and pa.types.is_string(table[name].type):
            return [said for said in table[name].to_pylist() if said and said.strip()]
    return []


def _words(file: Path, table: pa.Table, name: str) -> pa.ChunkedArray:
    """Return the cells of a column as texts, without space around them; "" where there is none."""
    if pa.types.is_boolean(table[name].type):
        raise ValueError(
            f"{file}: column {name!r} holds true and false, and items are named by texts or numbers; write "
            "these there, or rename the column"
        )
    try:
        return pc.fill_null(pc.utf8_trim_whitespace(pc.cast(usable("", table[name]), pa.string())), "")
    except (pa.ArrowException, ValueError):
        raise ValueError(
            f"{file}: column {name!r} holds {table[name].type}, or text that is not UTF-8; items are "
            "named by texts or numbers"
        ) from None


def _first(cells: pa.ChunkedArray) -> pa.BooleanArray:
    """Return which cells are the first of their value."""
    row_N = pc.index_in(cells, value_set=pc.unique(cells)).to_numpy()
    first_N = np.zeros(len(row_N), bool)
    first_N[np.unique(row_N, return_index=True)[1]] = True
    return pa.array(first_N)


def _check_columns(file: Path, table: pa.Table, what: Side, keys: Sequence[str]) -> None:
    names = table.column_names
    if len(set(names)) != len(names) or len(names) > MAX_COLUMNS:
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(
            f"{file} has {len(names)} columns{', several of them called ' + twice[0][:60] if twice else ''}; "
            f"at most {MAX_COLUMNS} are kept, each with its own name"
        )
    if not any(name in names for name in keys):
        raise ValueError(
            f"{file} does not say which {what} a row is about; it has the columns {', '.join(names)[:300]}; "
            f"name one of them {', '.join(keys)}"
        )


def usable(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column as it is kept: of `kept_type`, and labels as a list.

    Raises:
        ValueError: it holds nothing that is kept, or text that is not UTF-8, or dates that Python has not.
    """
    kind = kept_type(column.type)
    if kind is None:
        raise ValueError(
            f"column {name!r} holds {column.type}; columns are numbers, texts, dates, or lists of these"
        )
    try:
        column = column.cast(kind, safe=False)
        column.validate(full=True)
        cells = pc.list_flatten(column) if pa.types.is_list(kind) else column
        if pa.types.is_temporal(cells.type):
            pc.min(cells).as_py(), pc.max(cells).as_py()
    except (pa.ArrowException, ValueError, OverflowError, KeyError) as error:  # the last: of time zones
        raise ValueError(f"column {name!r} cannot be kept: {str(error)[:300]}") from None
    if name == "labels" and pa.types.is_string(kind):
        parts = pc.split_pattern_regex(pc.utf8_trim_whitespace(column), r"\s*[|;]\s*")
        return parts.cast(pa.list_(pa.string()))
    return column


def kept_type(kind: pa.DataType) -> pa.DataType | None:
    """Return the type that a column is kept in; None: no filter could compare its cells.

    Other programs write texts and lists in several types, and times finer than Python has them.
    """
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        cell = kept_type(kind.value_type)
        return None if cell is None or pa.types.is_list(cell) else pa.list_(cell)
    if pa.types.is_dictionary(kind):
        return kept_type(kind.value_type)
    if any(test(kind) for test in _TEXTS):
        return pa.string()
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us" if kind.unit == "ns" else kind.unit, kind.tz)
    if pa.types.is_time64(kind):
        return pa.time64("us")
    return kind if any(test(kind) for test in _OTHERS) else None
