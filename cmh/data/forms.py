"""Tell by content in which form a user's own data lies, and which reader reads it.

    form = detect(Path("photos"))     # the folder with images and a table, or shards, or features ...
    form.reader, form.sources, form.options

Several tables in one folder are refused with their names; nothing is guessed.  Tables beside shards, or
beside COCO's annotations or metadata files, are not looked at: tools leave notes of their own there.
"""

import re
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cmh.data import archives, image_files, item_table, shards
from cmh.data.readers import dcmh, features, imagefolder, karpathy, parquet, webdataset

_TABLES = (".csv", ".tsv", ".jsonl", ".json", ".parquet", ".txt", ".token")
_ARCHIVES = (".zip", ".tar")
_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".7z", ".rar")
_LOOKED_AT = 50  # rows whose images are looked for


@dataclass(frozen=True)
class Form:
    """A form of data: what a person calls it, and what reads it."""

    title: str
    reader: str
    sources: Mapping[str, Path]
    options: Mapping[str, Any] = field(default_factory=dict)


def detect(path: Path, columns: Mapping[str, str] | None = None, images: Path | None = None) -> Form:
    """Return the form of the data at `path`.

    Args:
        path: a file or a folder.
        columns: what is read → the column that holds it, where it has another name.
        images: the folder, zip or tar of the images, where `path` is a table.

    Raises:
        ValueError: there is nothing, it is of no form that is read, or of several.
    """
    columns = columns or {}
    for given in (path, images):
        if given is not None and not given.exists():
            raise ValueError(f"{given}: no such file or folder")
    form = _of_folder(path, columns) if path.is_dir() else _of_file(path, images, columns)
    return replace(form, options={**form.options, "columns": dict(columns)}) if columns else form


def _of_file(path: Path, images: Path | None, columns: Mapping[str, str]) -> Form:
    suffix = path.suffix.lower()
    if suffix in (".npz", ".mat"):
        return _of_matrices(path, images)
    if suffix == ".npy":
        raise ValueError(f"{path} is one array; give its folder, with image.npy, text.npy and labels.npy")
    if suffix in image_files.SUFFIXES:
        raise ValueError(f"{path} is an image; give its folder, or a table that says what belongs to it")
    if zipfile.is_zipfile(path) or tarfile.is_tarfile(path):
        return _of_archive(path)
    head = _head(path)
    if head.startswith(b"PAR1"):
        return _of_parquet(path, images, columns)
    if _is_karpathy(path, head):
        where = images or path.parent
        return Form("captions and a split by Karpathy", "karpathy", {"captions": path, "images": where})
    return _of_table(path, images, columns)


def _of_parquet(path: Path, images: Path | None, columns: Mapping[str, str]) -> Form:
    found = shards.find(path, ".parquet")
    schema = parquet.schema(found[0])
    if images is None and parquet.image_column(schema, columns.get("image")) is not None:
        return Form(f"{len(found)} Parquet file(s) with images in them", "parquet", {"shards": path})
    if len(found) > 1:
        raise ValueError(f"{path} holds {len(found)} Parquet files and no image in them; give the one table")
    if features.has_vectors(schema):
        return Form("features in a Parquet file", "features", {"features": found[0]})
    return _of_table(found[0], images, columns)


def _of_matrices(path: Path, images: Path | None) -> Form:
    if path.suffix.lower() == ".npz":
        return Form("features in a .npz file", "features", {"features": path})
    held = dcmh.variables(path)
    if not dcmh.is_one(held):
        files = sorted(set(held.values()))
        if len(files) > 1:
            raise ValueError(f"{path} holds {len(files)} .mat files; give the one with your features")
        return Form("features in a .mat file", "features", {"features": files[0] if files else path})
    if not dcmh.names_photos(held):
        return Form("matrices with photos in them, as code of DCMH has them", "dcmh", {"matrices": path})
    photos = images or (path if path.is_dir() else path.parent)
    title = "matrices with the names of photos, as code of DCMH has them"
    return Form(title, "dcmh", {"matrices": path, "photos": photos})


def _of_archive(path: Path) -> Form:
    held = archives.listing(path)
    if imagefolder.tables_of(held):
        return Form(f"{_kind(path)} of images with a table in it", "imagefolder", {"folder": path})
    if _is_webdataset(held):
        return Form("a webdataset shard", "webdataset", {"shards": path})
    raise ValueError(
        f"{path} holds {_census(held)}; nothing in it says which text belongs to which image: add a file "
        f"metadata.csv with the columns {', '.join(item_table.REQUIRED)}"
    )


def _is_webdataset(held: Mapping[str, Any]) -> bool:
    """Return whether the first samples have an image and a text each."""
    few = list(webdataset.samples(held).values())[:20]
    has = [webdataset.image_of(files) is not None and files.keys() & {"txt", "json"} for files in few]
    return bool(few) and sum(map(bool, has)) > len(few) / 2


def _of_folder(path: Path, columns: Mapping[str, str]) -> Form:
    files = [one for one in sorted(path.iterdir()) if one.is_file() and not one.name.startswith(".")]
    suffixes = {one.suffix.lower() for one in files}
    if parts := _coco_parts(path):
        sources = {part: _beside(path, part) for part in parts} | {"annotations": path / "annotations"}
        title = f"captions and objects as COCO has them: {', '.join(parts)}"
        return Form(title, "coco", sources, {"parts": parts})
    if any(imagefolder.METADATA.fullmatch(one.name) for one in path.rglob("metadata.*")):
        return Form("a folder of images with metadata files", "imagefolder", {"folder": path})
    tars = shards.find(path, ".tar")
    if tars and _is_webdataset(archives.listing(tars[0])):
        return Form(f"{len(tars)} webdataset shard(s)", "webdataset", {"shards": path})
    held = shards.find(path, ".parquet")
    if held and parquet.image_column(parquet.schema(held[0]), columns.get("image")) is not None:
        return _of_parquet(path, None, columns)
    tables = [one for one in files if one.suffix.lower() in _TABLES and _is_table(one)]
    if not tables and ".mat" in suffixes:
        return _of_matrices(path, None)
    if not tables and ".npy" in suffixes:
        return Form("features in .npy files", "features", {"features": path})
    if not tables and held:
        return _of_parquet(path, None, columns)
    if len(tables) == 1:
        return _of_file(tables[0], None, columns)
    if tables:
        names = ", ".join(one.name for one in tables)
        raise ValueError(
            f"{path} holds {len(tables)} tables: {names}; give the one that is meant, such as "
            f"{tables[0]} (with --images, if its images are in another folder)"
        )
    counted = image_files.find(path)
    if counted.images:
        bad = [f", without {name} ({reason})," for name, reason in counted.rejected.items()]
        raise ValueError(
            f"{path} holds {len(counted.images)} images{''.join(bad[:1])} and no table; a CSV file with the "
            f"columns {', '.join(item_table.REQUIRED)} says which text belongs to which image; to search "
            f"them without texts and training: cmh index {path} --to FOLDER --model clip_vit_b32"
        )
    raise ValueError(
        f"{path} holds {_census(archives.listing(path))}, and nothing that is read; docs/inspect.md lists "
        "what is: a CSV file with the columns image and text beside its images, for one"
    )


def _of_table(items: Path, images: Path | None, columns: Mapping[str, str]) -> Form:
    """Return a table with the images beside it: where the first names of the table are found."""
    where = images or _images_beside(items, columns)
    return Form(f"a table of items and {_kind(where)} of images", "folder", {"images": where, "items": items})


def _images_beside(items: Path, columns: Mapping[str, str]) -> Path:
    """Return the folder or archive, in the table's folder or below, that holds the images it names."""
    names = [row.image for row in item_table.read(items, columns).rows[:_LOOKED_AT]]
    base = items.parent
    inside = sorted(one for one in base.iterdir() if not one.name.startswith("."))
    packed = [one for one in inside if one.is_file() and one.suffix.lower() in _ARCHIVES]
    folders = [base, *(one for one in inside if one.is_dir())]
    for folder in folders:
        if any(name and (folder / name).is_file() for name in names):
            return folder
    squeezed = [one.name for one in inside if one.name.lower().endswith(_COMPRESSED)]
    if squeezed and not packed and len(folders) == 1:
        raise ValueError(
            f"the images that {items.name} names, such as {names[0] if names else 'none'}, are not beside "
            f"it, and {squeezed[0]} is compressed, which is not read; unpack it, or make a zip or a tar of it"
        )
    for archive in packed:
        held = archives.listing(archive)
        if any(name in held or any(one.endswith(f"/{name}") for one in held) for name in names[:3]):
            return archive
    return base


def _coco_parts(path: Path) -> list[str]:
    """Return the parts that have captions, objects and photos."""
    found = [one.name[len("captions_") : -len(".json")] for one in path.glob("annotations/captions_*.json")]
    there = [part for part in found if (path / f"annotations/instances_{part}.json").is_file()]
    return sorted(part for part in there if _beside(path, part).exists())


def _beside(path: Path, part: str) -> Path:
    return path / part if (path / part).is_dir() else path / f"{part}.zip"


def _head(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(1 << 16)


def _is_karpathy(path: Path, head: bytes) -> bool:
    return path.suffix.lower() == ".json" and karpathy.is_captions(head)


def _is_table(path: Path) -> bool:
    """Return whether a file begins as a table does; a README.txt does not."""
    head = _head(path)
    if head.startswith((b"PAR1", b"{", b"[")):
        return True
    first = head.decode("utf-8-sig", errors="replace").split("\n", 1)[0]
    return path.suffix.lower() in (".csv", ".tsv") or bool(re.search(r"[,;\t|]", first))


def _kind(path: Path) -> str:
    if path.is_dir():
        return "a folder"
    return "a zip" if zipfile.is_zipfile(path) else "a tar"


def _census(held: Mapping[str, Any]) -> str:
    """Return how many files of which suffixes there are, in words."""
    suffixes: dict[str, int] = {}
    for name in held:
        suffix = Path(name).suffix.lower() or "without a suffix"
        suffixes[suffix] = suffixes.get(suffix, 0) + 1
    shown = sorted(suffixes.items(), key=lambda one: -one[1])[:6]
    return ", ".join(f"{count} {suffix}" for suffix, count in shown) or "no files"
