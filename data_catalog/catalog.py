"""Load and check the descriptions of datasets (`<name>.yaml`) and of pretrained weights (`weights.yaml`).

    entry = catalog.load("emoji")                      # by name, from this folder
    entry = catalog.load("path/to/mine.yaml")          # or any file of the same form
    entry = catalog.folder_entry("photos", "items.csv")  # a folder of images and a table, no file needed

An entry says what is fetched (version, checksum, licence), which reader understands it, how texts become
words, how labels are made, and how the items are split.  It holds facts; the logic is in `cmh` and `infra`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from data_catalog import yaml_files
from data_catalog.entries import Entry as Entry  # for those who import this module
from data_catalog.entries import Images as Images
from data_catalog.entries import Local as Local
from data_catalog.entries import Manual as Manual
from data_catalog.entries import Npm as Npm
from data_catalog.entries import Published as Published
from data_catalog.entries import Pypi as Pypi
from data_catalog.entries import Sizes as Sizes
from data_catalog.entries import Source as Source
from data_catalog.entries import Split as Split
from data_catalog.entries import Text as Text
from data_catalog.entries import Url as Url
from data_catalog.entries import Weights as Weights
from data_catalog.yaml_files import CatalogError as CatalogError

FOLDER = Path(__file__).parent

Model = TypeVar("Model", bound=BaseModel)


def available() -> list[str]:
    """Return the names of the datasets in the catalog."""
    others = ("paper_figures", "weights")
    return sorted(path.stem for path in FOLDER.glob("*.yaml") if path.stem not in others)


def load(name: str | Path) -> Entry:
    """Return the entry of that name, or in that YAML file.

    Raises:
        CatalogError: naming the file, the field and what is allowed.
    """
    if str(name).endswith((".yaml", ".yml")):
        return _parse(Entry, yaml_files.read(Path(name)), Path(name))
    if name not in available():
        listed = ", ".join(available())
        if Path(name).exists():
            raise CatalogError(
                f"{str(name)!r} is a path, not a dataset of the catalog, which has {listed}; `cmh inspect "
                f"{name}` says how to go on with data of your own"
            )
        raise CatalogError(
            f"{str(name)!r} is not in the catalog, which has {listed}, nor is it a path; give one of these "
            "names, the path of a .yaml entry, or that of your own data (`cmh inspect PATH`)"
        )
    path = FOLDER / f"{name}.yaml"
    return _parse(Entry, yaml_files.read(path), path)


def weights(name: str) -> Weights:
    """Return the catalogued pretrained weights of a backbone.

    Raises:
        CatalogError: see the message.
    """
    path = FOLDER / "weights.yaml"
    known = yaml_files.read(path)
    if name not in known:
        raise CatalogError(f"no weights for {name!r} in {path.name}; available: {', '.join(sorted(known))}")
    return _parse(Weights, known[name], path)


def folder_entry(images: str | Path, items: str | Path, **changes: Any) -> Entry:
    """Return an entry for the user's own data: a folder of images and a table of their texts and labels.

    `changes` replaces fields, e.g. `split={"query": 0.2, "validation": 0.1, "train": 1.0}`.
    """
    title = f"{Path(images).name} and {Path(items).name}"
    return own_entry("folder", {"images": images, "items": items}, title, **changes)


def own_entry(reader: str, sources: Mapping[str, str | Path], title: str, **changes: Any) -> Entry:
    """Return an entry for the user's own data in any form.

    Args:
        reader: what reads it; the entry has its name.
        sources: local files and folders, by the names that the reader knows.
        title: for people.
        changes: fields in place of others.
    """
    fields: dict[str, Any] = {
        "name": reader,
        "title": title,
        "reader": reader,
        # Resolved, because the entry travels to worker processes with other working directories.
        "sources": {
            name: {"kind": "path", "path": Path(path).expanduser().resolve()}
            for name, path in sources.items()
        },
        "unlabelled": "kept",
        # The shares of the emoji protocol; training on everything that is left, because own data is small.
        "split": {"query": 0.15, "validation": 0.08, "train": 1.0},
    }
    return _parse(Entry, fields | changes, Path(title))


def _parse(model: type[Model], fields: Mapping[str, Any], path: Path) -> Model:
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        lines = [
            f"  {'.'.join(map(str, e['loc'])) or 'entry'}: {e['msg'].removeprefix('Value error, ')} "
            f"(given: {_short(e['input'])})"
            for e in error.errors()
        ]
        allowed = ", ".join(model.model_fields)
        raise CatalogError(
            f"{path}: {len(lines)} field(s) are wrong:\n"
            + "\n".join(lines)
            + f"\n  fields allowed: {allowed} (data_catalog/README.md describes them)"
        ) from error


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
