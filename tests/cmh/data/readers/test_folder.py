"""The folder reader over small tables as people and spreadsheets write them."""

import os

import pytest

from cmh.data import equal_bytes, readers


def read(place, table, encoding="utf-8"):
    """The records of a table over a folder with one file, a.png."""
    (place / "images").mkdir(exist_ok=True)
    (place / "images" / "a.png").write_bytes(b"png")
    (place / "items.csv").write_bytes(table.encode(encoding))
    sources = {"images": place / "images", "items": place / "items.csv"}
    return list(readers.load("folder").read(sources, {}))


@pytest.mark.parametrize(
    "table",
    [
        "image,text,labels\na.png,red apple,fruit|red\n",
        "image,text,labels\na.png,red apple,fruit;red\n",
        "image;text;labels\na.png;red apple;fruit|red\n",
        "\ufeffImage, Text, Labels\r\na.png,red apple, fruit | red \r\n",
    ],
)
def test_one_item_in_many_dialects(tmp_path, table):
    """Separators, byte order mark, line ends and spaces make no difference."""
    (record,) = read(tmp_path, table)
    assert (record.id, record.group, record.text) == ("a.png", "a.png", "red apple")
    assert record.traits["labels"] == ("fruit", "red")
    assert record.image() == b"png"


def test_characters_that_end_lines_elsewhere_are_text(tmp_path):
    """U+2028, U+0085 and form feeds are in texts from the web; an unnamed column is what pandas writes."""
    first, second = read(tmp_path, ',image,text,labels\n0,a.png,"a\u2028b\x0c\x85\nc",x\n\n1,a.png,d,y\n')
    assert (first.text, second.text) == ("a\u2028b\x0c\x85\nc", "d")
    assert first.traits["labels"] == ("x",)


def test_id_and_group_are_taken(tmp_path):
    """Optional columns replace the image's name."""
    (record,) = read(tmp_path, "id,image,text,labels,group\n7,a.png,x,y,shelf\n")
    assert (record.id, record.group) == ("7", "shelf")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("image,labels\na.png,x\n", r"lacks the column\(s\) text; it has image, labels"),
        ("", "lacks the column"),
        ("image,text,labels\na.png,red, sweet,fruit\n", "line 2: 4 fields for 3 columns"),
        ("image,text,labels\na.png,red\n", "line 2: 2 fields for 3 columns"),
        ("image,text,labels,text\na.png,red,x,y\n", "has text twice"),
        ('image,text,labels\na.png,"red apple,x\na.png,pear,y\n', "close every quote"),
        ("image,text,labels\n../secret.png,x,y\n", "line 2: image '../secret.png' is not a file name below"),
        ("image,text,labels\n/etc/passwd,x,y\n", "is not a file name below"),
        ("image,text,labels\nC:\\me\\a.jpg,x,y\n", "'C:/me/a.jpg' is an address, or a path of Windows"),
        ("image,text,labels\nhttps://host/a.jpg,x,y\n", "write their paths below it, such as 'a.jpg'"),
        ('image,text,labels\na.png,x,"red, fruit"\n', "line 2: labels 'red, fruit' hold ','"),
        (
            "image,text,labels\na.png,x,red\nb.png,x,nan\n",
            "line 3: label 'nan' is how programs write a missing",
        ),
        ("image,text,labels\na.png,x,red|<NA>\n", "line 2: label '<NA>'"),
        ("image,text,labels\na.png,x,['red' 'fruit']\n", r"line 2: labels .* are not understood"),
        ('image;text;labels\na.png;x;{"red": 1}\n', r"line 2: labels .* are not understood"),
        ("image;text;labels\na.png;x;[[1], [2]]\n", r"line 2: labels .* are not understood"),
        ("image,text,labels\na.png,x," + "[" * 9999 + "\n", r"line 2: labels .* are not understood"),
        (
            "image,text,labels,split\na.png,x,y,holdout\n",
            "line 2: split 'holdout' is not known; allowed are train",
        ),
        ("image,text,labels,split\na.png,x,y,\n", "line 2: split '' is not known"),
        (
            "image,text,labels,split\na.png,x,y,test\na.png,z,y,train\n",
            r"line 3: a\.png is train here and query in",
        ),
        (
            "image,text,labels,split,group\na.png,x,y,test,g\nb.png,z,y,val,g\n",
            "line 3: g is validation here",
        ),
    ],
)
def test_wrong_tables_are_explained(tmp_path, table, message):
    """The message says which line and what is wrong."""
    with pytest.raises(ValueError, match=message):
        read(tmp_path, table)


def test_other_encodings_are_refused(tmp_path):
    """Latin-1 would be read as something else; the message says how to save it."""
    with pytest.raises(ValueError, match=r"not UTF-8 .* save it as CSV UTF-8"):
        read(tmp_path, "image,text,labels\na.png,Äpfel,x\n", "latin-1")


def test_missing_image_is_an_error_of_its_record(tmp_path):
    """The table is read; the missing file shows when its bytes are asked for."""
    (record,) = read(tmp_path, "image,text,labels\nb.png,x,y\n")
    with pytest.raises(FileNotFoundError, match=r"b\.png is missing"):
        record.image()


@pytest.mark.parametrize(
    "cell",
    [
        "fruit|red",
        "fruit;red",
        '"[""fruit"", ""red""]"',
        "\"['fruit', 'red']\"",
        '"(""fruit"", \'red\',)"',
        "fruit|red|fruit",
    ],
)
def test_labels_in_many_notations(tmp_path, cell):
    """Separated, as a JSON list, as Python prints a list or a tuple; one that is said twice counts once."""
    (record,) = read(tmp_path, f"image,text,labels\na.png,x,{cell}\n")
    assert record.traits["labels"] == ("fruit", "red")


def test_commas_in_names_where_the_table_has_another_separator(tmp_path):
    """Then a comma does not separate labels."""
    first, _ = read(tmp_path, 'image,text,labels\na.png,x,"plants, edible|red"\nb.png,x,"plants, edible"\n')
    assert first.traits["labels"] == ("plants, edible", "red")


def test_several_rows_of_one_image_share_it(tmp_path):
    """One image, two items with ids of their own, one group: they stay on one side of the split."""
    first, second = read(tmp_path, "image,text,labels\na.png,x,y\na.png,z,y\n")
    assert (first.id, second.id) == ("a.png", "a.png#2")
    assert first.image_name == second.image_name == first.group == second.group == "a.png"
    named = read(tmp_path, "id,image,text,labels\n1,a.png,x,y\n2,a.png,z,y\n")
    assert [record.id for record in named] == ["1", "2"]
    assert {record.group for record in named} == {"a.png"}


def test_images_with_equal_bytes_are_one_group(tmp_path):
    """Unless the table says otherwise; a file of the same size with other bytes is none of them."""
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "copy.png").write_bytes(b"png")
    (tmp_path / "images" / "other.png").write_bytes(b"gif")
    table = "image,text,labels\na.png,x,y\ncopy.png,x,y\nother.png,x,y\n"
    assert [record.group for record in read(tmp_path, table)] == ["a.png", "a.png", "other.png"]
    grouped = "image,text,labels,group\na.png,x,y,1\ncopy.png,x,y,2\n"
    assert [record.group for record in read(tmp_path, grouped)] == ["1", "2"]


def test_an_image_that_cannot_be_read_spoils_no_other(tmp_path, monkeypatch):
    """It is a group of its own; that it cannot be read is an error of its record."""
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "b.png").write_bytes(b"png")
    whole = equal_bytes.of_file

    def refuse(path):
        if path.endswith("b.png"):
            raise PermissionError(f"{path} may not be read")
        return whole(path)

    monkeypatch.setattr(equal_bytes, "of_file", refuse)
    first, second = read(tmp_path, "image,text,labels\na.png,x,y\nb.png,x,y\n")
    assert (first.group, second.group) == ("a.png", "b.png")


def test_paths_as_others_write_them(tmp_path):
    """Backslashes, Hugging Face's column, and lines of separators alone, as spreadsheets write."""
    (record,) = read(tmp_path, "file_name,text,labels\nsub\\b.png,x,y\n,,\n")
    assert record.id == "sub/b.png"
    (tmp_path / "images" / "sub").mkdir()
    (tmp_path / "images" / "sub" / "B.png").write_bytes(b"x")
    with pytest.raises(FileNotFoundError, match=r"B\.png is there: write it with the same capitals"):
        record.image()


def test_linked_images_are_read_and_fifos_are_not(tmp_path):
    """Whoever links a file into the folder wants it there; a pipe would never end."""
    (tmp_path / "elsewhere.png").write_bytes(b"linked")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "b.png").symlink_to(tmp_path / "elsewhere.png")
    os.mkfifo(tmp_path / "images" / "c.png")
    linked, pipe = read(tmp_path, "image,text,labels\nb.png,x,y\nc.png,x,y\n")
    assert linked.image() == b"linked"
    with pytest.raises(FileNotFoundError, match="is no regular file"):
        pipe.image()


def test_splits_of_the_table_are_taken(tmp_path):
    """Under the names that people use."""
    rows = "".join(f"{i}.png,x,y,{name}\n" for i, name in enumerate(("train", "TEST", "val", "database")))
    records = read(tmp_path, f"image,text,labels,split\n{rows}")
    assert [record.split for record in records] == ["train", "query", "validation", "database"]


def test_what_is_not_read_is_named(tmp_path):
    """Columns, missing values, equal images on both sides of the table's own split."""
    table = "image,text,labels,lang,split\na.png,nan,y,en,train\nb.png,z,y|w,en,test\n"
    read(tmp_path, table)
    (tmp_path / "images" / "b.png").write_bytes(b"png")
    sources = {"images": tmp_path / "images", "items": tmp_path / "items.csv"}
    remarks = "\n".join(readers.remarks("folder", sources, {}))
    assert "column(s) lang of items.csv are not read" in remarks
    assert "1 text(s) of items.csv are a word such as 'nan'" in remarks
    assert "2 items with 2 labels, the commonest are y (2), w (1)" in remarks
    assert "b.png and a.png; they stay on one side" in remarks
    assert "1 training item(s) whose image is a query's too" in remarks
