"""Load and check the descriptions of datasets (`<name>.yaml`) and of pretrained weights (`weights.yaml`).

    entry = catalog.load("emoji")                      # by name, from this folder
    entry = catalog.load("path/to/mine.yaml")          # or any file of the same form
    entry = catalog.folder_entry("photos", "items.csv")  # a folder of images and a table, no file needed

An entry says what is fetched (version, checksum, licence), which reader understands it, how texts become
words, how labels are made, and how the items are split.  It holds facts; the logic is in `cmh` and `infra`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

FOLDER = Path(__file__).parent
MAX_BYTES, MAX_DEPTH = 1 << 20, 20  # of a YAML file

Model = TypeVar("Model", bound=BaseModel)

Share = Annotated[float, Field(gt=0, lt=1)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class CatalogError(ValueError):
    """A catalog entry is missing or malformed; the message names the file, the field and what is allowed."""


class Strict(BaseModel):
    """Unknown fields are errors: a misspelt field must not become a silent default."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Npm(Strict):
    """A package of the npm registry; `integrity` as `npm view <package>@<version> dist.integrity` says."""

    kind: Literal["npm"]
    package: str = Field(pattern=r"^(@[a-z0-9-]+/)?[a-z0-9][a-z0-9._-]*$")
    version: str = Field(pattern=r"^\d+\.\d+\.\d+$")
    integrity: str = Field(pattern=r"^sha512-[A-Za-z0-9+/]{86}==$")
    licence: str
    credit: str = ""


class Pypi(Strict):
    """A wheel of the Python package index."""

    kind: Literal["pypi"]
    package: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    version: str = Field(pattern=r"^\d+(\.\d+)*$")
    sha256: Sha256
    licence: str
    credit: str = ""


class Url(Strict):
    """One file behind http(s)."""

    kind: Literal["url"]
    url: str = Field(pattern=r"^https?://")
    sha256: Sha256
    licence: str
    credit: str = ""


class Local(Strict):
    """A file or folder that is already on this machine; only a file can have a checksum."""

    kind: Literal["path"]
    path: Path
    sha256: Sha256 | None = None
    licence: str = "not stated"
    credit: str = ""


class Manual(Strict):
    """Files that their publisher gives on request only, or that are large or packed anew: you put them there.

    `path` lies below the downloads folder; it may be a link.  `where`: how to come by them.
    """

    kind: Literal["manual"]
    path: str = Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$")
    where: str
    sha256: Sha256 | None = None
    licence: str
    credit: str = ""


Source = Annotated[Npm | Pypi | Url | Local | Manual, Field(discriminator="kind")]


class Images(Strict):
    """Side in pixels of the stored square images."""

    size: int = Field(96, ge=16, le=1024)


class Text(Strict):
    """How a text becomes a bag of words and a sequence; the vocabulary is fitted on the training items."""

    drop: float = Field(0.0, ge=0, lt=1, description="share of an item's words left out, drawn by its id")
    seed: int = 0
    min_df: int = Field(1, ge=1, description="training items a word must occur in")
    max_features: int = Field(2000, ge=1, description="words kept, the most frequent first")
    length: int = Field(32, ge=1, le=1024, description="words of a text that are kept in their order")


class Split(Strict):
    """Who is query, validation and training set: groups are drawn, never single items of a group.

    query, validation: shares of the groups.  train: items (a whole number), or a share of the items that are
    neither query nor validation (1.0 = all).  All but the queries are the database.
    """

    query: Share
    validation: Share
    train: int | float
    seed: int = 0

    @model_validator(mode="after")
    def _sizes(self) -> "Split":
        if self.query + self.validation >= 1:
            raise ValueError("query + validation must leave groups for training; their sum must be below 1")
        if isinstance(self.train, float) and not 0 < self.train <= 1:
            raise ValueError("train must be a whole number of items or a share above 0.0 and up to 1.0")
        if isinstance(self.train, int) and self.train < 2:
            raise ValueError("train must be at least 2 items (write 1.0 for all)")
        return self


class Published(Strict):
    """The publisher's own split: its test items are the queries, all others the database.

    validation: share of the database that is drawn to be left out of the training set.
    """

    published: Literal[True]
    validation: float = Field(0.0, ge=0, lt=1)
    seed: int = 0


class Entry(Strict):
    """One dataset."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    title: str
    about: str = ""
    citation: str = ""
    reader: str = Field(pattern=r"^[a-z][a-z0-9_]*$", description="module of cmh.data.readers")
    options: dict[str, Any] = {}
    sources: dict[str, Source] = Field(min_length=1)
    images: Images = Images()
    text: Text = Text()
    labels: dict[str, dict[str, list[str]]] = Field(
        {}, description="label → traits of a record that earn it; empty: the records' own labels"
    )
    split: Split | Published
    max_rejected: float = Field(0.01, ge=0, le=1, description="share of damaged items at which a run stops")
    counts: dict[str, int] = Field({}, description="what a build with these settings gives, for comparison")

    def absolute(self) -> "Entry":
        """Return the entry with absolute paths: workers start in other folders, and know no "~"."""
        here = {
            name: source.model_copy(update={"path": source.path.expanduser().absolute()})
            for name, source in self.sources.items()
            if isinstance(source, Local)
        }
        return self.model_copy(update={"sources": {**self.sources, **here}})

    def differing_counts(self, **found: int) -> str:
        """Return what was counted otherwise than in `counts`, in words; empty if nothing was."""
        return ", ".join(
            f"{count} {what} in place of {self.counts[what]}"
            for what, count in found.items()
            if self.counts.get(what, count) != count
        )


class Weights(Strict):
    """Pretrained weights of a backbone: one file inside a source."""

    about: str = ""
    source: Source
    member: str
    sha256: Sha256


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
        return _parse(Entry, _read_yaml(Path(name)), Path(name))
    if name not in available():
        raise CatalogError(
            f"dataset {str(name)!r} is not in the catalog; available: {', '.join(available())} "
            "(or give a .yaml file of your own, or --images DIR --items items.csv)"
        )
    path = FOLDER / f"{name}.yaml"
    return _parse(Entry, _read_yaml(path), path)


def weights(name: str) -> Weights:
    """Return the catalogued pretrained weights of a backbone.

    Raises:
        CatalogError: see the message.
    """
    path = FOLDER / "weights.yaml"
    known = _read_yaml(path)
    if name not in known:
        raise CatalogError(f"no weights for {name!r} in {path.name}; available: {', '.join(sorted(known))}")
    return _parse(Weights, known[name], path)


def folder_entry(images: str | Path, items: str | Path, **changes: Any) -> Entry:
    """Return an entry for the user's own data: a folder of images and a table of their texts and labels.

    `changes` replaces fields, e.g. `split={"query": 0.2, "validation": 0.1, "train": 1.0}`.
    """
    # Resolved, because the entry travels to worker processes with other working directories.
    fields: dict[str, Any] = {
        "name": "folder",
        "title": f"{Path(images).name} and {Path(items).name}",
        "reader": "folder",
        "sources": {
            "images": {"kind": "path", "path": Path(images).expanduser().resolve()},
            "items": {"kind": "path", "path": Path(items).expanduser().resolve()},
        },
        # The shares of the emoji protocol; training on everything that is left, because own data is small.
        "split": {"query": 0.15, "validation": 0.08, "train": 1.0},
    }
    return _parse(Entry, fields | changes, Path(items))


class _Loader(yaml.SafeLoader):
    """YAML without aliases, by which a few lines can stand for gigabytes, and without deep nesting."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.YAMLError(f"an alias (*name) in line {event.start_mark.line + 1}; write it out")
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise yaml.YAMLError(f"nested deeper than {MAX_DEPTH} levels")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _read_yaml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise CatalogError(f"{path}: {'not a file' if path.exists() else 'no such file'}")
    if path.stat().st_size > MAX_BYTES:
        raise CatalogError(f"{path}: {path.stat().st_size} bytes; an entry has at most {MAX_BYTES}")
    try:
        value = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise CatalogError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(value, dict):
        raise CatalogError(f"{path}: expected fields with values, got {type(value).__name__}")
    return value


def _parse(model: type[Model], fields: Mapping[str, Any], path: Path) -> Model:
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        lines = [
            f"  {'.'.join(map(str, e['loc'])) or 'entry'}: {e['msg']} (given: {_short(e['input'])})"
            for e in error.errors()
        ]
        allowed = ", ".join(model.model_fields)
        raise CatalogError(
            f"{path}: {len(lines)} field(s) are wrong:\n"
            + "\n".join(lines)
            + f"\n  fields allowed: {allowed}"
        ) from error


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
