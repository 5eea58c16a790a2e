"""The folder reader over small tables as people and spreadsheets write them."""

import pytest

from cmh.data import readers


def read(folder, table, encoding="utf-8"):
    """The records of a table over a folder with one file, a.png."""
    (folder / "images").mkdir(exist_ok=True)
    (folder / "images" / "a.png").write_bytes(b"png")
    (folder / "items.csv").write_bytes(table.encode(encoding))
    sources = {"images": folder / "images", "items": folder / "items.csv"}
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
        ("image,text\na.png,x\n", r"lacks the column\(s\) labels; it has image, text"),
        ("", "lacks the column"),
        ("image,text,labels\na.png,red, sweet,fruit\n", "line 2: 4 fields for 3 columns"),
        ("image,text,labels\na.png,red\n", "line 2: 2 fields for 3 columns"),
        ("image,text,labels,text\na.png,red,x,y\n", "has text twice"),
        ('image,text,labels\na.png,"red apple,x\na.png,pear,y\n', "close every quote"),
        ("image,text,labels\n../secret.png,x,y\n", "line 2: image '../secret.png' is not a file name below"),
        ("image,text,labels\n/etc/passwd,x,y\n", "is not a file name below"),
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
