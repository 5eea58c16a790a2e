"""Print how much disk an install takes, from the environment that this runs in: extras beside each other.

    python -m tests.bench.install_size

Follows the requirements in pyproject.toml and adds up the files that each distribution lists as its own.
"""

import re
import tomllib
from functools import cache
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
GPU = re.compile(r"^(nvidia|cuda)-|^triton$")  # brought by torch of PyPI on Linux, not by the CPU-only torch
GPU_FILES = re.compile(r"lib(torch|c10)_(cuda|nvshmem)")  # in torch itself


def closure(extras: frozenset[str]) -> set[str]:
    """Return the distributions that cmh with these extras installs, cmh itself left out."""
    seen: set[tuple[str, str]] = set()
    waiting = [("cmh", extra) for extra in {"", *extras}]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        for line in _requirements(name, extra):
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                needed = canonicalize_name(requirement.name)
                waiting += [(needed, one) for one in {"", *requirement.extras}]
    return {name for name, _ in seen} - {"cmh"}


def _requirements(name: str, extra: str) -> list[str]:
    if name != "cmh":
        return metadata.requires(name) or []
    lines: list[str] = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
    return lines


@cache
def size(name: str, cpu: bool = False) -> int:
    """Return the bytes of the files of a distribution, compiled ones too; `cpu`: without CUDA's."""
    if cpu and GPU.match(name):
        return 0
    paths = [Path(str(file.locate())) for file in metadata.files(name) or []]
    return sum(p.stat().st_size for p in paths if p.is_file() and not (cpu and GPU_FILES.match(p.name)))


def main() -> None:
    """Print a line for each set of extras, and the largest distributions."""
    for extras in ((), ("engines",), ("svg", "heic", "clip", "faiss"), ("dev",)):
        names = closure(frozenset(extras))
        label = f"cmh[{','.join(extras)}]" if extras else "cmh"
        print(
            f"{label:26} {len(names):4} packages {sum(map(size, names)) / 1e6:7.0f} MB, "
            f"without CUDA's {sum(size(name, cpu=True) for name in names) / 1e6:7.0f} MB"
        )
    largest = sorted(closure(frozenset()), key=size, reverse=True)[:15]
    print(", ".join(f"{name} {size(name) / 1e6:.0f}" for name in largest))


if __name__ == "__main__":
    main()
