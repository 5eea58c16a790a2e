"""What an addition to a collection consists of: images of a folder or of shards, or the texts of a file."""

import tarfile
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from cmh.collection_files import manifest
from cmh.data import columns, image_files, item_table, shard_columns, shard_images, shards
from cmh.data.readers import parquet

MAX_NAME = 4096  # characters


@dataclass
class Added:
    """What an addition did."""

    items: int = 0
    known: int = 0  # were there already
    changed: int = 0  # of the items: those that changed since they were encoded
    gone: list[str] = field(default_factory=list)  # items below the source that are no longer there
    rejected: dict[str, str] = field(default_factory=dict)  # name → reason
    skipped: Counter[str] = field(default_factory=Counter)  # suffix → files that are no images
    unnamed: list[str] = field(default_factory=list)  # rows of the columns that name no item


@dataclass
class Images:
    """Images that a source holds, by their paths (`cmh.data.shard_images`)."""

    files: Sequence[Path]  # images that are files
    shards: Mapping[Path, Sequence[str]]  # tar or Parquet file → names of the images in it
    unread: Sequence[Path]  # shards that are damaged: nothing is known of what they hold

    @property
    def paths(self) -> dict[Path, Path]:
        """Path of each image → the file that it lies in."""
        inside = {shard / name: shard for shard, names in self.shards.items() for name in names}
        return dict(zip(self.files, self.files, strict=True)) | inside


def split_columns(given: str | None) -> tuple[Path | None, dict[str, str]]:
    """Return the file, or the meaning → column, that a person gave as `--columns`.

    Raises:
        ValueError: it is neither.
    """
    if given is None:
        return None, {}
    if "=" in given and not Path(given).exists():
        return None, item_table.columns_of(given)
    return Path(given), {}


def holds_images(source: Path) -> bool:
    """Return whether a source is a folder, or a tar or Parquet file with images, not a file of texts."""
    if source.is_dir():
        return True
    if not source.is_file():
        return False
    if shard_images.is_parquet(source):
        return bool(parquet.image_columns(parquet.schema(source)))
    return tarfile.is_tarfile(source)


def images(source: Path, given: Mapping[str, str], done: Added, to: Path) -> Images:
    """Return the images of a folder, and of the shards in it, or of one shard; note what is none in `done`.

    What was given to the collection `to` is no source of it, should it lie in the folder.

    Raises:
        ValueError: if there is none.
    """
    place = source.resolve()
    found = image_files.find(place) if source.is_dir() else image_files.Found()
    if manifest.is_collection(to):
        found.images = [path for path in found.images if not path.is_relative_to(to.resolve())]
    held, unread = {}, []
    done.rejected |= found.rejected
    done.skipped = found.skipped
    every = [shard for suffix in shard_images.SUFFIXES for shard in shards.find(place, suffix)]
    for shard in dict.fromkeys(every):
        try:
            listing = shard_images.listing(shard, given.get("image"))
        except (ValueError, OSError) as error:
            unread.append(shard)
            done.rejected[str(shard)] = str(error)
            continue
        done.rejected |= {f"{shard}/{name}": reason for name, reason in listing.rejected.items()}
        if listing.names:
            held[shard] = listing.names
            done.skipped[shard.suffix.lower()] -= 1
    done.skipped = +done.skipped
    if not found.images and not held:
        if unread:
            raise ValueError(done.rejected[str(unread[0])])
        others = ", ".join(f"{count} {suffix}" for suffix, count in found.skipped.most_common(5))
        raise ValueError(
            f"{source} holds no images; those are files that end with {', '.join(image_files.SUFFIXES)}, and "
            f"tars and Parquet files that hold such"
            + (f"; it holds {others}" if others else "")
            + (
                f"; what is gone goes out of {to} by cmh remove {to} NAME"
                if manifest.is_collection(to)
                else ""
            )
        )
    return Images(found.images, held, unread)


def shard_tables(
    found: Images, wanted: Collection[Path], given: Mapping[str, str], root: Path
) -> pa.Table | None:
    """Return the columns that some shards carry beside their images, for names below the root.

    Raises:
        ValueError: one is damaged, or a column has different types in two of them.
    """
    own = None
    for shard in wanted:
        table = shard_columns.read(shard, found.shards[shard], given)
        if table is not None:
            names = [name_of(shard / name, root) for name in table["name"].to_pylist()]
            own = columns.update(own, table.set_column(0, "name", pa.array(names, pa.string())))
    return own


def texts(file: Path, given: Mapping[str, str]) -> tuple[dict[str, str], pa.Table | None]:
    """Return name → text of a file, in its order, and the columns beside them, if it is a table.

    Raises:
        ValueError: if it is neither a .txt file in UTF-8 nor a table with a column `text`, or holds no text.
    """
    if file.is_file() and file.suffix.lower() in columns.SUFFIXES:
        said, table = columns.read_texts(file, given)
        if not said:
            raise ValueError(f"{file} holds no text: its column text is empty in every row; fill it in")
        _check_names(file, said)
        return said, table
    if not file.is_file() or file.suffix.lower() != ".txt":
        raise ValueError(
            f"{file} {'holds nothing that is encoded' if file.exists() else 'is not there'}; give a folder, "
            "tar or Parquet file of images, a .txt file with one text a line, or a table of texts "
            f"({', '.join(columns.SUFFIXES)})"
        )
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    found = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not found:
        raise ValueError(f"{file} holds no text; it takes one a line")
    said = dict(zip(found, found, strict=True))
    _check_names(file, said)
    return said, None


def _check_names(file: Path, said: Mapping[str, str]) -> None:
    """Refuse names of texts that a collection cannot hold: each takes as much memory as the longest."""
    for number, (name, text) in enumerate(said.items(), start=1):
        if len(name) <= MAX_NAME and "\0" not in name:
            continue
        whose, remedy = f"the id of text {number}, {name[:40]!r},", "write another id"
        if name == text:
            whose = f"text {number}, {name[:40]!r}, is its own name, and"
            remedy = "give a table with a short id for each text (columns id and text)"
        fault = f"has {len(name)} characters, and a name has at most {MAX_NAME}"
        if "\0" in name:
            fault = "has a null character, which no name has"
        raise ValueError(f"{file}: {whose} {fault}; {remedy}")


def name_of(path: Path, root: Path) -> str:
    """Return the name of an image in a collection: its path below the root, or the whole path."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
