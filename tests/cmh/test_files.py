"""One small data set as a folder, a tar and a zip, and archives made to do harm."""

import io
import os
import tarfile
import zipfile

import pytest

from cmh import files

HELD = {"set/im1.jpg": b"one", "set/im2.jpg": b"two", "set/meta/tags/tags1.txt": b"sky sea"}


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
    found = files.listing(packed)
    assert {name: read() for name, read in found.items()} == HELD
    assert list(found) == sorted(HELD)


@pytest.mark.parametrize("pack", [folder, tar, zip_])
def test_a_large_file_is_refused_when_it_is_read(tmp_path, pack):
    """Four bytes where three are allowed: the listing works, the file raises."""
    found = files.listing(pack(tmp_path / "set", {"a": b"1234", "b": b"123"}), most=3)
    assert found["b"]() == b"123"
    with pytest.raises(ValueError, match="more than 3 bytes"):
        found["a"]()


def test_a_lying_zip_is_refused(tmp_path):
    """A zip whose directory says three bytes of a file that has a million."""
    path = zip_(tmp_path / "set.zip", {"a": b"0" * 1_000_000})
    data = path.read_bytes()
    path.write_bytes(data.replace((1_000_000).to_bytes(4, "little"), (3).to_bytes(4, "little")))
    with pytest.raises(ValueError, match="a: "):
        files.listing(path, most=100)["a"]()


def test_links_out_of_the_folder_are_no_files(tmp_path):
    """A link to a secret is not in the listing, nor a pipe that nobody fills; a link within the folder is."""
    (tmp_path / "secret").write_bytes(b"secret")
    inside = folder(tmp_path / "set", {"a": b"1"})
    (inside / "out").symlink_to(tmp_path / "secret")
    (inside / "in").symlink_to(inside / "a")
    os.mkfifo(inside / "pipe")
    assert sorted(files.listing(inside)) == ["a", "in"]


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
    found = files.listing(path)
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
            files.listing(path)
    with pytest.raises(ValueError, match="no such file or folder"):
        files.listing(tmp_path / "missing")


def test_matching_by_the_end_of_a_name(tmp_path):
    """The pattern's group is the key; a file that is there twice, or not at all, is an error."""
    found = files.listing(folder(tmp_path / "set"))
    photos = files.matching(found, r"im(\d+)\.jpg", "photos")
    assert {key: read() for key, read in photos.items()} == {"1": b"one", "2": b"two"}
    assert list(files.matching(found, r"meta/tags/tags(\d+)\.txt", "tags")) == ["1"]
    with pytest.raises(ValueError, match=r"photos holds im1\.jpg twice"):
        files.matching(found | {"copy/im1.jpg": bytes}, r"im(\d+)\.jpg", "photos")
    with pytest.raises(ValueError, match="photos holds no file such as"):
        files.matching(found, r"(\d+)\.png", "photos")


def test_text_is_decoded(tmp_path):
    """UTF-8, or an error with the place of the byte."""
    (tmp_path / "a.txt").write_bytes("Äpfel".encode("latin-1"))
    with pytest.raises(ValueError, match=r"tags is not utf-8 \(byte 0\)"):
        files.text(files.one(tmp_path / "a.txt"), "tags")
    assert files.text(files.one(tmp_path / "a.txt"), "tags", "latin-1") == "Äpfel"


def test_a_missing_file_raises_when_read():
    """The error of one record, not of the reader."""
    with pytest.raises(FileNotFoundError, match=r"image file a\.jpg is missing"):
        files.missing("a.jpg")()
