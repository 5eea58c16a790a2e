"""One small data set as a folder, a tar and a zip, and archives made to do harm."""

import gzip
import io
import os
import random
import tarfile
import time
import zipfile
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmh.data import archives

HELD = {"set/im1.jpg": b"one", "set/im2.jpg": b"two", "set/meta/tags/tags1.txt": b"sky sea"}
NOISE = bytes(random.Random(0).choices(range(8), k=300))  # some 120 bytes when compressed


def folder(path, held=HELD):
    for name, data in held.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def tar(path, held=HELD, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, data in held.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def zip_(path, held=HELD):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in held.items():
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize("pack", [folder, tar, zip_])
def test_packing_makes_no_difference(tmp_path, pack):
    """Names and bytes are those of the folder, and what macOS packs beside them is left out."""
    packed = pack(tmp_path / "set", HELD | {"__MACOSX/set/._im1.jpg": b"x"})
    found = archives.listing(packed)
    assert {name: read() for name, read in found.items()} == HELD
    assert list(found) == sorted(HELD)


@pytest.mark.parametrize("pack", [folder, tar, zip_])
def test_a_large_file_is_refused_when_it_is_read(tmp_path, pack):
    """Four bytes where three are allowed: the listing works, the file raises."""
    found = archives.listing(pack(tmp_path / "set", {"a": b"1234", "b": b"123"}), most=3)
    assert found["b"]() == b"123"
    with pytest.raises(ValueError, match="more than 3 bytes"):
        found["a"]()


def test_a_lying_zip_is_refused(tmp_path):
    """A zip whose directory says three bytes of a file that has a million."""
    path = zip_(tmp_path / "set.zip", {"a": b"0" * 1_000_000})
    data = path.read_bytes()
    path.write_bytes(data.replace((1_000_000).to_bytes(4, "little"), (3).to_bytes(4, "little")))
    with pytest.raises(ValueError, match="a: "):
        archives.listing(path, most=100)["a"]()


def hostile_tar(path, *, size=0):
    """A tar whose only header gives that size, base 256 where it is negative or large."""
    info = tarfile.TarInfo("a")
    info.size = size
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(20 * 512))
    return path


@pytest.mark.parametrize("size", [-512, -1024, -1, 1 << 70])
def test_an_impossible_size_in_a_tar_is_refused(tmp_path, size):
    """A negative size leads back to the same header for ever, a huge one past what a file can be."""
    with pytest.raises(ValueError, match="fetch it again"):
        archives.listing(hostile_tar(tmp_path / "set.tar", size=size))


def test_headers_of_headers_are_refused(tmp_path):
    """Thousands of extended headers, each of the next, which tarfile reads one within the other."""
    info = tarfile.TarInfo("a")
    info.type = tarfile.XHDTYPE
    (tmp_path / "set.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) * 5000 + bytes(1024))
    with pytest.raises(ValueError, match="recursion"):
        archives.listing(tmp_path / "set.tar")


@pytest.mark.parametrize("cut", [0, 100, None])
def test_a_tar_that_ends_early_is_not_taken_for_a_whole_one(tmp_path, cut):
    """Cut at or within the second header, or with it damaged; compressed and not."""
    data = bytearray(tar(tmp_path / "whole.tar").read_bytes())
    second = data.index(b"set/im2.jpg")
    damaged = data[: second + cut] if cut is not None else data[:second] + b"?" * 512 + data[second + 512 :]
    (tmp_path / "damaged.tar").write_bytes(damaged)
    (tmp_path / "damaged.tgz").write_bytes(gzip.compress(bytes(damaged)))
    with pytest.raises(ValueError, match="cut short"):
        archives.listing(tmp_path / "damaged.tar")
    for name in ("damaged.tar", "damaged.tgz"):
        with pytest.raises(ValueError, match="cut short"):
            archives.read_tar(tmp_path / name, lambda _: True)


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_a_name_does_not_fill_the_memory(tmp_path, kind):
    """A header that says that its name has a gibibyte is refused before the name is read."""
    info = tarfile.TarInfo("long")
    info.type, info.size = kind, 1 << 30
    (tmp_path / "long.tar").write_bytes(info.tobuf(tarfile.USTAR_FORMAT) + bytes(10240))
    for read in (archives.listing, lambda path: archives.read_tar(path, lambda _: True)):
        with pytest.raises(ValueError, match="1073741824"):
            read(tmp_path / "long.tar")


def test_a_member_that_nobody_wants_does_not_take_an_hour(tmp_path):
    """Eight gibibytes of zeros are 8 MB of gzip: refused before they are unpacked."""
    info = tarfile.TarInfo("zeros")
    info.size = 8 << 30
    wanted = tarfile.TarInfo("items.csv")
    data = wanted.tobuf(tarfile.USTAR_FORMAT) + info.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20)
    (tmp_path / "bomb.tgz").write_bytes(gzip.compress(data))
    began = time.monotonic()
    with pytest.raises(ValueError, match=r"bomb.tgz unpacks to more than 1073741824 bytes, .* file zeros"):
        archives.read_tar(tmp_path / "bomb.tgz", lambda name: name == "items.csv")
    assert time.monotonic() - began < 5


def links(path):
    """Five links of one name, which make no file."""
    with tarfile.open(path, "w") as archive:
        for _ in range(5):
            info = tarfile.TarInfo("link")
            info.type, info.linkname = tarfile.SYMTYPE, "x"
            archive.addfile(info)
    return path


@pytest.mark.parametrize(
    "pack",
    [
        links,
        lambda path: zip_(path, {f"{n}/": b"" for n in range(5)}),
        lambda path: folder(path, {str(n): b"" for n in range(5)}),
    ],
    ids=["tar", "zip", "folder"],
)
def test_every_entry_counts(tmp_path, monkeypatch, pack):
    """Links and folders too: they are no files, and cost memory all the same."""
    packed = pack(tmp_path / "set")
    monkeypatch.setattr(archives, "FILES", 5)
    assert len(archives.listing(packed)) in (0, 5)
    monkeypatch.setattr(archives, "FILES", 4)
    with pytest.raises(ValueError, match="holds more than 4 files"):
        archives.listing(packed)


DAMAGED = st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), min_size=1, max_size=4)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, "tar"])
@settings(max_examples=40, deadline=None)
@given(changes=DAMAGED, cut=st.integers(0, 1 << 16) | st.none())
def test_damage_is_an_error_of_the_archive_or_of_one_file(tmp_path_factory, method, changes, cut):
    """Whatever bytes change, wherever it ends: a listing or a ValueError, bytes or an error of Read."""
    path = tmp_path_factory.getbasetemp() / f"damaged-{method}"
    if method == "tar":
        tar(path)
    else:
        with zipfile.ZipFile(path, "w", method) as archive:
            for name in ("a", "b"):
                archive.writestr(name, NOISE)
    data = bytearray(path.read_bytes())
    for place, value in changes:
        data[place % len(data)] = value
    path.write_bytes(data if cut is None else data[: cut % len(data)])
    with suppress(ValueError):
        for read in archives.listing(path, most=1000).values():
            with suppress(ValueError, OSError):
                read()


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_one_damaged_file_leaves_the_others(tmp_path, method):
    """Bytes that cannot be unpacked, or that end too early, are a ValueError naming the file."""
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        for name in ("a", "b"):
            archive.writestr(name, NOISE)
        start = archive.getinfo("a").header_offset + 31
    data = path.read_bytes()
    path.write_bytes(data[: start + 20] + b"\xff" * 30 + data[start + 50 :])
    found = archives.listing(path)
    with pytest.raises(ValueError, match=r"^a: "):
        found["a"]()
    assert len(found["b"]()) == len(NOISE)


def test_a_zip_cut_short_says_so(tmp_path):
    """Without its end it is no zip any more; without its middle it is a damaged one."""
    data = zip_(tmp_path / "set.zip", {"a": bytes(1000)}).read_bytes()
    (tmp_path / "set.zip").write_bytes(data[:-30])
    with pytest.raises(ValueError, match="or was cut short: fetch it again"):
        archives.listing(tmp_path / "set.zip")
    (tmp_path / "set.zip").write_bytes(data[:200] + data[-22:])
    with pytest.raises(ValueError, match=r"set\.zip is a damaged zip .* fetch it again"):
        archives.listing(tmp_path / "set.zip")


def test_links_out_of_the_folder_are_no_files(tmp_path):
    """A link to a secret is not in the listing, nor a pipe that nobody fills; a link within the folder is."""
    (tmp_path / "secret").write_bytes(b"secret")
    inside = folder(tmp_path / "set", {"a": b"1"})
    (inside / "out").symlink_to(tmp_path / "secret")
    (inside / "in").symlink_to(inside / "a")
    os.mkfifo(inside / "pipe")
    assert sorted(archives.listing(inside)) == ["a", "in"]


def test_hidden_files_of_a_folder_are_no_data(tmp_path):
    """What identifies a folder leaves them out, so a change of theirs would go unseen."""
    folder(tmp_path, HELD | {".cache/im3.jpg": b"x", "set/.im4.jpg": b"x"})
    assert list(archives.listing(tmp_path)) == sorted(HELD)


def test_names_of_an_archive_lead_nowhere(tmp_path):
    """A name that climbs is only a name; links and devices in a tar are no files."""
    path = tmp_path / "set.tar"
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo("link")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(info)
        info = tarfile.TarInfo("../../a")
        info.size = 1
        archive.addfile(info, io.BytesIO(b"1"))
    found = archives.listing(path)
    assert {name: read() for name, read in found.items()} == {"../../a": b"1"}
    assert not (tmp_path.parent.parent / "a").exists()


def test_what_is_no_folder_and_no_archive(tmp_path):
    """Compressed tars, text and nothing at all; the message says what to do."""
    for path in (tar(tmp_path / "set.tgz", mode="w:gz"), tmp_path / "text"):
        if not path.exists():
            path.write_text("text " * 200)
        with pytest.raises(
            ValueError, match=r"neither a folder nor a zip nor an uncompressed tar .* unpack it"
        ):
            archives.listing(path)
    with pytest.raises(ValueError, match="no such file or folder"):
        archives.listing(tmp_path / "missing")


def test_matching_by_the_end_of_a_name(tmp_path):
    """The pattern's group is the key; a file that is there twice, or not at all, is an error."""
    found = archives.listing(folder(tmp_path / "set"))
    photos = archives.matching(found, r"im(\d+)\.jpg", "photos")
    assert {key: read() for key, read in photos.items()} == {"1": b"one", "2": b"two"}
    assert list(archives.matching(found, r"meta/tags/tags(\d+)\.txt", "tags")) == ["1"]
    with pytest.raises(ValueError, match=r"photos holds im1\.jpg twice"):
        archives.matching(found | {"copy/im1.jpg": bytes}, r"im(\d+)\.jpg", "photos")
    with pytest.raises(ValueError, match=r"photos holds no file such as '<folder>/<number>\.png'; is"):
        archives.matching(found, r"([^/]+/\d+\.png)", "photos")


def test_text_is_decoded(tmp_path):
    """UTF-8, or an error with the place of the byte."""
    (tmp_path / "a.txt").write_bytes("Äpfel".encode("latin-1"))
    with pytest.raises(ValueError, match=r"tags is not utf-8 \(byte 0\)"):
        archives.text(archives.one(tmp_path / "a.txt"), "tags")
    assert archives.text(archives.one(tmp_path / "a.txt"), "tags", "latin-1") == "Äpfel"


def test_a_missing_file_raises_when_read():
    """The error of one record, not of the reader."""
    with pytest.raises(FileNotFoundError, match=r"image file a\.jpg is missing"):
        archives.missing("a.jpg")()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice_is_refused_in_a_zip_and_replaced_in_a_tar(tmp_path):
    """A tar that was appended to holds older versions; of a zip, programs take the one or the other."""
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as packed:
        for data in (b"old", b"new"):
            packed.writestr("im1.jpg", data)
    with pytest.raises(ValueError, match=r"holds im1.jpg twice"):
        archives.listing(tmp_path / "set.zip")
    for data in (b"old", b"new"):
        with tarfile.open(tmp_path / "set.tar", "a") as packed:
            info = tarfile.TarInfo("im1.jpg")
            info.size = len(data)
            packed.addfile(info, io.BytesIO(data))
    assert archives.listing(tmp_path / "set.tar")["im1.jpg"]() == b"new"
