"""Run settings as pydantic classes: at once the options of the command line, the Prefect form and the YAML.

`Experiment` says what is computed and is the whole of it: two equal experiments give equal artifacts, on any
machine.  `Resources` says where and with how much; it never changes a result.  `flows.run.resolve` reads what
an experiment names, once; `flows.preflight` refuses what cannot work.  A named experiment is a function below
that returns an `Experiment`; change one with `model_copy(update=...)`.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from cmh import methods
from cmh.codes.threads import chosen_threads
from cmh.networks import backbones, clip


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _from_anywhere(weights: str) -> str:
    """Return a file by its absolute path: workers have other folders to start from, and know no "~"."""
    return weights if weights in ("default", "none") else str(Path(weights).expanduser().absolute())


Weights = Annotated[str, AfterValidator(_from_anywhere)]


class BackboneSettings(_Settings):
    """The image network below the method's own layers."""

    name: str = Field(
        "efficientnet_lite0",
        description=f"one of {', '.join(backbones.names())}",
        json_schema_extra={"enum": [*backbones.names()]},
    )
    weights: Weights = Field("default", description="'default' (ImageNet), 'none', or a local file")
    frozen: bool = Field(
        True, description="True: cached features; False: fine-tuned end to end, the papers' way"
    )
    image_size: int = Field(128, ge=32, le=512, description="pixels, square, that the network reads")

    @model_validator(mode="after")
    def _is_possible(self) -> "BackboneSettings":
        backbones.check(self.name, self.weights, self.image_size)
        return self


class TextSettings(_Settings):
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
    def _is_possible(self) -> "TextSettings":
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


class TrainingSettings(_Settings):
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


class EvaluationSettings(_Settings):
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
    bits: int = Field(
        64, ge=8, le=512, description="code length, whole bytes", json_schema_extra={"multipleOf": 8}
    )
    recipe: Literal["short", "paper"] = Field(
        "short",
        description="short: what the method recommends for few epochs on frozen features; paper: its Config",
    )
    settings: dict[str, Any] = Field(
        default_factory=dict,
        description="fields of the method's Config, over the recipe; lists as JSON: "
        "--settings '{\"stages\": [-2, -1]}'",
    )
    seed: int = Field(0, ge=0, description="of all random numbers")
    limit: int | None = Field(
        None, ge=32, description="only this many records of the dataset: a small trial run"
    )
    backbone: BackboneSettings = BackboneSettings()
    text: TextSettings = TextSettings()
    training: TrainingSettings = TrainingSettings()
    evaluation: EvaluationSettings = EvaluationSettings()

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
    def config(self) -> Any:
        """Return the method's Config: the recipe's fields, and over them the settings.

        Raises:
            ValueError: the method or a field is unknown, or a value cannot work.
        """
        recipe = methods.load(self.method).SHORT if self.recipe == "short" else {}
        return methods.config(self.method, bits=self.bits, **{**recipe, **self.settings})

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


def emoji() -> Experiment:
    """Return SCAHN on emoji, the backbone frozen: what `cmh demo` runs."""
    return Experiment()
