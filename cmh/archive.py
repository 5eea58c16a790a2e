"""Read members of a fetched tar file into memory, never onto the disk.

An archive is foreign: nothing is unpacked, so paths, links and permissions in it are only names; the
number of members and the bytes that come out are limited, so that a small file cannot fill the memory.
"""

import tarfile
from collections.abc import Callable
from pathlib import Path

MEMBERS = 200_000  # the largest source so far, openmoji, has 11,539
MEMBER_BYTES = 64 << 20  # noto's icons.json has 25 MB
TOTAL_BYTES = 512 << 20
NAME_BYTES = 1 << 20
_NAMES = (  # types of headers
    tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE,
)  # fmt: skip


class Header(tarfile.TarInfo):
    """A header that is refused where tarfile would read on: into memory without limit, or to an early end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "Header":
        try:
            info = super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # the zeros at the end
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"{error}; the archive is damaged or was cut short") from error
        if info.type in _NAMES and info.size > NAME_BYTES:  # tarfile takes them in whole
            raise tarfile.ReadError(f"a name or an extended header has {info.size} bytes")
        return info


def read_tar(path: Path, wanted: Callable[[str], bool]) -> dict[str, bytes]:
    """The plain files of the tar at `path` whose name is `wanted`, in the archive's order.

    Raises: ValueError if it is not a tar file or exceeds a limit.
    """
    found: dict[str, bytes] = {}
    total = 0
    try:
        with tarfile.open(path, "r|*", tarinfo=Header) as tar:  # one pass: seeking back in gzip starts over
            for count, info in enumerate(tar):
                if count >= MEMBERS:
                    raise ValueError(f"{path.name} has more than {MEMBERS} members; not read")
                if not info.isreg() or not wanted(info.name):
                    continue
                total += info.size
                if info.size > MEMBER_BYTES or total > TOTAL_BYTES:
                    raise ValueError(f"{path.name}: {info.name} exceeds the size limits; not read")
                stream = tar.extractfile(info)
                assert stream is not None  # isreg
                found[info.name] = stream.read()
    except (tarfile.TarError, EOFError, OSError, RecursionError) as error:  # the last: headers of headers
        raise ValueError(f"{path}: not a readable tar file: {error}") from error
    return found
