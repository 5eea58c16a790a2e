"""Indexes on disk against those in memory, and the exports as FAISS and Arrow themselves read them."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from cmh.codes import hamming, index_files
from cmh.codes.search import Index


def problem(bits: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(bits)
    return tuple(hamming.pack(rng.random((n, bits)) < 0.5) for n in (3000, 5))


@pytest.mark.parametrize("mapped", [True, False])
@pytest.mark.parametrize("ids", [None, np.array([f"drawing {n}" for n in range(3000)]), np.arange(3000) * 7])
def test_saved_index_answers_as_before(tmp_path: Path, ids: np.ndarray | None, mapped: bool) -> None:
    """Codes of odd length, ids of any type or none, mapped or read; and it can still be appended to."""
    database_NP, query_QP = problem(100)
    index = Index(database_NP, 100, ids)
    index_files.save(index, tmp_path / "index")
    loaded = index_files.load(tmp_path / "index", mapped=mapped)
    before, after = index.search(query_QP, 10), loaded.search(query_QP, 10)
    assert (before.row == after.row).all()
    assert (before.id == after.id).all()
    assert before.id.dtype == after.id.dtype
    weight_K = np.arange(100.0)
    assert (
        loaded.search_weighted(query_QP, weight_K).row == index.search_weighted(query_QP, weight_K).row
    ).all()
    loaded.append(query_QP, None if ids is None else ids[:5])
    assert loaded.search(query_QP, 1).distance.tolist() == [[0]] * 5
    assert len(index_files.load(tmp_path / "index")) == 3000


def test_files_are_plain(tmp_path: Path) -> None:
    """No pickle: the arrays load with pickling forbidden, the rest is Parquet and JSON."""
    index_files.save(Index(problem(64)[0], 64, np.arange(3000).astype(str)), tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ids.parquet", "index.json", "words.npy"]
    assert np.load(tmp_path / "words.npy", allow_pickle=False).shape == (1, 3000)


def test_an_index_is_never_overwritten_nor_read_half(tmp_path: Path) -> None:
    """A second save, another format, and files that do not fit stop with what is wrong."""
    index_files.save(Index(problem(64)[0], 64), tmp_path)
    with pytest.raises(FileExistsError, match="holds an index already"):
        index_files.save(Index(problem(64)[0], 64), tmp_path)
    np.save(tmp_path / "words.npy", np.zeros((1, 7), np.uint64))
    with pytest.raises(ValueError, match="damaged"):
        index_files.load(tmp_path)
    (tmp_path / "index.json").write_text('{"format": 99}')
    with pytest.raises(ValueError, match="format 99"):
        index_files.load(tmp_path)


@pytest.mark.parametrize("bits", [12, 64, 136])
def test_faiss_opens_the_export(tmp_path: Path, bits: int) -> None:
    """FAISS alone reads the file and finds the same distances."""
    faiss = pytest.importorskip("faiss")
    database_NP, query_QP = problem(bits)
    index_files.export_faiss(Index(database_NP, bits), tmp_path / "codes.faiss")
    opened = faiss.read_index_binary(str(tmp_path / "codes.faiss"))
    assert opened.ntotal == 3000
    distance_Qk, _ = opened.search(query_QP, 10)
    assert (distance_Qk == Index(database_NP, bits).search(query_QP, 10).distance).all()


def test_parquet_export_holds_ids_and_codes(tmp_path: Path) -> None:
    """Each row's bytes are the packed code of its id."""
    database_NP, _ = problem(20)
    names = np.array([f"n{n}" for n in range(3000)])
    index_files.export_parquet(Index(database_NP, 20, names), tmp_path / "codes.parquet")
    table = pq.read_table(tmp_path / "codes.parquet")
    assert table.schema.metadata[b"bits"] == b"20"
    assert table["id"].to_pylist() == names.tolist()
    assert table["code"].to_pylist()[7] == database_NP[7].tobytes()
