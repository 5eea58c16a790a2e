"""Flickr8k in small files of both layouts, the label rules of the catalog; the real files where they are."""

import numpy as np
import pytest

from cmh.data import labels, readers
from cmh.data.readers import flickr8k
from data_catalog import catalog
from tests.cmh.methods import shallow

ENTRY = catalog.load("flickr8k")
SAID = {
    "2_b.jpg": ["A dog .", "One dog, outside .", "A black dog in snow .", "A dog runs .", "Dog ."],
    "1_a.jpg": ["Two men .", "Men talk .", "Men on bikes .", "Two men ride .", "A hot-dog stand ."],
}
TOKENS = "".join(f"{name}#{i}\t{said}\n" for name, all_ in SAID.items() for i, said in enumerate(all_))
TABLE = "image,caption\n" + "".join(f'{name},"{said}"\n' for name, all_ in SAID.items() for said in all_)


@pytest.fixture
def photos(tmp_path):
    """A folder like the publisher's: photos one level down, one of them missing."""
    (tmp_path / "set" / "Flicker8k_Dataset").mkdir(parents=True)
    (tmp_path / "set" / "Flicker8k_Dataset" / "2_b.jpg").write_bytes(b"photo")
    return tmp_path / "set"


def read(photos, table):
    (photos.parent / "captions.txt").write_text(table)
    sources = {"images": photos, "captions": photos.parent / "captions.txt"}
    return list(readers.load("flickr8k").read(sources, ENTRY.options))


@pytest.mark.parametrize("table", [TOKENS, TABLE, "".join(reversed(TOKENS.splitlines(keepends=True)))])
def test_both_layouts_give_the_same_records(photos, table):
    """By name of the photo, captions by their numbers; text and words are of different captions."""
    first, second = read(photos, table)
    assert (first.id, first.text) == ("1_a", "Two men . Men talk .")
    assert (second.id, second.group, second.text) == ("2_b", "2_b.jpg", "A dog . One dog, outside .")
    assert {"bikes", "ride", "hot dog", "on bikes"} <= set(first.traits["words"])
    assert not {"talk", "outside"} & {*first.traits["words"], *second.traits["words"]}
    assert second.image() == b"photo"
    with pytest.raises(FileNotFoundError, match=r"1_a\.jpg is missing"):
        first.image()


def test_captions_of_no_photo_are_left_out(photos):
    """The publisher's list has five captions of a photo named ….jpg.1, which nobody has."""
    strange = "".join(f"3_c.jpg.1#{i}\tA cat .\n" for i in range(5))
    assert [record.id for record in read(photos, strange + TOKENS)] == ["1_a", "2_b"]


def test_the_rules_of_the_catalog_label_them(photos):
    """Words and pairs of words earn a label; the text earns none."""
    names, label = labels.assign([record.traits for record in read(photos, TOKENS)], ENTRY.labels)
    found = [{names[column] for column in np.flatnonzero(row)} for row in label]
    assert found == [{"bicycle", "dog", "hot dog"}, {"dog", "snow"}]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("1_a.jpg#0 no tab\n", r"line 1: expected <photo>#<number>, a tab and a caption"),
        (
            "1_a.jpg#0\tone\n1_a.jpg#1\ttwo\n",
            r"1_a\.jpg has 2 caption\(s\); 2 are its text, and at least one",
        ),
        ("image,caption\n1_a.jpg,a,b\n", r"captions\.txt, line 2: expected a photo and a caption, got '1_a"),
        (TABLE.replace('men ."', "men .", 1), r"captions\.txt, line 8: .* is a quote left open above"),
        (TABLE[:-2], r"captions\.txt, line 11: unexpected end of data"),
        (f"image,caption\n1_a.jpg,{'a' * 200_000}\n", r"captions\.txt, line 2: field larger than"),
    ],
)
def test_wrong_tables_are_explained(photos, table, message):
    """File, place, and what is expected."""
    with pytest.raises(ValueError, match=message):
        read(photos, table)


def test_a_caption_table_reads_no_other_files(photos):
    """A name that climbs out of the folder is a missing photo."""
    (photos.parent / "secret.jpg").write_bytes(b"secret")
    (record,) = read(photos, TOKENS.split("1_a")[0].replace("2_b.jpg", "../secret.jpg"))
    with pytest.raises(FileNotFoundError, match="is missing"):
        record.image()


def test_words_that_two_labels_share_are_meant():
    """A word of two labels: only a beach, which is sand and sea."""
    owners: dict[str, list[str]] = {}
    for name, rule in ENTRY.labels.items():
        for word in rule["words"]:
            owners.setdefault(word, []).append(name)
    assert {word: names for word, names in owners.items() if len(names) > 1} == {"beach": ["sea", "sand"]}
    assert all(word in flickr8k.words([word]) for word in owners)  # else no caption could earn it


def test_the_real_files_are_what_the_catalog_says():
    """Counts of the entry, chance as its text says, and a photo that can be opened."""
    folder = shallow.SHARED / "flickr8k"
    if not folder.exists():
        pytest.skip(f"Flickr8k is not at {folder}; set CMH_SHARED_DATA to the folder that holds flickr8k/")
    sources = {"images": next(folder.glob("*.tar")), "captions": folder / "captions.txt"}
    records = list(flickr8k.read(sources, ENTRY.options))
    names, label = labels.assign([record.traits for record in records], ENTRY.labels)
    label = label[label.any(axis=1)].astype(np.float32)
    assert (len(records), len(label), len(names)) == tuple(
        ENTRY.counts[what] for what in ("records", "items", "labels")
    )
    assert ((label @ label.T) > 0).mean() == pytest.approx(0.17, abs=0.005)
    assert records[0].image().startswith(b"\xff\xd8")
