"""One small data set in every form that people have: the same photos, texts and labels by every door."""

import csv
import io
import json
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


class Item(NamedTuple):
    """One pair."""

    image: str
    data: bytes
    text: str
    labels: tuple[str, ...]


def items(count: int = 30) -> list[Item]:
    """Small photos of noise, no two alike, in three labels."""
    made = []
    for number in range(count):
        pixels = np.random.default_rng(number).integers(256, size=(12, 16, 3), dtype=np.uint8)
        out = io.BytesIO()
        Image.fromarray(pixels).resize((64, 48)).save(out, "PNG")
        labels = ("a",) if number % 3 else ("b", "c")
        made.append(Item(f"{number:03}.png", out.getvalue(), f"word{number % 4} said, twice", labels))
    return made


def photos(folder: Path, made: Sequence[Item]) -> Path:
    """Write the photos."""
    folder.mkdir(parents=True, exist_ok=True)
    for item in made:
        (folder / item.image).write_bytes(item.data)
    return folder


def table(path: Path, made: Sequence[Item], header: Sequence[str] = ("image", "text", "labels")) -> Path:
    """Write a CSV or TSV file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        rows = [(item.image, item.text, "|".join(item.labels)) for item in made]
        csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",").writerows([header, *rows])
    return path


def csv_folder(folder: Path, made: Sequence[Item]) -> Path:
    """A table beside the folder of its photos."""
    photos(folder / "photos", made)
    table(folder / "items.csv", made)
    return folder


def tsv_of_other_names(folder: Path, made: Sequence[Item]) -> Path:
    """Columns that nothing but their user knows."""
    photos(folder, made)
    return table(folder / "list.tsv", made, ("Path", "Title", "Tags"))


def json_lines(folder: Path, made: Sequence[Item]) -> Path:
    """One object a line, labels as a list."""
    photos(folder, made)
    lines = [{"image": item.image, "text": item.text, "labels": list(item.labels)} for item in made]
    (folder / "items.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def parquet_table(folder: Path, made: Sequence[Item]) -> Path:
    """A Parquet file of paths, its photos in their folder."""
    photos(folder, made)
    lines = [{"image": item.image, "text": item.text, "labels": list(item.labels)} for item in made]
    pq.write_table(pa.Table.from_pylist(lines), folder / "items.parquet")
    return folder


def hugging_face_folder(folder: Path, made: Sequence[Item]) -> Path:
    """`imagefolder` with metadata.jsonl."""
    photos(folder, made)
    lines = [{"file_name": item.image, "text": item.text, "labels": list(item.labels)} for item in made]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def parquet_shards(folder: Path, made: Sequence[Item], shards: int = 2) -> Path:
    """As `datasets` writes them: {bytes, path}, small row groups."""
    folder.mkdir(parents=True)
    lines = [
        {"image": {"bytes": i.data, "path": i.image}, "caption": i.text, "labels": list(i.labels)}
        for i in made
    ]
    step = -(-len(lines) // shards)
    for number in range(shards):
        part = pa.Table.from_pylist(lines[number * step : (number + 1) * step])
        pq.write_table(part, folder / f"train-{number:05}-of-{shards:05}.parquet", row_group_size=7)
    return folder


def webdataset_shards(folder: Path, made: Sequence[Item], shards: int = 2) -> Path:
    """As img2dataset writes them: KEY.png, KEY.txt and KEY.json."""
    folder.mkdir(parents=True)
    step = -(-len(made) // shards)
    for number in range(shards):
        with tarfile.open(folder / f"{number:05}.tar", "w") as tar:
            for item in made[number * step : (number + 1) * step]:
                key = item.image.partition(".")[0]
                known = {"caption": item.text, "key": key, "status": "success"}
                if item.labels:
                    known["labels"] = list(item.labels)
                files = {item.image: item.data, f"{key}.txt": item.text.encode(),
                         f"{key}.json": json.dumps(known).encode()}  # fmt: skip
                for name, data in files.items():
                    info = tarfile.TarInfo(name)
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
    return folder


def zipped(folder: Path, made: Sequence[Item]) -> Path:
    """A table beside a zip of its photos."""
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "photos.zip", "w") as archive:
        for item in made:
            archive.writestr(f"photos/{item.image}", item.data)
    table(folder / "items.csv", made)
    return folder


def zip_with_table(folder: Path, made: Sequence[Item]) -> Path:
    """A zip of a folder with a table."""
    folder.mkdir(parents=True)
    lines = "".join(f'{i.image},"{i.text}",{"|".join(i.labels)}\n' for i in made)
    with zipfile.ZipFile(folder / "all.zip", "w") as archive:
        archive.writestr("items.csv", f"image,text,labels\n{lines}")
        for item in made:
            archive.writestr(item.image, item.data)
    return folder / "all.zip"


DOORS = {
    "csv_folder": "", "tsv_of_other_names": "image=path,text=title,labels=tags", "json_lines": "",
    "parquet_table": "", "hugging_face_folder": "", "parquet_shards": "", "webdataset_shards": "",
    "zipped": "", "zip_with_table": "",
}  # fmt: skip
"""Maker of each form → the columns that have to be named."""
