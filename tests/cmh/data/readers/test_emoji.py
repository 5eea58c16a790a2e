"""The emoji reader over ten hand-made emoji in the publishers' formats, against what is known of them."""

import json

import numpy as np
import pytest

from cmh.data import readers
from cmh.data.images import decode_image
from tests.raw import pack

OPTIONS = {"openmoji": "openmoji", "keywords": "emojilib", "icons": ["icons"]}


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return pack.emoji(tmp_path_factory.mktemp("emoji"))


@pytest.fixture(scope="module")
def records(sources):
    return {record.id: record for record in readers.load("emoji").read(sources, OPTIONS)}


def test_concepts_are_emoji_with_keywords_and_without_skin_tone(records):
    """Of ten entries, the one with a skin tone and the one without keywords are no concepts."""
    ours = {name for name in records if name.startswith("openmoji/")}
    assert len(ours) == 8
    assert "openmoji/1F468-200D-2695" in ours


def test_an_icon_is_found_by_code_by_name_and_by_alias(records):
    """chars.json gives the apple, the names give banana and car, an alias gives the bicycle."""
    ours = {name for name in records if name.startswith("icons/")}
    assert ours == {"icons/1F34E", "icons/1F34C", "icons/1F697", "icons/1F6B2"}


def test_text_and_traits(records):
    """Keywords become words, each once; traits are the group, the subgroup and the tags."""
    apple = records["icons/1F34E"]
    assert apple.text == "red apple fruit sweet"
    assert apple.traits == {
        "groups": ("food-drink",),
        "subgroups": ("food-fruit",),
        "tags": ("apple", "fruit", "red"),
    }


def test_gender_variants_are_one_group(records):
    """A man and a woman of one profession never come on different sides of a split."""
    groups = {records[f"openmoji/{code}-200D-2695"].group for code in ("1F468", "1F469")}
    assert groups == {"1F9D1-2695"}
    assert records["openmoji/1F34E"].group == records["icons/1F34E"].group


def test_alias_is_flipped(records):
    """The bicycle is the left half of its parent's square, flipped: its right half is blue."""
    record = records["icons/1F6B2"]
    image = decode_image(record.image(), record.media_type, 32)
    assert image[16, 4].tolist() == [255, 255, 255]
    assert image[16, 28].tolist() == [0, 0, 255]


def test_wide_icon_keeps_its_shape(records):
    """An icon twice as wide as high fills the middle half of the square."""
    record = records["icons/1F697"]
    red = (decode_image(record.image(), record.media_type, 32) == (255, 0, 0)).all(axis=2)
    assert red.sum() == 32 * 16
    assert np.flatnonzero(red.any(axis=1)).tolist() == list(range(8, 24))


def test_limit_keeps_some_concepts_of_a_group(sources):
    """Of two flags one is kept, always the same."""
    runs = [list(readers.load("emoji").read(sources, OPTIONS | {"limit": {"flags": 1}})) for _ in range(2)]
    flags = [[r.id for r in run if r.traits["groups"] == ("flags",)] for run in runs]
    assert len(flags[0]) == 1
    assert flags[0] == flags[1]


def test_wrong_package_is_named(sources):
    """A tarball without the expected member is named, and so is a source that is not there."""
    with pytest.raises(ValueError, match=r"emojilib.tgz has no package/data/openmoji.json"):
        list(readers.load("emoji").read(sources | {"openmoji": sources["emojilib"]}, OPTIONS))
    with pytest.raises(ValueError, match="no source named noto"):
        list(readers.load("emoji").read(sources, OPTIONS | {"icons": ["noto"]}))


def test_unknown_reader_is_not_available_yet():
    """The message names the reader and those there are."""
    with pytest.raises(
        ValueError, match="there is no reader 'imagenet'; available: captions, coco, dcmh, emoji"
    ):
        readers.load("imagenet")


def test_raw_files_are_in_the_publishers_form():
    """The hand-made openmoji.json has exactly the fields of the published one."""
    entry = json.loads((pack.RAW / "emoji/openmoji/package/data/openmoji.json").read_text())[0]
    assert set(entry) == {
        *("emoji", "hexcode", "group", "subgroups", "annotation", "tags", "unicode", "order"),
        *("openmoji_tags", "openmoji_author", "openmoji_date"),
        *("skintone", "skintone_combination", "skintone_base_emoji", "skintone_base_hexcode"),
    }
