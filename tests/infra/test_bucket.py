"""Copies of what lies in a bucket, from a real S3 server."""

from pathlib import Path

import pytest
import s3fs

from infra import bucket
from infra.fetch import FetchError
from infra.storage import StorageError, Store

pytestmark = pytest.mark.slow


@pytest.fixture
def photos(s3_store: Store) -> Store:
    """Two files below a prefix, one beside it, and one whose name begins alike."""
    for name in ("photos/a.jpg", "photos/sub/b.jpg", "items.csv", "photos-2/c.jpg"):
        s3_store.write_bytes(name, name.encode())
    return s3_store


def held(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_copy_is_what_the_bucket_is(photos: Store) -> None:
    """What is new, changed or gone there is so here; what is the same is not fetched again."""
    place = f"{photos.url}/photos"
    folder = bucket.here(Path(place))
    assert held(folder) == {"a.jpg": b"photos/a.jpg", "sub/b.jpg": b"photos/sub/b.jpg"}
    same = (folder / "a.jpg").stat().st_ino
    photos.write_bytes("photos/new.jpg", b"new")
    photos.write_bytes("photos/sub/b.jpg", b"changed")
    assert "new.jpg" not in held(bucket.here(Path(place)))  # one process sees the same each time
    bucket.copy.cache_clear()
    assert held(bucket.here(Path(place))) == {
        "a.jpg": b"photos/a.jpg", "sub/b.jpg": b"changed", "new.jpg": b"new",
    }  # fmt: skip
    assert (folder / "a.jpg").stat().st_ino == same
    photos.delete("photos/new.jpg")
    bucket.copy.cache_clear()
    assert "new.jpg" not in held(bucket.here(Path(place)))


def test_an_object_becomes_a_folder_and_a_folder_an_object(photos: Store) -> None:
    """Below the prefix that is copied, and at it."""
    place = f"{photos.url}/photos"
    bucket.here(Path(place))
    bucket.here(Path(f"{photos.url}/items.csv"))
    for old, new in (("photos/a.jpg", "photos/a.jpg/x.jpg"), ("photos/sub/b.jpg", "photos/sub"),
                     ("items.csv", "items.csv/part.csv")):  # fmt: skip
        photos.delete(old)
        photos.write_bytes(new, new.encode())
    bucket.copy.cache_clear()
    assert held(bucket.here(Path(place))) == {"a.jpg/x.jpg": b"photos/a.jpg/x.jpg", "sub": b"photos/sub"}
    assert held(bucket.here(Path(f"{photos.url}/items.csv"))) == {"part.csv": b"items.csv/part.csv"}


def test_folders_of_the_console_are_passed_over(photos: Store, caplog: pytest.LogCaptureFixture) -> None:
    """Empty objects whose names end in a slash; nothing is said of them."""
    fs = s3fs.S3FileSystem(use_listings_cache=False)
    name, _, prefix = photos.url.removeprefix("s3://").partition("/")
    fs.call_s3("put_object", Bucket=name, Key=f"{prefix}/photos/sub/", Body=b"")
    assert len(held(bucket.here(Path(f"{photos.url}/photos")))) == 2
    assert "skipped" not in caplog.text


def test_one_object_is_a_file(photos: Store) -> None:
    """As a table is."""
    assert bucket.here(Path(f"{photos.url}/items.csv")).read_bytes() == b"items.csv"


def test_what_is_not_there_or_too_much_is_refused(photos: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is fetched; another name that begins alike is not taken."""
    with pytest.raises(FetchError, match="no such object, and nothing below it"):
        bucket.here(Path(f"{photos.url}/phot"))
    monkeypatch.setattr(bucket, "MAX_FILES", 1)
    with pytest.raises(FetchError, match=r"holds 2 files of .* give a smaller prefix"):
        bucket.here(Path(f"{photos.url}/photos"))


def test_a_server_that_does_not_answer_is_no_empty_bucket(
    photos: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong account is an outage, not a miss."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(StorageError, match="check AWS_ENDPOINT_URL"):
        bucket.here(Path(f"{photos.url}/photos"))
