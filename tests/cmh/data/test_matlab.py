"""Reading .mat files in a process of its own: what comes back, and what a bad file can do (nothing)."""

import struct
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from cmh.data import matlab

WANTED = {"X": np.arange(6.0).reshape(2, 3), "Y": np.array([[1, 0]], np.uint8)}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    savemat(tmp_path / "a.mat", WANTED | {"words": "text", "cells": np.array([[1, "a"]], object)})
    return tmp_path / "a.mat"


def test_matrices_come_back_as_they_were(file: Path) -> None:
    """Values and types; variables that were not asked for are left alone."""
    held = matlab.read(file, ["X", "Y"])
    assert set(held) == {"X", "Y"}
    for name, matrix in WANTED.items():
        assert np.array_equal(held[name], matrix)
        assert held[name].dtype == matrix.dtype


@pytest.mark.parametrize(
    ("name", "message"),
    [("Z", "no variable 'Z'"), ("words", "not a matrix of real"), ("cells", "not a matrix of real")],
)
def test_what_is_no_matrix_is_refused(file: Path, name: str, message: str) -> None:
    """A missing variable, a string, a cell array of objects: each is named."""
    with pytest.raises(ValueError, match=message):
        matlab.read(file, [name])


def test_a_damaged_file_ends_in_an_error(file: Path) -> None:
    """Random bytes, and a file cut short, are told from a good one; the error names the file."""
    cut = file.with_name("cut.mat")
    cut.write_bytes(file.read_bytes()[:200])
    noise = file.with_name("noise.mat")
    noise.write_bytes(np.random.default_rng(0).bytes(4096))
    for bad in (cut, noise):
        with pytest.raises(ValueError, match=bad.name):
            matlab.read(bad, ["X"])


def test_links_out_of_a_file_are_not_followed(tmp_path: Path) -> None:
    """An HDF5 file may name arrays of any other file of this machine, and places that are not there."""
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["x"] = np.eye(2)
    with h5py.File(tmp_path / "a.mat", "w", userblock_size=512) as file:
        file["own"] = np.eye(3)
        file["linked"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/x")
        file["nowhere"] = h5py.SoftLink("/gone")
    assert matlab.variables(tmp_path / "a.mat") == {"own": (3, 3)}
    with pytest.raises(ValueError, match="no variable 'linked'"):
        matlab.read(tmp_path / "a.mat", ["linked"])


def test_empty_texts_of_version_7_3_are_empty(tmp_path: Path) -> None:
    """MATLAB stores the shape of what is empty, and marks it."""
    with h5py.File(tmp_path / "a.mat", "w", userblock_size=512) as file:
        cells = file.create_dataset("said", (1, 2), h5py.ref_dtype)
        for number, characters in enumerate(([[97], [98]], [0, 0])):
            file[f"#refs#/{number}"] = np.array(characters, np.uint16 if number == 0 else np.uint64)
            cells[0, number] = file[f"#refs#/{number}"].ref
        file["#refs#/1"].attrs["MATLAB_empty"] = np.uint8(1)
    assert matlab.read_names(tmp_path / "a.mat", "said") == ["ab", ""]


def test_time_and_size_are_limited(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file above the limit is not opened; a process that takes too long is ended."""
    monkeypatch.setattr(matlab, "MAX_SECONDS", 0.01)
    with pytest.raises(ValueError, match="was not read within"):
        matlab.read(file, ["X"])
    monkeypatch.setattr(matlab, "MAX_FILE", 10)
    with pytest.raises(ValueError, match="at most"):
        matlab.read(file, ["X"])


@pytest.mark.slow
def test_a_file_that_unpacks_to_more_than_the_memory_allowed_is_refused(tmp_path: Path) -> None:
    """Few megabytes of compressed zeros that would be 4.2 GB: the other process runs out, not this one."""
    bomb = tmp_path / "bomb.mat"
    _write_bomb(bomb, 4_200_000_000)
    with pytest.raises(ValueError, match=r"bomb\.mat"):
        matlab.read(bomb, ["X"])


def _write_bomb(path: Path, size: int) -> None:
    """A version 5 file with one compressed uint8 matrix of `size` zeros, written piece by piece."""

    def element(kind: int, content: bytes) -> bytes:
        return struct.pack("<II", kind, len(content)) + content + b"\0" * (-len(content) % 8)

    rows = size // 2
    head = element(6, struct.pack("<II", 9, 0)) + element(5, struct.pack("<ii", 2, rows)) + element(1, b"X")
    pieces = zlib.compressobj(9)
    body = pieces.compress(struct.pack("<II", 14, (len(head) + 8 + 2 * rows) & 0xFFFFFFFF) + head)
    body += pieces.compress(struct.pack("<II", 2, 2 * rows & 0xFFFFFFFF))
    zeros = bytes(16 << 20)
    for _ in range(2 * rows // len(zeros)):
        body += pieces.compress(zeros)
    body += pieces.flush()
    text = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<HH", 0x0100, 0x4D49)
    path.write_bytes(text + struct.pack("<II", 15, len(body)) + body)
