"""The readers of published data sets over small ones of the same layouts: what is an item, what is wrong."""

import shutil
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest

from cmh.data import readers
from cmh.data.records import Record
from data_catalog import catalog
from tests.cmh.data.readers import published
from tests.cmh.methods import shallow

OPTIONS = {
    "mirflickr": {"labels": ["plant_life", "sea"], "tag_photos": 3},
    "nuswide": {"concepts": ["animal", "sky"]},
    "coco": {"parts": ["train2014", "val2014"]},
    "iaprtc12": {},
}
ITEMS = {  # id, group, text, labels, photo
    "mirflickr": [
        ("im1", "1", "sea", ("sea",), b"photo 1"),
        ("im2", "2", "sea sand", ("plant_life", "sea"), b"photo 2"),
        ("im3", "3", "sand sea", ("sea",), b"photo 3"),
    ],
    "nuswide": [
        ("bear/0001_11", "11", "bear zoo", ("animal", "sky"), b"photo bear\\0001_11.jpg"),
        ("sky/0001_13", "13", "sky", ("sky",), b"photo sky\\0001_13.jpg"),
        ("sky/0003_11", "11", "bear", ("animal",), None),
    ],
    "coco": [
        ("COCO_train2014_000000000009", None, "A man. A dog.", ("dog", "person"), b"photo 9"),
        ("COCO_train2014_000000000025", None, "Sky.", (), b"photo 25"),
        ("COCO_val2014_000000000042", None, "A woman.", ("person",), b"photo 42"),
    ],
    "iaprtc12": [("1", "1", "The Plaza a square;\na tree;", ("120", "7"), b"photo 1")],
}


def read(name: str, sources: dict[str, Path]) -> list[Record]:
    return list(readers.load(name).read(sources, OPTIONS[name]))


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("pack", ["folder", "zip", "tar"])
def test_records_of_a_small_set(tmp_path, name, pack):
    """Items, texts, labels and photos of the publisher's layout, however it is packed."""
    sources = getattr(published, name)(tmp_path)
    if pack != "folder":
        packed = {key: shutil.make_archive(str(tmp_path / f"packed-{key}"), pack, path)
                  for key, path in sources.items()}  # fmt: skip
        sources = {key: Path(path) for key, path in packed.items()}
    for record, (id_, group, text, labels, photo) in zip(read(name, sources), ITEMS[name], strict=True):
        assert (record.id, record.text, record.traits["labels"]) == (id_, text, labels)
        assert record.group == group or group is None
        if photo is None:
            with pytest.raises(FileNotFoundError, match="is missing"):
                record.image()
        else:
            assert record.image() == photo


@pytest.mark.parametrize("name", OPTIONS)
def test_the_catalog_gives_what_the_reader_reads(tmp_path, name):
    """The entry's sources are those of the small set, and its options those that the reader is given here."""
    entry = next(e for e in map(catalog.load, catalog.available()) if e.reader == name)
    assert entry.sources.keys() == getattr(published, name)(tmp_path).keys()
    assert entry.options.keys() == OPTIONS[name].keys()
    assert {source.kind for source in entry.sources.values()} == {"manual"}


@pytest.mark.parametrize(
    ("name", "source", "file", "text", "message"),
    [
        ("mirflickr", "annotations", "sea.txt", "1\n2 a\n", r"sea\.txt has 'a' where a photo's number goes"),
        ("nuswide", "lists", "NUS_WID_Tags/All_Tags.txt", "11 bear\n", "has 5 lines and All_Tags.txt 1"),
        ("nuswide", "lists", "NUS_WID_Tags/All_Tags.txt", "11 bear\n13 sky\n12 zoo\n14 odd\n11 bear\n",
         r"line 2 of Imagelist\.txt is 'bear/0002_12\.jpg', .* another photo, '13 sky'"),
        ("nuswide", "lists", "Groundtruth/AllLabels/Labels_sky.txt", "1\n0\n", "each of 5 photos; it has 2"),
        ("nuswide", "lists", "Groundtruth/AllLabels/Labels_sky.txt", "1\n0\n0\n2\n1\n", "should hold 0 or 1"),
        ("coco", "annotations", "annotations/instances_val2014.json", "{", "val2014.json is not readable"),
        ("coco", "annotations", "annotations/instances_val2014.json", "[" * 200_000, "recursion depth"),
        ("coco", "annotations", "annotations/instances_val2014.json", '{"id": 1, "id": 1}', "key 'id' twice"),
        ("coco", "annotations", "annotations/captions_train2014.json", "[]", "of train2014 are not as"),
        ("iaprtc12", "regions", "00/labels.txt", "1 1\n", r"00/labels\.txt, line 1: expected the numbers"),
    ],
)  # fmt: skip
def test_wrong_files_are_explained(tmp_path, name, source, file, text, message):
    """The message names the file and what is wrong in it."""
    sources = getattr(published, name)(tmp_path)
    published.write(sources[source], {file: text})
    with pytest.raises(ValueError, match=message):
        read(name, sources)


@pytest.mark.parametrize(
    ("name", "source", "file", "message"),
    [
        ("mirflickr", "annotations", "sea.txt", r"has no sea\.txt; is it version 0\.80"),
        ("mirflickr", "photos", "mirflickr/meta", "holds no file such as 'meta/tags"),
        ("nuswide", "lists", "ImageList/Imagelist.txt", "holds no file such as .*Imagelist"),
        (
            "nuswide",
            "lists",
            "Groundtruth/AllLabels/Labels_sky.txt",
            r"has no Labels_sky\.txt; it has animal",
        ),
        (
            "coco",
            "annotations",
            "annotations/captions_val2014.json",
            "holds no file such as .*captions_val2014",
        ),
        ("iaprtc12", "photos", "00", "holds no file such as"),
    ],
)
def test_missing_files_are_named(tmp_path, name, source, file, message):
    """One file or folder of the layout is not there."""
    sources = getattr(published, name)(tmp_path)
    gone = sources[source] / file
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    if name == "iaprtc12":
        shutil.rmtree(sources[source] / "01")
    with pytest.raises(ValueError, match=message):
        read(name, sources)


def test_a_long_value_costs_only_itself(tmp_path, monkeypatch):
    """A megabyte where 0 or 1 goes, among a hundred, is refused in a few megabytes, not a hundred."""
    sources = published.nuswide(tmp_path)
    lists = {
        "ImageList/Imagelist.txt": "sky\\0001_13.jpg\n" * 100,
        "NUS_WID_Tags/All_Tags.txt": "13 sky\n" * 100,
        "Groundtruth/AllLabels/Labels_animal.txt": "0\n" * 99 + "1" * 1_000_000,
    }
    published.write(sources["lists"], lists)
    monkeypatch.setattr("cmh.data.readers.nuswide._LIST_BYTES", 4 << 20)  # a read takes that much at first
    tracemalloc.start()
    with pytest.raises(ValueError, match="should hold 0 or 1 for each of 100 photos"):
        read("nuswide", sources)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 20_000_000


def test_an_odd_byte_in_a_description_is_one_odd_letter(tmp_path):
    """A byte that the encoding does not have stops neither the description nor the rest."""
    sources = published.iaprtc12(tmp_path)
    described = sources["descriptions"] / "00" / "1.eng"
    described.write_bytes(described.read_bytes().replace(b"Plaza", b"Pl\x81za"))
    (record,) = read("iaprtc12", sources)
    assert record.text.startswith("The Pl\N{REPLACEMENT CHARACTER}za a square")


def test_a_list_reads_no_other_files(tmp_path):
    """A photo's path that climbs out of the folder is a missing photo."""
    sources = published.nuswide(tmp_path)
    for number in (11, 13):
        (tmp_path / f"secret_{number}.jpg").write_bytes(b"secret")
    names = [f"..\\..\\secret_{number}.jpg" for number in (11, 12, 13, 14, 11)]
    published.write(sources["lists"], {"ImageList/Imagelist.txt": "\n".join(names)})
    records = read("nuswide", sources)
    assert [record.id for record in records] == ["../../secret_11", "../../secret_13", "../../secret_11"]
    for record in records:
        with pytest.raises(FileNotFoundError, match="is missing"):
            record.image()


def test_the_concepts_of_nuswide_are_the_21_most_frequent():
    """By the publisher's labels of all photos; together they label as many photos as papers say."""
    folder = shallow.SHARED / "nuswide_labels"
    if not folder.exists():
        pytest.skip(
            f"labels of NUS-WIDE are not at {folder}; set CMH_SHARED_DATA to the folder that holds them"
        )
    names = dict(line.split() for line in (folder / "label_ids.txt").read_text().splitlines())
    shown = [line.split()[1:] for line in (folder / "mul_label_ids.txt").read_text().splitlines()]
    frequent = {number for number, _ in Counter(n for of_one in shown for n in of_one).most_common(21)}
    assert sorted(names[number] for number in frequent) == catalog.load("nuswide").options["concepts"]
    assert sum(not frequent.isdisjoint(of_one) for of_one in shown) == 195_834


def test_photos_without_tags_are_kept_where_a_protocol_does(tmp_path):
    """MIRFlickr's fourth photo, whose only tag does not count; stricter lists are labels of their own."""
    sources = published.mirflickr(tmp_path)
    options = OPTIONS["mirflickr"] | {"untagged": "none", "labels": ["plant_life", "sea", "sea_r1"]}
    records = {r.id: r for r in readers.load("mirflickr").read(sources, options)}
    assert records["im4"].text == "none"
    assert records["im5"].traits["labels"] == ("sea_r1",)


def test_order_of_names_as_text(tmp_path):
    """Photo 10 before photo 2, as code that sorts file names has it."""
    sources = published.mirflickr(tmp_path)
    published.write(
        sources["photos"], {"mirflickr/im10.jpg": "photo 10", "mirflickr/meta/tags/tags10.txt": "sea\n"}
    )
    published.write(sources["annotations"], {"sea.txt": "1\n2\n3\n10\n"})
    records = readers.load("mirflickr").read(sources, OPTIONS["mirflickr"] | {"order": "text"})
    assert [record.id for record in records] == ["im1", "im10", "im2", "im3"]


def test_nuswide_of_a_flat_folder_with_all_tags(tmp_path):
    """Photos by their names alone; tags beyond the 1,000; a word for those without any."""
    sources = published.nuswide(tmp_path)
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in sources["photos"].rglob("*.jpg"):
        shutil.copy(path, flat / path.name)
    options = OPTIONS["nuswide"] | {"tags": "all", "untagged": "123456", "flat": True}
    names = [f"x\\{number:04}_{number + 10}.jpg" for number in range(1, 6)]
    published.write(sources["lists"], {
        "ImageList/Imagelist.txt": "".join(f"{name}\n" for name in names),
        "NUS_WID_Tags/All_Tags.txt": "11 bear odd\n12\n13 sky\n14\n15 bear\n",
    })  # fmt: skip
    records = list(readers.load("nuswide").read({**sources, "photos": flat}, options))
    assert [record.text for record in records] == ["bear odd", "sky", "123456", "bear"]


@pytest.mark.parametrize(
    "lines",
    [
        "a.jpg#0\tA dog .\na.jpg#1\tThe dog .\nb.jpg#0\tA cat .\n",
        "image,caption\na.jpg,A dog .\na.jpg,The dog .\nb.jpg,A cat .\n",
        "image_name| comment_number| comment\na.jpg| 0| A dog .\na.jpg| 1   The dog .\nb.jpg| 0| A cat .\n",
    ],
    ids=["token", "captions.txt", "results.csv"],
)
def test_lists_of_captions(tmp_path, lines):
    """As Flickr8k, Flickr30k and their copies have them; one line of results.csv lacks its second bar."""
    published.write(tmp_path, {"images/a.jpg": "a", "images/b.jpg": "b", "captions": lines})
    sources = {"images": tmp_path / "images", "captions": tmp_path / "captions"}
    records = list(readers.load("captions").read(sources, {}))
    assert [(r.id, r.image_name, r.text) for r in records] == [
        ("a.jpg#0", "a.jpg", "A dog ."), ("a.jpg#1", "a.jpg", "The dog ."), ("b.jpg#0", "b.jpg", "A cat ."),
    ]  # fmt: skip


def test_chinese_captions(tmp_path):
    """Flickr8k-CN's lines; another form is refused with its line."""
    lines = "a.jpg#zhc#0 穿着粉红色连衣裙的孩子。\na.jpg#zhc#1 一个女孩。\n"
    published.write(tmp_path, {"images/a.jpg": "a", "captions": lines})
    sources = {"images": tmp_path / "images", "captions": tmp_path / "captions"}
    assert [r.text for r in readers.load("captions").read(sources, {})] == [
        "穿着粉红色连衣裙的孩子。",
        "一个女孩。",
    ]
    published.write(tmp_path, {"captions": lines + "nothing\n"})
    with pytest.raises(ValueError, match="line 3: expected <photo>#<number>"):
        list(readers.load("captions").read(sources, {}))
