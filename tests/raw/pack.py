"""The few items of `tests/raw`, packed as their publishers pack them."""

import tarfile
from pathlib import Path

RAW = Path(__file__).parent


def emoji(folder: Path) -> dict[str, Path]:
    """npm tarballs of ten emoji, drawn and written for the tests, in the publishers' formats."""
    packed = {}
    for name in ("openmoji", "emojilib", "icons"):
        packed[name] = folder / f"{name}.tgz"
        with tarfile.open(packed[name], "w:gz") as tar:
            tar.add(RAW / "emoji" / name / "package", "package")
    return packed
