"""What an entry of the catalog holds: sources, how texts, labels and splits are made, protocols of papers."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from data_catalog.yaml_files import CatalogError

Share = Annotated[float, Field(gt=0, lt=1)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


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
            raise ValueError(
                f"query {self.query:g} and validation {self.validation:g} leave no groups to train on; their "
                "sum must be below 1"
            )
        if isinstance(self.train, float) and not 0 < self.train <= 1:
            raise ValueError(
                f"train is {self.train}; write a share above 0.0 and up to 1.0, or a whole number of items"
            )
        if isinstance(self.train, int) and self.train < 2:
            raise ValueError(f"train is {self.train} item(s); write 2 or more, or 1.0 for all")
        return self


class Published(Strict):
    """The publisher's own split: its test items are the queries, all others the database.

    validation: share of the database that is drawn to be left out of the training set.
    """

    published: Literal[True]
    validation: float = Field(0.0, ge=0, lt=1)
    seed: int = 0


class Sizes(Strict):
    """A split as papers state it: numbers of items, drawn one by one, so that groups may be torn.

    train "database": all but the queries and the validation items.  validation: of the database, not trained
    on; papers have none.  by_label: queries and training items of the first label, and of each other one.
    """

    query: int = Field(ge=1)
    train: int | Literal["database"]
    validation: int = Field(0, ge=0)
    seed: int = 0
    by_label: tuple[tuple[int, int], tuple[int, int]] | None = None


def _kind_of_split(given: Any) -> str:
    """Return which split is meant: only what it says is wrong is said, not what is missing of the others."""
    if isinstance(given, BaseModel):
        given = given.model_dump()
    if not isinstance(given, dict) or "published" in given:
        return "published"
    by_items = isinstance(given.get("query"), int) or given.get("train") == "database" or "by_label" in given
    return "items" if by_items else "shares"


AnySplit = Annotated[
    Annotated[Split, Tag("shares")] | Annotated[Published, Tag("published")] | Annotated[Sizes, Tag("items")],
    Discriminator(_kind_of_split),
]


class LabelNoise(Strict):
    """Wrong labels of training items, on purpose; `cmh.data.label_noise` says how they are drawn.

    Queries, database and validation items keep their labels: relevance is judged by the right ones.
    """

    rate: float = Field(gt=0, le=1, description="share of the training items with a wrong label")
    kind: Literal["symmetric"] = "symmetric"
    seed: int = 0


class Protocol(Strict):
    """How a line of papers takes a dataset, as changes to its entry.

    `version` is raised when the same name comes to mean other items.
    """

    version: int = Field(1, ge=1)
    about: str
    reader: str | None = None
    options: dict[str, Any] = {}
    sources: dict[str, Source] = {}
    text: Text | None = None
    unlabelled: Literal["left out", "kept"] | None = None
    split: AnySplit | None = None
    counts: dict[str, int] = {}


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
    unlabelled: Literal["left out", "kept"] = Field(
        "left out", description="items without any label; kept, they serve methods that learn from pairs"
    )
    split: AnySplit
    label_noise: LabelNoise | None = Field(None, description="wrong labels in training, on purpose")
    protocols: dict[str, Protocol] = Field({}, description="other ways in which papers take the data")
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

    def under(self, name: str) -> "Entry":
        """Return the entry as a protocol has it, named after both.

        Raises:
            CatalogError: the dataset has no such protocol.
        """
        if name not in self.protocols:
            raise CatalogError(
                f"{self.name} has no protocol {name!r}; it has {', '.join(self.protocols) or 'none'} "
                "(without --protocol the dataset is taken as its entry describes it)"
            )
        protocol = self.protocols[name]
        changes: dict[str, Any] = {
            "name": f"{self.name}-{name}",
            "title": f"{self.title}; protocol {name}, version {protocol.version}",
            "about": protocol.about,
            "options": protocol.options if protocol.reader else {**self.options, **protocol.options},
            "labels": {} if protocol.reader else self.labels,  # its rules test what its own reader tells
            "counts": protocol.counts,
            "protocols": {},
        }
        replaced = {
            "reader": protocol.reader,
            "sources": protocol.sources,
            "text": protocol.text,
            "unlabelled": protocol.unlabelled,
            "split": protocol.split,
        }
        return self.model_copy(update=changes | {key: value for key, value in replaced.items() if value})

    def noisy(self, rate: float | None) -> "Entry":
        """Return the entry with this share of wrong labels in training, named after it; None: as it is."""
        if rate is None:
            return self
        percent = f"{100 * rate:g}"
        changes = {
            "name": f"{self.name}-noise{percent.replace('.', '_')}",
            "title": f"{self.title}; wrong labels in {percent} % of the training items",
            "label_noise": LabelNoise(rate=rate),
        }
        return self.model_copy(update=changes)

    @property
    def source_name(self) -> str:
        """The name without noise in the labels: that of images, features and recipes, which know none."""
        return self.name if self.label_noise is None else self.name.rpartition("-noise")[0] or self.name

    def differing_counts(self, **found: int) -> str:
        """Return what was counted otherwise than in `counts`, in words; empty if nothing was."""
        return ", ".join(
            f"{count} {what} in place of {self.counts[what]}"
            for what, count in found.items()
            if self.counts.get(what, count) != count
        )


class Member(Strict):
    """One file inside a source."""

    member: str
    sha256: Sha256


class Weights(Member):
    """Pretrained weights of a network: one file inside a source, and for some text networks a second."""

    about: str = ""
    source: Source
    tokenizer: Member | None = None
