"""Data in matrices: features of one's own in every file, and the sets that code of DCMH passes on."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.io import savemat

from cmh.data import forms, matlab, readers
from cmh.data.images import decode_image
from cmh.data.readers import dcmh as dcmh_reader
from tests.cmh.data.readers import forms as made

RNG = np.random.default_rng(0)
IMAGE, TEXT = RNG.random((12, 5)), RNG.random((12, 3))
LABEL = np.eye(3, dtype=np.uint8)[np.arange(12) % 3]


def npz(folder: Path, **changes: object) -> Path:
    folder.mkdir()
    np.savez(folder / "f.npz", **{"image": IMAGE, "text": TEXT, "labels": LABEL} | changes)
    return folder / "f.npz"


def npy(folder: Path) -> Path:
    folder.mkdir()
    for name, array in {"image": IMAGE, "text": TEXT, "labels": LABEL}.items():
        np.save(folder / f"{name}.npy", array)
    return folder


def mat_5(folder: Path) -> Path:
    folder.mkdir()
    savemat(folder / "f.mat", {"image": IMAGE, "text": TEXT, "labels": LABEL})
    return folder / "f.mat"


def mat_73(folder: Path) -> Path:
    """MATLAB writes its axes in reverse."""
    folder.mkdir()
    with h5py.File(folder / "f.mat", "w", userblock_size=512) as file:
        for name, array in {"image": IMAGE, "text": TEXT, "labels": LABEL}.items():
            file[name] = array.T
    return folder / "f.mat"


def parquet(folder: Path) -> Path:
    folder.mkdir()
    columns = {"image": list(IMAGE), "text": list(TEXT), "labels": [str(n % 3 + 1) for n in range(12)]}
    pq.write_table(pa.table(columns), folder / "f.parquet")
    return folder / "f.parquet"


@pytest.mark.parametrize("door", [npz, npy, mat_5, mat_73, parquet])
def test_the_same_features_by_every_door(tmp_path: Path, door: object) -> None:
    """Values, labels by number, ids by row."""
    form = forms.detect(door(tmp_path / "x"))  # type: ignore[operator]
    table = readers.load_features(form.reader).vectors(form.sources, form.options)
    assert form.reader == "features"
    np.testing.assert_allclose(table.image, IMAGE, rtol=1e-6)
    np.testing.assert_allclose(table.text, TEXT, rtol=1e-6)
    assert np.array_equal(table.label, LABEL)
    assert (table.labels, table.query, table.id[:2]) == (("1", "2", "3"), None, ("0", "1"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": IMAGE[:-1]}, r"different numbers of rows \(image 11, text 12, labels 12\)"),
        ({"labels": LABEL * 0.5}, "expected 0 and 1, or class numbers"),
        ({"labels": np.full((12, 3), 2)}, "holds other numbers than 0 and 1 in 3 columns"),
        ({"image": IMAGE[0]}, r"image is float64 of shape \(5,\); expected numbers, a row per item"),
        ({"image": np.array([{}] * 12)}, "pickle|is damaged|Object arrays"),
        ({"image": IMAGE * np.nan}, "features that are not finite"),
    ],
)
def test_wrong_features_are_explained(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    """A matrix of the wrong height, halves for labels, a pickle: each is named and none is taken for data."""
    path = npz(tmp_path / "x", **changes)
    with pytest.raises(ValueError, match=message):
        readers.load_features("features").vectors({"features": path}, {})


def _of_impossible_size(path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": (10**13, 1)}
    )
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("image.npy", header.getvalue())


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(path.read_bytes()[:400]),
        lambda path: path.write_bytes(path.read_bytes().replace(IMAGE.tobytes()[:8], b"8 bytes.")),
        lambda path: np.save(path.open("wb"), IMAGE),
        _of_impossible_size,
    ],
    ids=["cut short", "other bytes than its checksum", "an .npy of this name", "more than any memory"],
)
def test_a_damaged_npz_is_named(tmp_path: Path, spoil: Callable[[Path], object]) -> None:
    """Whatever NumPy raises of it becomes an error that a person reads."""
    path = npz(tmp_path / "x")
    spoil(path)
    with pytest.raises(ValueError, match=r"f\.npz is a \.npz that cannot be read"):
        readers.load_features("features").vectors({"features": path}, {})


def test_features_without_rows_are_refused(tmp_path: Path) -> None:
    """Nothing could be said of them, nor learnt from them."""
    path = npz(tmp_path / "x", image=IMAGE[:0], text=TEXT[:0], labels=LABEL[:0])
    with pytest.raises(ValueError, match=r"image is float64 of shape \(0, 5\); expected numbers, a row"):
        readers.load_features("features").vectors({"features": path}, {})


def test_capitals_in_the_suffix(tmp_path: Path) -> None:
    """As some systems write it."""
    form = forms.detect(npz(tmp_path / "x").rename(tmp_path / "F.NPZ"))
    assert len(readers.load_features(form.reader).vectors(form.sources, form.options).id) == 12


def test_arrays_of_other_names(tmp_path: Path) -> None:
    """They have to be named; the message lists what there is, and class numbers become columns."""
    np.savez(tmp_path / "f.npz", I=IMAGE, T=TEXT, L=np.arange(12) % 3)
    with pytest.raises(ValueError, match=r"lacks image, text, labels; it holds I, T, L; say which is which"):
        readers.load_features("features").vectors({"features": tmp_path / "f.npz"}, {})
    named = {"columns": {"image": "I", "text": "T", "labels": "L"}}
    table = readers.load_features("features").vectors({"features": tmp_path / "f.npz"}, named)
    assert np.array_equal(table.label, LABEL)
    assert table.labels == ("0", "1", "2")


def dcmh(folder: Path, version: str = "5") -> Path:
    """Three files, as torchcmh has them, and the photos that FAll names."""
    items = made.items(4)
    made.photos(folder / "photos", items)
    tags, labels = (
        np.array([[1, 0, 1], [0, 1, 0], [1, 1, 1], [0, 0, 1]], np.uint8),
        np.eye(4, 2, dtype=np.uint8),
    )
    labels[2:, 0] = 1
    names = np.array([[item.image] for item in items], object)
    if version == "5":
        savemat(folder / "photos" / "fall.mat", {"FAll": names})
        savemat(folder / "photos" / "yall.mat", {"YAll": tags})
        savemat(folder / "photos" / "lall.mat", {"LAll": labels})
    else:
        with h5py.File(folder / "photos" / "all.mat", "w", userblock_size=512) as file:
            file["YAll"], file["LAll"] = tags.T, labels.T
            cells = file.create_dataset("FAll", (1, 4), h5py.ref_dtype)
            for number, item in enumerate(items):
                file[f"#refs#/{number}"] = np.array([list(map(ord, item.image))], np.uint16).T
                cells[0, number] = file[f"#refs#/{number}"].ref
    return folder / "photos"


@pytest.mark.parametrize("version", ["5", "7.3"])
def test_sets_of_dcmh(tmp_path: Path, version: str) -> None:
    """Photos by the names of FAll, tags as numbered words, labels as numbers."""
    form = forms.detect(dcmh(tmp_path, version))
    records = list(readers.load(form.reader).read(form.sources, form.options))
    assert [record.text for record in records] == ["tag1 tag3", "tag2", "tag1 tag2 tag3", "tag3"]
    assert [record.traits["labels"] for record in records] == [("1",), ("2",), ("1",), ("1",)]
    assert [record.image() for record in records] == [item.data for item in made.items(4)]


@pytest.mark.parametrize("version", ["5", "7.3"])
@pytest.mark.parametrize("axes", [(0, 1, 2, 3), (2, 3, 1, 0)])
def test_sets_of_dcmh_with_pixels(
    tmp_path: Path, axes: tuple[int, ...], version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """IAll in either order of axes becomes images, read two at a time; a file of 7.3 may be larger."""
    monkeypatch.setattr(dcmh_reader, "AT_ONCE", 2)
    pixels = np.random.default_rng(0).integers(256, size=(4, 3, 6, 8), dtype=np.uint8)
    labels = np.array([[1, 0]] * 4, np.uint8)
    held = {"IAll": pixels.transpose(axes), "YAll": labels, "LAll": labels}
    if version == "5":
        savemat(tmp_path / "all.mat", held)
    else:
        monkeypatch.setattr(matlab, "MAX_FILE", 100)
        with h5py.File(tmp_path / "all.mat", "w", userblock_size=512) as file:
            for name, array in held.items():
                file[name] = array.T
    form = forms.detect(tmp_path / "all.mat")
    records = list(readers.load(form.reader).read(form.sources, form.options))
    for row in (3, 0):
        decoded = decode_image(records[row].image(), "image", 6)
        assert np.array_equal(decoded, pixels[row].transpose(1, 2, 0)[:, 1:7])


def test_a_matrix_of_the_wrong_height(tmp_path: Path) -> None:
    """Row i of each part is item i, so all need one height."""
    folder = dcmh(tmp_path)
    savemat(folder / "lall.mat", {"LAll": np.eye(5, 2, dtype=np.uint8)})
    form = forms.detect(folder)
    with pytest.raises(ValueError, match="different numbers of rows: 4 texts, 5 labels, 4 photos"):
        list(readers.load(form.reader).read(form.sources, form.options))


def test_karpathys_json(tmp_path: Path) -> None:
    """A caption an item; restval is trained on, test is queried, a missing photo is an error of its items."""
    items = made.items(3)
    made.photos(tmp_path / "val2014", items[:2])
    images = [
        {"filename": item.image, "filepath": "val2014", "split": split, "sentids": [1, 2],
         "sentences": [{"raw": f"{item.text} {n}", "tokens": []} for n in (1, 2)]}
        for item, split in zip(items, ("restval", "test", "val"), strict=True)
    ]  # fmt: skip
    (tmp_path / "dataset_x.json").write_text(json.dumps({"images": images, "dataset": "x"}))
    form = forms.detect(tmp_path)
    records = list(readers.load(form.reader).read(form.sources, form.options))
    assert [r.split for r in records] == ["train"] * 2 + ["query"] * 2 + ["validation"] * 2
    assert (records[1].id, records[1].image_name, records[1].text) == (
        f"{items[0].image}#2", items[0].image, f"{items[0].text} 2",
    )  # fmt: skip
    assert records[0].image() == items[0].data
    with pytest.raises(FileNotFoundError):
        records[-1].image()
    joined = list(readers.load("karpathy").read(form.sources, {"captions": "joined"}))
    assert [r.text.count("said") for r in joined] == [2, 2, 2]
    with pytest.raises(ValueError, match="each, one item a caption, or joined, one item a photo; got 'all'"):
        list(readers.load("karpathy").read(form.sources, {"captions": "all"}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"images": [{"filename": "a", "filename": "b"}]}', "an object has the key 'filename' twice"),
        ('{"photos": []}', "no 'images'"),
        ('{"images": 1}', "images is no list"),
    ],
)
def test_json_that_is_not_karpathys(tmp_path: Path, text: str, message: str) -> None:
    """The file and what is wrong in it are named."""
    (tmp_path / "dataset_x.json").write_text(text)
    sources = {"captions": tmp_path / "dataset_x.json", "images": tmp_path}
    with pytest.raises(ValueError, match=rf"dataset_x\.json is not one of Karpathy's files: {message}"):
        list(readers.load("karpathy").read(sources, {}))
