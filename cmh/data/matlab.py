"""Read matrices and lists of names from a MATLAB file of any version, parsed in a process of its own.

A .mat file comes from a stranger and holds serialised program state; parsers of such formats have had
security holes.  Therefore a process of its own, with limits on memory and time, reads the file and returns
plain .npy arrays and JSON: `python -m cmh.data.matlab FILE FOLDER NAME...`.  Files of version 7.3 are HDF5,
in which MATLAB's axes stand in reverse; of these only what is asked for is read, so they may be larger.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat, whosmat

MAX_FILE = 512 << 20  # bytes, and of what is taken out of a larger file of version 7.3
MAX_HDF5 = 64 << 30  # bytes of a file of version 7.3
MAX_MEMORY = 4 << 30  # bytes of address space, which NumPy and SciPy need a part of
MAX_SECONDS = 120
MAX_NAMES = 1_000_000  # of one list

_ROOT = Path(__file__).parents[2]
_LIST, _ROWS = "--list", "--rows"
_HDF5 = b"\x89HDF\r\n\x1a\n"


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
    with tempfile.TemporaryDirectory() as folder:
        _parse(path, folder, names)
        found = {name: _load(path, folder, name) for name in names}
    for name, array in found.items():
        if array.ndim != 2:
            raise ValueError(f"{path} is not a .mat file that can be used: {name!r} has {array.ndim} axes")
    return found


def read_rows(path: Path, name: str, axis: int, start: int, stop: int) -> NDArray[Any]:
    """Return start...stop along an axis of an array of any number of axes, as MATLAB has them.

    Raises:
        ValueError: as `read`.
    """
    with tempfile.TemporaryDirectory() as folder:
        _parse(path, folder, [_ROWS, str(axis), str(start), str(stop), name])
        return _load(path, folder, name)


def _load(path: Path, folder: str, name: str) -> NDArray[Any]:
    file = Path(folder) / f"{name}.npy"
    if not file.exists():
        raise ValueError(
            f"{path} is not a .mat file that can be used: {name!r} is not a matrix of real numbers"
        )
    loaded: NDArray[Any] = np.load(file, allow_pickle=False)
    return loaded


def read_names(path: Path, name: str) -> list[str]:
    """Return a list of texts: a cell array, or the rows of a matrix of characters.

    Raises:
        ValueError: as `read`, or it is something else.
    """
    with tempfile.TemporaryDirectory() as folder:
        _parse(path, folder, [name])
        file = Path(folder) / f"{name}.json"
        if not file.exists():
            raise ValueError(f"{path} is not a .mat file that can be used: {name!r} is no list of texts")
        return [str(one) for one in json.loads(file.read_text())]


def variables(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the name of each variable and its shape, as MATLAB shows it.

    Raises:
        ValueError: as `read`.
    """
    with tempfile.TemporaryDirectory() as folder:
        _parse(path, folder, [_LIST])
        listed = json.loads((Path(folder) / f"{_LIST}.json").read_text())
        return {name: tuple(shape) for name, shape in listed.items()}


def _parse(path: Path, folder: str, names: Sequence[str]) -> None:
    """Have another process write what is asked for into the folder."""
    size = path.stat().st_size
    most = MAX_HDF5 if _is_hdf5(path) else MAX_FILE
    if size > most:
        raise ValueError(f"{path} has {size >> 20} MiB; at most {most >> 20} are read of its version")
    command = [sys.executable, "-m", "cmh.data.matlab", str(path.resolve()), folder, *names]
    # One thread, because each reserves address space, which is limited.  The process needs no other
    # variables of the environment, so it gets none.
    environment = {"PATH": os.defpath, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(_ROOT)}
    try:
        process = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=MAX_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise ValueError(f"{path} was not read within {MAX_SECONDS} s; it is damaged or hostile") from None
    if process.returncode:
        reason = (process.stderr.strip().splitlines() or [f"ended with {process.returncode}"])[-1]
        raise ValueError(f"{path} is not a .mat file that can be used: {reason}")


def _convert(path: str, folder: str, names: Sequence[str]) -> None:
    """Set the limits of this process, then parse the file, check what it holds and write it."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_SECONDS, MAX_SECONDS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * MAX_FILE, 2 * MAX_FILE))
    is_hdf5 = _is_hdf5(Path(path))
    rows: tuple[int, slice] | None = None
    if names[0] == _ROWS:
        axis, start, stop = (int(one) for one in names[1:4])
        rows, names = (axis, slice(start, stop)), names[4:]
    if list(names) == [_LIST]:
        _write(folder, _LIST, _hdf5_shapes(path) if is_hdf5 else {n: s for n, s, _ in whosmat(path)})
        return
    held = _hdf5(path, names, rows) if is_hdf5 else loadmat(path, variable_names=list(names))
    for name in names:
        if name not in held:
            raise ValueError(f"there is no variable {name!r}")
        value = held[name]
        if isinstance(value, list):
            _write(folder, name, value)
        elif isinstance(value, np.ndarray) and value.dtype.kind in "OU":
            _write(folder, name, _texts(value, name))
        elif isinstance(value, np.ndarray) and value.dtype.kind in "buif":
            if rows is not None and not is_hdf5:
                value = value[(slice(None),) * rows[0] + rows[1:]]
            np.save(Path(folder) / f"{name}.npy", value, allow_pickle=False)
        else:
            raise ValueError(f"{name!r} is not a matrix of real numbers")


def _is_hdf5(path: Path) -> bool:
    with path.open("rb") as stream:
        return _HDF5 in stream.read(520)


def _write(folder: str, name: str, value: Any) -> None:
    (Path(folder) / f"{name}.json").write_text(json.dumps(value))


def _texts(value: NDArray[Any], name: str) -> list[str]:
    """Return the texts of a cell array, each of which SciPy wraps once more, or of a matrix of characters."""
    found = []
    for one in value.reshape(-1)[:MAX_NAMES]:
        while isinstance(one, np.ndarray) and one.size == 1:
            one = one.reshape(-1)[0]
        if isinstance(one, np.ndarray) and one.size == 0:
            one = ""
        if not isinstance(one, str):
            raise ValueError(f"{name!r} is not a matrix of real numbers, and no list of texts")
        found.append(one.rstrip())
    return found


def _hdf5_shapes(path: str) -> dict[str, tuple[int, ...]]:
    import h5py

    with h5py.File(path, "r") as file:
        found = {name: _dataset(file, name) for name in file}
        return {name: tuple(reversed(one.shape)) for name, one in found.items() if one is not None}


def _hdf5(path: str, names: Sequence[str], rows: tuple[int, slice] | None) -> dict[str, Any]:
    import h5py

    found: dict[str, Any] = {}
    with h5py.File(path, "r") as file:
        for name in names:
            value = _dataset(file, name)
            if value is None:
                continue
            if value.is_virtual or value.external:
                raise ValueError(f"{name!r} refers to other files")
            if value.dtype.kind == "O":
                cells = value[()].reshape(-1, order="F")[:MAX_NAMES]
                found[name] = [_characters(file[cell]) for cell in cells]
                continue
            wanted = [slice(0, size) for size in value.shape]
            if rows is not None:
                wanted[value.ndim - 1 - rows[0]] = rows[1]
            if prod(one.stop - one.start for one in wanted) * value.dtype.itemsize > MAX_FILE:
                raise ValueError(f"{name!r} has more than {MAX_FILE >> 20} MiB, which are held at once")
            found[name] = value[tuple(wanted)].T
    return found


def _dataset(file: Any, name: str) -> Any:
    """Return the array of that name; None if there is none, or a link to another place or another file."""
    import h5py

    is_own = isinstance(file.get(name, getlink=True), h5py.HardLink)
    value = file[name] if is_own else None
    return value if isinstance(value, h5py.Dataset) else None


def _characters(cell: Any) -> str:
    """Return the text of a cell; of an empty one MATLAB writes the shape in place of characters."""
    return "" if cell.attrs.get("MATLAB_empty") else "".join(map(chr, cell[()].reshape(-1))).rstrip()


if __name__ == "__main__":
    _convert(sys.argv[1], sys.argv[2], sys.argv[3:])
