"""Tables of one's own: what is no table, and cells that cannot be what their column is read as, are said."""

import datetime
import decimal
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cmh.data import item_table


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"PK\x03\x04" + bytes(100), "is a zip, such as a workbook of Excel, no table in text"),
        (b"SQLite format 3\0" + bytes(100), "is a database of SQLite"),
        (b"\x1f\x8b\x08" + bytes(100), "is compressed"),
        (b"image,text\na.jpg,a\0b\n", "line 2: a null character"),
        ("image,text\na.jpg,a\n".encode("utf-16"), "is not UTF-8"),
        (b"[" * 20_000 + b"]" * 20_000, "is nested too deeply; a list of objects is read"),
        (b"[1]\n[2]\n", "one list of objects, or JSON Lines, which have an object a line"),
    ],
)
def test_what_is_no_table_is_said(tmp_path: Path, data: bytes, message: str) -> None:
    """By what it is, and what to give instead."""
    (tmp_path / "items.csv").write_bytes(data)
    with pytest.raises(ValueError, match=message):
        item_table.read(tmp_path / "items.csv")


@pytest.mark.parametrize(
    ("column", "cells"),
    [
        ("labels", [{"a": 1}, {"a": 2}]),
        ("labels", [[0.5], [1.5]]),
        ("labels", [[["a"]], [["b"]]]),
        ("text", [datetime.date(2020, 1, 1)] * 2),
        ("text", [decimal.Decimal("1.5")] * 2),
        ("text", [b"a dog", b"a cat"]),
        ("id", [{"a": 1}, {"a": 2}]),
    ],
)
def test_cells_of_parquet_that_are_not_read_are_not_taken_for_empty(
    tmp_path: Path, column: str, cells: list[Any]
) -> None:
    """The column, what it holds, and what may be there."""
    table = {"image": ["a.jpg", "b.jpg"], "text": ["a", "b"], column: cells}
    pq.write_table(pa.table(table), tmp_path / "items.parquet")
    with pytest.raises(ValueError, match=f"column '{column}' holds .*, which is not read as {column}; write"):
        item_table.read(tmp_path / "items.parquet")
    pq.write_table(pa.table({**table, column: ["c", "d"], "other": cells}), tmp_path / "items.parquet")
    assert item_table.read(tmp_path / "items.parquet").columns["other"] is None


def test_whole_numbers_are_the_same_in_every_format(tmp_path: Path) -> None:
    """Where one is missing, pandas writes the others as fractions."""
    rows = [("a.jpg", 1, 7), ("b.jpg", 2, None), ("c.jpg", 1, 8)]
    objects = [{"image": image, "text": "t", "labels": label, "id": id_} for image, label, id_ in rows]
    (tmp_path / "i.jsonl").write_text("\n".join(map(json.dumps, objects)))
    as_floats = {"labels": pa.array([1.0, 2.0, 1.0]), "id": pa.array([7.0, None, 8.0])}
    pq.write_table(
        pa.table({"image": [r[0] for r in rows], "text": ["t"] * 3, **as_floats}), tmp_path / "i.parquet"
    )
    read = [item_table.read(tmp_path / name).rows for name in ("i.jsonl", "i.parquet")]
    for found in read:
        assert [(row.labels, row.id) for row in found] == [(("1",), "7"), (("2",), ""), (("1",), "8")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("i.jsonl", '{"image": "a", "text": "x"}\n{"image": "b", "text": "y", "text": "z"}\n',
         "line 2: an object has the key 'text' twice; keep one of the two"),
        ("i.json", '[{"image": "a", "text": "x", "image": "b"}]',
         r"i\.json, entry 1 \(line 1\): an object has the key 'image' twice"),
        ("i.json", '[{"image": "a", "text": "x},{"},\n {"id": "b"} ,\n{"text": {"en": [{"a": 1, "a": 2}]}}]',
         r"entry 3 \(line 3\): an object has the key 'a' twice"),
        ("i.jsonl", '{"image": "a", "text": {"en": 1, "en": 2}}', "has the key 'en' twice"),
        ("i.jsonl", '{"image": "a", "text": "x", "labels": true}', "line 1: labels true is yes or no, which"),
        ("i.jsonl", '{"image": "a", "text": "x", "labels": ["red", false]}', "labels .* are not understood"),
        ("i.jsonl", '{"image": "a", "text": false, "labels": 1}', "line 1: text 'false' is not understood"),
    ],
)  # fmt: skip
def test_what_json_leaves_open_is_refused(tmp_path: Path, name: str, content: str, message: str) -> None:
    """A key twice, of which a program may take either; truth where a text goes."""
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        item_table.read(tmp_path / name)


def test_truth_in_a_column_of_labels_is_refused_in_parquet_too(tmp_path: Path) -> None:
    """By its row; whether it is alone in its cell or in a list."""
    for cells, message in (
        ([None, False], "row 2: labels false is yes or no"),
        ([[], [True]], r"row 2: labels '\[true\]' are not understood"),
    ):
        pq.write_table(pa.table({"image": ["a", "b"], "text": ["x", "y"], "labels": cells}), tmp_path / "i")
        with pytest.raises(ValueError, match=message):
            item_table.read(tmp_path / "i")
