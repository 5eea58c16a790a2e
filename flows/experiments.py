"""What a run is: one model per flow, which is the UI form, the options of the CLI and the YAML at once.

`Experiment` says what is computed and is the whole of it: two equal experiments give equal artifacts, on any
machine.  `Resources` says where and with how much; it never changes a result.  A named experiment is a
function below that returns an `Experiment`; change one with `model_copy(update=...)`.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from cmh import methods
from cmh.codes.threads import chosen_threads
from cmh.data import readers
from cmh.hashing.method import check_prefixes
from cmh.networks import backbones, clip
from cmh.training import trainer
from data_catalog import catalog
from flows import reach

GRID = 4  # what efficientnet_lite0's last stage has at 128 pixels


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _from_anywhere(weights: str) -> str:
    """A file by its absolute path: workers have other folders to start from, and know no "~"."""
    return weights if weights in ("default", "none") else str(Path(weights).expanduser().absolute())


Weights = Annotated[str, AfterValidator(_from_anywhere)]


class Backbone(_Settings):
    """The image network below the method's own layers."""

    name: Literal["clip_vit_b32", "cnn_f", "efficientnet_lite0", "resnet18", "resnet34", "vgg19"] = (
        "efficientnet_lite0"
    )
    weights: Weights = Field("default", description="'default' (ImageNet), 'none', or a local file")
    frozen: bool = Field(
        True, description="True: cached features; False: fine-tuned end to end, the papers' way"
    )
    image_size: int = Field(128, ge=32, le=512, description="pixels, square, that the network reads")

    @model_validator(mode="after")
    def _is_possible(self) -> "Backbone":
        backbones.check(self.name, self.weights, self.image_size)
        return self


class Text(_Settings):
    """What the method reads of a text."""

    name: Literal["words", "clip_vit_b32"] = Field(
        "words",
        description="words: those of the dataset's vocabulary, counted or in their order; clip_vit_b32: "
        "features by CLIP's frozen text network, of any words",
    )
    weights: Weights = Field(
        "default", description="of a network: 'default' (OpenAI's), or a local weights file"
    )

    @model_validator(mode="after")
    def _is_possible(self) -> "Text":
        if self.is_network:
            clip.check_installed()
        if self.weights == "none" or (not self.is_network and self.weights != "default"):
            raise ValueError(
                f"texts are read as {self.name} with weights {self.weights!r}; words have no weights, and a "
                "frozen network with random ones gives features of nothing"
            )
        return self

    @property
    def is_network(self) -> bool:
        """Whether texts become features."""
        return self.name != "words"


class Training(_Settings):
    """How long and with which batches; learning rates belong to the method."""

    epochs: int = Field(15, ge=1)
    batch_size: int = Field(64, ge=2)
    patience: int | None = Field(
        None, ge=1, description="epochs without better validation MAP before stopping"
    )
    precision: Literal["float32", "bfloat16"] = "float32"
    prefixes: dict[str, float] = Field(  # keys are text: the command line and JSON know no others
        default_factory=dict,
        description="nested codes: shorter lengths whose loss is added, each with its weight",
    )

    @field_validator("prefixes")
    @classmethod
    def _lengths(cls, prefixes: dict[str, float]) -> dict[str, float]:
        if odd := [length for length in prefixes if not length.isdecimal()]:
            raise ValueError(f"a prefix is a number of bits, got {odd[0]!r}; as in --training.prefixes.16 1")
        return prefixes

    @property
    def weights(self) -> dict[int, float]:
        """`prefixes` by number of bits."""
        return {int(length): weight for length, weight in self.prefixes.items()}


class Evaluation(_Settings):
    """Which figures the report holds."""

    bits: tuple[Annotated[int, Field(ge=1, le=512)], ...] = Field(
        (16, 32, 64), min_length=1, description="code lengths; shorter ones are prefixes"
    )
    radius: int = Field(2, ge=0, description="Hamming radius of the hash lookup figures")


class Experiment(_Settings):
    """Everything that bears on the result of a run."""

    dataset: str = Field("emoji", description="an entry of data_catalog, or a .yaml file of the same form")
    images: Path | None = Field(
        None, description="your own folder of images, in place of a dataset; with items"
    )
    items: Path | None = Field(None, description="your own table: CSV with the columns image, text, labels")
    method: str = Field("scahn", description="a file of cmh/methods")
    bits: int = Field(64, ge=8, le=512, description="code length")
    recipe: Literal["short", "paper"] = Field(
        "short",
        description="short: what the method recommends for few epochs on frozen features; paper: its Config",
    )
    settings: dict[str, Any] = Field(
        default_factory=dict,
        description="fields of the method's Config, over the recipe; lists as JSON: "
        "--settings '{\"stages\": [-2, -1]}'",
    )
    seed: int = Field(0, ge=0)
    limit: int | None = Field(
        None, ge=32, description="only this many records of the dataset: a small trial run"
    )
    backbone: Backbone = Backbone()
    text: Text = Text()
    training: Training = Training()
    evaluation: Evaluation = Evaluation()

    @field_validator("bits")
    @classmethod
    def _whole_bytes(cls, bits: int) -> int:
        if bits % 8:
            raise ValueError(f"bits must be a multiple of 8, got {bits}; use {bits // 8 * 8 or 8}")
        return bits

    @model_validator(mode="after")
    def _images_and_items(self) -> "Experiment":
        if self.images is not None and "dataset" in self.model_fields_set:
            raise ValueError(
                f"the dataset {self.dataset} and a folder of images were given; choose one of them"
            )
        if (self.images is None) != (self.items is None):
            missing = "items" if self.items is None else "images"
            raise ValueError(
                f"your own data takes both a folder of images and a table of items; {missing} is missing"
            )
        return self

    @property
    def entry(self) -> catalog.Entry:
        """The catalog entry of the data.

        Raises:
            CatalogError: there is none, or it is malformed.
        """
        if self.images is not None and self.items is not None:
            own = catalog.folder_entry(self.images, self.items)
            stored = catalog.Images(size=max(own.images.size, self.backbone.image_size))
            return own.model_copy(update={"images": stored})  # no smaller than the network reads
        return catalog.load(self.dataset)

    @property
    def grid(self) -> int:
        """Places a side of the maps that a frozen backbone gives, for methods that look at them; else 1."""
        return GRID if methods.load(self.method).reads_maps(self.config) else 1

    @property
    def config(self) -> Any:
        """The method's Config: the recipe's fields, and over them the settings.

        Raises:
            ValueError: the method or a field is unknown, or a value cannot work.
        """
        recipe = methods.load(self.method).SHORT if self.recipe == "short" else {}
        return methods.config(self.method, bits=self.bits, **{**recipe, **self.settings})

    @property
    def trainer_config(self) -> trainer.Config:
        """What `cmh.training.trainer` is told of all this."""
        training = self.training.model_dump() | {"prefixes": self.training.weights}
        return trainer.Config(seed=self.seed, **training)

    def check(self) -> None:
        """Refuse what the entry alone tells cannot work, before anything is fetched.

        Raises:
            ValueError: there is no such dataset, or the settings do not go together with it or each other.
        """
        method, entry = methods.load(self.method), self.entry
        if self.images is not None and self.items is not None:
            given = {"images": self.images.expanduser(), "items": self.items.expanduser()}
            for _ in readers.load("folder").read(given, {}):  # no image is opened yet
                pass
        check_prefixes(method, self.bits, self.training.weights)
        if self.text.is_network and method.sequences:
            raise ValueError(f"{self.method} reads words in their order; leave out --text.name")
        if readers.brings_features(entry.reader):
            if self.limit is not None:
                raise ValueError(f"{entry.name} brings features and is taken whole; leave out --limit")
            if self.text.is_network:
                raise ValueError(f"{entry.name} brings features of its texts; leave out --text.name")
            if method.sequences:
                raise ValueError(
                    f"{self.method} reads words in their order, and {entry.name} brings text features, no "
                    "words; take another dataset, or a method that reads bags of words"
                )
            if method.reads_maps(self.config):
                raise ValueError(
                    f"{self.method} looks at places of an image, and {entry.name} brings image features, no "
                    f"images; take another dataset or method, or leave that out (`cmh methods {self.method}`)"
                )
        else:
            if isinstance(entry.split, catalog.Published):
                raise ValueError(
                    f"{entry.name}: the reader {entry.reader!r} knows no publisher's split; give shares of "
                    "query, validation and train"
                )
            if self.backbone.frozen and self.backbone.weights == "none":
                raise ValueError(
                    "a frozen backbone with random weights gives features of nothing; use weights 'default' "
                    "or a file, or frozen=false to train it"
                )
            if methods.is_shallow(self.method) and not self.backbone.frozen:
                raise ValueError(
                    f"{self.method} is solved for, on features; leave out --backbone.no-frozen, or take a "
                    "method that trains"
                )
        if not methods.is_shallow(self.method) and not entry.split.validation:
            raise ValueError(
                f"{entry.name} has no validation items, by which {self.method} chooses its best epoch; "
                "copy its catalog entry to your own file, add `validation: 0.1` to its split, and name that "
                "file"
            )

    @model_validator(mode="after")
    def _method_knows_its_settings(self) -> "Experiment":
        _ = self.config
        return self


class Resources(_Settings):
    """Where a run happens.  None of it is part of any artifact's identity."""

    workers: int = Field(1, ge=1, description="training processes; the global batch is split over them")
    gpu: bool = Field(False, description="one GPU per training process")
    threads: int = Field(
        chosen_threads(None), ge=1, description="CPU threads of this machine, for every engine"
    )
    ray: str | None = Field(
        None,
        description="address of a Ray cluster that this machine is a node of; without it, Ray is started "
        "here",
    )
    dask: str | None = Field(
        None,
        description="address of a Dask scheduler, whose workers see the same store and folders; without it, "
        "Dask is started here",
    )

    def check(self) -> None:
        """Refuse what is not there, before any work.

        Raises:
            ValueError, ConnectionError: no GPU, or nobody at an address.
        """
        if self.gpu and self.ray is None and not torch.cuda.is_available():
            raise ValueError(
                "a GPU was asked for and this machine has none that torch can use (`cmh doctor` says why); "
                "leave out --gpu, or give a cluster that has some with --ray"
            )
        reach.check("--ray", self.ray)
        reach.check("--dask", self.dask)


def emoji() -> Experiment:
    """SCAHN on emoji, the backbone frozen: what `cmh demo` runs."""
    return Experiment()
