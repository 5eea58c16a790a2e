"""Numeric matrices out of a MATLAB file, parsed where it can do no harm.

A .mat file is a serialised program state from strangers, and parsers of such formats have had holes.  It is
read by a process of its own with limits on memory and time, which hands back plain .npy arrays:
`python -m cmh.data.matlab FILE FOLDER NAME...` is that process.
"""

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat

MAX_FILE = 512 << 20  # bytes
MAX_MEMORY = 4 << 30  # bytes of address space, NumPy and SciPy included
MAX_SECONDS = 120


def read(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Return the matrices of these names, real numbers in two dimensions each.

    Raises:
        ValueError: a file that is too large, takes too long, is damaged, or lacks one of them.
    """
    if path.stat().st_size > MAX_FILE:
        raise ValueError(f"{path} has {path.stat().st_size >> 20} MiB; at most {MAX_FILE >> 20} are read")
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "cmh.data.matlab", str(path.resolve()), folder, *names]
        # one thread, because each would reserve address space; nothing else of the environment is needed
        environment = {"PATH": os.defpath, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(_ROOT)}
        try:
            done = subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, text=True, timeout=MAX_SECONDS
            )
        except subprocess.TimeoutExpired:
            raise ValueError(
                f"{path} was not read within {MAX_SECONDS} s; it is damaged or hostile"
            ) from None
        if done.returncode:
            last = (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]
            raise ValueError(f"{path} is not a .mat file that can be used: {last}")
        return {name: np.load(Path(folder) / f"{name}.npy", allow_pickle=False) for name in names}


_ROOT = Path(__file__).parents[2]


def _convert(path: str, folder: str, names: Sequence[str]) -> None:
    """Parse, check and write, in the process with limits."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_SECONDS, MAX_SECONDS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * MAX_FILE, 2 * MAX_FILE))
    held = loadmat(path, variable_names=list(names))
    for name in names:
        if name not in held:
            raise ValueError(f"there is no variable {name!r}")
        matrix = held[name]
        if not isinstance(matrix, np.ndarray) or matrix.ndim != 2 or matrix.dtype.kind not in "buif":
            raise ValueError(f"{name!r} is not a matrix of real numbers")
        np.save(Path(folder) / f"{name}.npy", matrix, allow_pickle=False)


if __name__ == "__main__":
    _convert(sys.argv[1], sys.argv[2], sys.argv[3:])
