"""Read numeric matrices from a MATLAB file, parsed in a separate process for safety.

A .mat file comes from a stranger and holds serialised program state; parsers of such formats have had
security holes.  Therefore a process of its own, with limits on memory and time, reads the file and returns
plain .npy arrays: `python -m cmh.data.matlab FILE FOLDER NAME...`.
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
MAX_MEMORY = 4 << 30  # bytes of address space, which NumPy and SciPy need a part of
MAX_SECONDS = 120


def read(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Return the matrices with these names from a .mat file.

    Args:
        path: the file, of at most MAX_FILE bytes.
        names: variables of the file.

    Returns:
        For each name a two-dimensional array of bool, integers or floats, in the dtype of the file.

    Raises:
        ValueError: if the file is too large, takes too long to read, is damaged, or lacks one of the
            matrices.
    """
    if path.stat().st_size > MAX_FILE:
        raise ValueError(f"{path} has {path.stat().st_size >> 20} MiB; at most {MAX_FILE >> 20} are read")
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "cmh.data.matlab", str(path.resolve()), folder, *names]
        # One thread, because each reserves address space, which is limited.  The process needs no other
        # variables of the environment, so it gets none.
        environment = {"PATH": os.defpath, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(_ROOT)}
        try:
            process = subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, text=True, timeout=MAX_SECONDS
            )
        except subprocess.TimeoutExpired:
            raise ValueError(
                f"{path} was not read within {MAX_SECONDS} s; it is damaged or hostile"
            ) from None
        if process.returncode:
            reason = (process.stderr.strip().splitlines() or [f"ended with {process.returncode}"])[-1]
            raise ValueError(f"{path} is not a .mat file that can be used: {reason}")
        return {name: np.load(Path(folder) / f"{name}.npy", allow_pickle=False) for name in names}


_ROOT = Path(__file__).parents[2]


def _convert(path: str, folder: str, names: Sequence[str]) -> None:
    """Set the limits of this process, then parse the file, check the matrices and write them as .npy."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_SECONDS, MAX_SECONDS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * MAX_FILE, 2 * MAX_FILE))
    variables = loadmat(path, variable_names=list(names))
    for name in names:
        if name not in variables:
            raise ValueError(f"there is no variable {name!r}")
        matrix = variables[name]
        if not isinstance(matrix, np.ndarray) or matrix.ndim != 2 or matrix.dtype.kind not in "buif":
            raise ValueError(f"{name!r} is not a matrix of real numbers")
        np.save(Path(folder) / f"{name}.npy", matrix, allow_pickle=False)


if __name__ == "__main__":
    _convert(sys.argv[1], sys.argv[2], sys.argv[3:])
