"""Columns of one's own from each kind of file: types, names, labels; what is refused; updates."""

import datetime
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cmh.data import columns

CSV = (
    'image,caption,year,taken,labels\na.jpg,"A dog, wet",2020,2020-05-01,dog|wet\nb/ü.jpg,,2021,2021-06-02,\n'
)


def test_each_kind_of_file(tmp_path: Path) -> None:
    """CSV, JSON Lines and Parquet of the same rows give the same columns."""
    (tmp_path / "c.csv").write_text(CSV, "utf-8")
    rows = [
        {"file_name": "a.jpg", "caption": "A dog, wet", "year": 2020, "labels": ["dog", "wet"]},
        {"file_name": "b/ü.jpg", "caption": "", "year": 2021, "labels": [""]},
    ]
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "c.parquet")
    found = {kind: columns.read(tmp_path / f"c.{kind}", "image") for kind in ("csv", "jsonl", "parquet")}
    assert found["csv"]["taken"].to_pylist() == [datetime.date(2020, 5, 1), datetime.date(2021, 6, 2)]
    for table in found.values():
        assert table["name"].to_pylist() == ["a.jpg", "b/ü.jpg"]
        assert table["year"].to_pylist() == [2020, 2021]
        assert table["labels"].to_pylist() == [["dog", "wet"], [""]]
        assert table["caption"].to_pylist()[0] == "A dog, wet"


def test_rows_of_the_same_name_are_replaced(tmp_path: Path) -> None:
    """Other rows stay; a new column is empty for them; items without a row have none."""
    old = pa.table({"name": ["a", "b"], "year": [1, 2]})
    new = pa.table({"name": ["b", "c"], "year": [3, 4], "place": ["x", "y"]})
    table = columns.update(old, new)
    assert table.to_pylist() == [
        {"name": "a", "year": 1, "place": None},
        {"name": "b", "year": 3, "place": "x"},
        {"name": "c", "year": 4, "place": "y"},
    ]
    names = pa.chunked_array([pa.array(["c", "nobody"]), pa.array(["a"])])
    assert columns.captions(table) == columns.captions(None) == []
    said = table.append_column("caption", [["a dog", " ", None]])
    assert columns.captions(said) == ["a dog"]
    aligned = columns.align(table, names)
    assert aligned.to_pydict() == {"year": [4, None, 1], "place": ["y", None, None]}
    with pytest.raises(ValueError, match="the columns do not match"):
        columns.update(old, pa.table({"name": ["b"], "year": [[1]]}))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.csv", None, "is no file that ends with .csv"),
        ("c.txt", "image\n", "is no file that ends with .csv"),
        (
            "c.csv",
            "picture,year\na,1\n",
            "does not say which image a row is about; it has the columns picture",
        ),
        ("c.csv", "image,year\na,1\na,2\n", "1 row.s. too many, such as a second of 'a'; one row an item"),
        ("c.csv", "image,name\na,b\n", "names items in the columns image and name"),
        ("c.csv", "image,year,year\na,1,2\n", "each with its own name"),
        ("c.csv", "image,year\na\n", "cannot be read"),
        ("c.csv", "", "cannot be read"),
        ("c.jsonl", '{"image": "a", "box": {"x": 1}}\n', "column 'box' holds struct"),
        ("c.jsonl", "[1, 2", "cannot be read"),
        ("c.jsonl", '{"image": "a"}\n\n{"image": "b", "year": 1, "year": 2}\n',
         "cannot be read: line 3: an object has the key 'year' twice"),
        ("c.jsonl", '{"image": "a", "box": {"x": 1, "x": 2}}\n', "line 1: an object has the key 'x' twice"),
        ("c.jsonl", '{"image": "a"}\n{"image": "b"\n', "cannot be read: line 2: not JSON"),
        ("c.jsonl", '{"image": true}\n', "column 'image' holds true and false, and items are named by"),
        ("c.parquet", "no table", "cannot be read"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_said(tmp_path: Path, name: str, content: str | None, message: str) -> None:
    """Naming the file, and what it takes."""
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        columns.read(tmp_path / name, "image")


def test_what_other_programs_write_is_kept_in_few_types(tmp_path: Path) -> None:
    """Texts and lists have several types in Arrow, and times more digits than Python's."""
    taken = pa.array([1_600_000_000_123_456_789], pa.timestamp("ns"))
    written = {
        "caption": pa.array(["a dog"], pa.large_string()),
        "place": pa.array(["x"], pa.string_view()),
        "kind": pa.array(["y"]).dictionary_encode(),
        "labels": pa.array([["dog"]], pa.large_list(pa.large_string())),
        "taken": taken,
        "none": pa.nulls(1),
    }
    pq.write_table(pa.table({"name": ["a"], **written}), tmp_path / "c.parquet")
    table = columns.read(tmp_path / "c.parquet", "image")
    assert [str(table[name].type) for name in written] == [
        "string", "string", "string", "list<item: string>", "timestamp[us]", "string"
    ]  # fmt: skip
    assert columns.captions(table) == ["a dog"]
    assert table["labels"].to_pylist() == [["dog"]]
    assert table["taken"].to_pylist() == [datetime.datetime(2020, 9, 13, 12, 26, 40, 123456)]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.array([b"\xff"]).view(pa.string()), "'a b' cannot be kept: .*UTF8"),
        (pa.array([2**31 - 1], pa.date32()), "'a b' cannot be kept"),
        (pa.array([2**62], pa.timestamp("us")), "'a b' cannot be kept: date value out of range"),
        (pa.array([1], pa.timestamp("us", "No/Where")), "'a b' cannot be kept: .*No/Where"),
        (pa.array([[[1]]]), "'a b' holds list<element: list<element: int64>>; columns are numbers"),
        (pa.array([b"1234"], pa.binary(4)), r"'a b' holds fixed_size_binary\[4\]; columns are numbers"),
        (pa.array([1], pa.duration("s")), r"'a b' holds duration\[.*\]; columns are numbers"),
    ],
)
def test_cells_that_a_collection_could_not_show_are_refused(
    tmp_path: Path, column: pa.Array, message: str
) -> None:
    """Before they are in it, as every answer with them would fail."""
    pq.write_table(pa.table({"name": ["a"], "a b": column}), tmp_path / "c.parquet")
    with pytest.raises(ValueError, match=message):
        columns.read(tmp_path / "c.parquet", "image")
    pq.write_table(pa.table({"name": [[1]]}), tmp_path / "d.parquet")
    with pytest.raises(ValueError, match=r"d\.parquet: column 'name' holds list<.*items are named by texts"):
        columns.read(tmp_path / "d.parquet", "image")


def test_columns_are_not_added_without_end() -> None:
    """Of both tables together there are as many as of one at most."""
    old = pa.table({"name": ["a"], **{f"c{n}": [n] for n in range(columns.MAX_COLUMNS)}})
    assert columns.update(old, old.slice(0, 1)).num_columns == columns.MAX_COLUMNS + 1
    with pytest.raises(ValueError, match="there would be 201 columns; at most 200 are kept"):
        columns.update(old, pa.table({"name": ["b"], "other": [1]}))


@pytest.mark.parametrize("is_dictionary", [False, True], ids=["plain", "dictionary"])
def test_few_bytes_that_stand_for_many_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_dictionary: bool
) -> None:
    """One text of 40 kB in a thousand rows, in a file of 3 kB: as Parquet keeps it, and as Arrow has it."""
    monkeypatch.setattr(columns, "MAX_BYTES", 1 << 20)
    caption = pa.array(["wet dog " * 5000] * 1000)
    caption = caption.dictionary_encode() if is_dictionary else caption
    pq.write_table(
        pa.table({"image": [f"{n}.jpg" for n in range(1000)], "caption": caption}), tmp_path / "c.parquet"
    )
    assert (tmp_path / "c.parquet").stat().st_size < 40_000
    with pytest.raises(ValueError, match="what is read of it has more than 1048576 bytes"):
        columns.read(tmp_path / "c.parquet", "image")


def test_numbers_that_are_written_otherwise_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A column is text for the sake of one cell: said where it is read, not at the first condition."""
    (tmp_path / "c.csv").write_text('image,year,place\na.jpg,2019,Rome\nb.jpg,"2,020",Bern\nc.jpg,2021,7\n')
    table = columns.read(tmp_path / "c.csv", "image")
    assert pa.types.is_string(table["year"].type)
    (warning,) = caplog.messages
    assert "column 'year' is text, as 1 of 3 cells are no numbers, such as '2,020'" in warning


def test_a_name_that_two_columns_have_is_said(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("image,year,year\na.jpg,1,2\n")
    with pytest.raises(ValueError, match="3 columns, several of them called year"):
        columns.read(tmp_path / "c.csv", "image")
