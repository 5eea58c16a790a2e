"""Collections under what goes wrong: an addition that is broken off, two at once, odd files, damage."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from cmh import collection
from cmh.collection_files import changes, manifest
from flows import index
from infra.stores import open_store
from tests.flows.command_line import cmh
from tests.flows.test_index import HERE, draw, home, names_in, photos

__all__ = ["home", "photos"]  # fixtures


SMALL_PARTS = """
from flows import cli, index_encoding

index_encoding.TASK, index_encoding.PART, index_encoding.SECONDS = 4, 8, 0
if __name__ == "__main__":
    cli.main()
"""


@pytest.mark.slow
def test_a_broken_off_addition_goes_on(home: Path) -> None:
    """Killed after the first of several parts, then repeated: every image once, as if nothing had been."""
    names = [f"{number:03}.png" for number in range(40)]
    draw(home / "many", names)
    command = [sys.executable, "-c", SMALL_PARTS, "index", "many", "--to", "own", "--threads", "2"]
    child = subprocess.Popen(command)
    while not (home / "own" / "collection.json").exists() or not manifest.read(home / "own").parts:
        assert child.poll() is None
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert 8 <= len(collection.all_codes(Path("own"))) < 40
    again = cmh("index", "many", "--to", "own", "--threads", 2)
    assert again.status == 0, again.err
    cmh("index", "many", "--to", "whole", "--threads", 1)
    broken, whole = (collection.all_codes(Path(folder)) for folder in ("own", "whole"))
    assert sorted(broken.ids.tolist()) == names
    by_name = [dict(zip(i.ids.tolist(), i.codes().tolist(), strict=True)) for i in (broken, whole)]
    assert by_name[0] == by_name[1]


def test_links_names_and_other_files(home: Path, photos: Path) -> None:
    """Links are followed, each folder once; what is no image is counted; odd names are rejected by name."""
    folder = home / "photos"
    draw(home, ["outside.png"], seed=5)
    outside = Image.open(home / "outside.png")
    for target, name in (("photos", "loop"), ("outside.png", "one.png"), ("nowhere.png", "dangling.png")):
        (folder / name).symlink_to(home / target)
    os.mkfifo(folder / "pipe.png")
    (folder / "film.mov").write_bytes(b"film")
    outside.save(folder / "no-suffix", "PNG")
    for name, kind in (("x.tif", "TIFF"), ("x.avif", "AVIF"), ("x.jfif", "JPEG")):
        outside.save(folder / name, kind)
    odd = os.path.join(os.fsencode(folder), b"caf\xe9.png")
    Path(os.fsdecode(odd)).write_bytes((home / "outside.png").read_bytes())
    called = cmh("index", photos, "--to", "own", "--threads", 1)
    assert called.status == 0, called.err
    said = " ".join(called.out.split())
    assert "9 added to own" in said
    assert "3 rejected" in said
    assert "caf\\xe9.png" in said
    assert "2 other files were not read: 1 .csv, 1 .mov" in said
    expected = ["B.JPG", "a.png", "d.bmp", "no-suffix", "one.png", "x.avif", "x.jfif", "x.tif", "ü c.webp"]
    assert names_in("own") == expected


def test_two_additions_at_once(home: Path, photos: Path) -> None:
    """The second is refused, and names the first; the lock of a process that died is free."""
    index.add(open_store(), photos, Path("own"), None, HERE)
    with (
        changes.lock(Path("own")),
        pytest.raises(ValueError, match=rf"process {os.getpid()} on .* is changing own; wait"),
    ):
        index.add(open_store(), photos, Path("own"), None, HERE)
    program = (
        "import os; from pathlib import Path; from cmh.collection_files import changes\n"
        "with changes.lock(Path('own')): os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    assert index.add(open_store(), photos, Path("own"), None, HERE).known == 4


def test_every_damage_is_found_on_opening(home: Path, photos: Path) -> None:
    """A flipped bit or a lost byte, of any file that counts, by name; by search, addition and verify."""
    index.add(open_store(), photos, Path("own"), None, HERE)
    files = [path for path in sorted(Path("own").rglob("*")) if path.is_file() and path.name != "lock"]
    assert len(files) >= 9
    for path in files:
        whole = path.read_bytes()
        flipped = bytearray(whole)
        flipped[len(whole) // 2] ^= 1
        for damaged in (bytes(flipped), whole[:-2]):
            path.write_bytes(damaged)
            with pytest.raises(ValueError, match=f"{re.escape(str(path))} is"):
                collection.open_collection(Path("own"))
        path.unlink()
        missing = "own is no collection" if path.name == "collection.json" else f"{path} is missing"
        with pytest.raises(ValueError, match=re.escape(missing)):
            collection.all_codes(Path("own"))
        path.write_bytes(whole)
    assert cmh("verify", "own").status == 0
    words = next(path for path in files if path.name == "words.npy")
    words.write_bytes(words.read_bytes()[:-1] + b"x")
    called = cmh("verify", "own")
    assert called.status == 1
    assert "words.npy" in called.out.replace("\n", "")
    assert "restore them from a backup" in cmh("index", photos, "--to", "own").err
