"""Run settings as pydantic classes: at once the options of the command line, the Prefect form and the YAML.

`Experiment` says what is computed and is the whole of it: two equal experiments give equal artifacts, on any
machine.  `flows.resources` says where and with how much.  `flows.run.resolve` reads what an experiment names,
once; `flows.preflight` refuses what cannot work.  A named experiment is a function below that returns an
`Experiment`; change one with `model_copy(update=...)`.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from cmh import methods
from cmh.data import item_table
from cmh.networks import backbones, text_encoders
from cmh.networks.text_encoders import WORDS
from data_catalog import recipes
from flows import own_data


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _from_anywhere(weights: str) -> str:
    """Return a file by its absolute path: workers have other folders to start from, and know no "~"."""
    return weights if weights in ("default", "none") else str(Path(weights).expanduser().absolute())


Weights = Annotated[str, AfterValidator(_from_anywhere)]

Recipe = Annotated[str, AfterValidator(recipes.checked_name)]


def _known_columns(given: str) -> str:
    item_table.columns_of(given)
    return given


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

    name: str | None = Field(
        None,
        description="None: what the method is made for; words: those of the dataset's vocabulary, counted or "
        f"in their order; or features by a frozen network, of any words: {', '.join(text_encoders.names())}",
        json_schema_extra={"enum": [None, WORDS, *text_encoders.names()]},
    )
    weights: Weights = Field(
        "default",
        description="of a network: 'default' (the publisher's), or a local file, with tokenizer.json beside",
    )

    words: bool = Field(False, description="the words of the vocabulary beside the features of a network")

    @model_validator(mode="after")
    def _is_possible(self) -> "TextSettings":
        if self.name is None:
            if self.model_fields_set - {"name"}:
                raise ValueError("weights and words belong to a text network; name it with --text.name")
            return self
        if self.words and not self.is_network:
            raise ValueError(
                "--text.words puts words beside the features of a text network, and --text.name words names "
                f"none; leave it out, or name one of {', '.join(text_encoders.names())}"
            )
        if self.weights == "none" or (not self.is_network and self.weights != "default"):
            raise ValueError(
                f"texts are read as {self.name} with weights {self.weights!r}; words have no weights, and a "
                "frozen network with random ones gives features that say nothing: leave out --text.weights, "
                "or name a network and its file"
            )
        if not self.is_network:
            return self
        assert self.name is not None
        spec = text_encoders.spec(self.name)
        if spec.check_installed is not None:
            spec.check_installed()
        if spec.default == "none" and self.weights == "default":
            raise ValueError(
                f"the weights of {self.name} are not fetched automatically: {spec.about}; name the file with "
                "--text.weights"
            )
        return self

    @property
    def is_network(self) -> bool:
        """Whether texts become features."""
        return self.name not in (None, WORDS)


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

    dataset: str = Field(
        "emoji",
        description="an entry of data_catalog, a .yaml file of the same form, or a folder or file of your "
        "own data (cmh inspect PATH)",
    )
    images: Path | None = Field(
        None, description="your own folder of images, in place of a dataset; with items"
    )
    items: Path | None = Field(
        None, description="your own table: CSV, TSV, JSON Lines or Parquet with columns image, text, labels"
    )
    columns: Annotated[str, AfterValidator(_known_columns)] = Field(
        "", description="what is read=the column of your data that has it: image=path,text=caption"
    )
    protocol: str | None = Field(
        None, description="how papers take the dataset, as its entry names it (cmh catalog show DATASET)"
    )
    method: str = Field(
        "scahn",
        description=f"a file of cmh/methods; by default scahn, and {own_data.METHOD} on data of your own",
    )
    bits: int = Field(
        64, ge=8, le=512, description="code length, whole bytes", json_schema_extra={"multipleOf": 8}
    )
    recipe: Recipe = Field(
        "short",
        description="short: what the method recommends for few epochs on frozen features; paper: its Config; "
        "tuned: short, with what `cmh tune` found for this dataset and features; or a file that it wrote",
    )
    settings: dict[str, Any] = Field(
        default_factory=dict,
        description="fields of the method's Config, over the recipe; lists as JSON: "
        "--settings '{\"stages\": [-2, -1]}'",
    )
    seed: int = Field(0, ge=0, description="of all random numbers")
    start_from: str | None = Field(
        None,
        description="a trained model of the same method and networks, by address, tag or folder: training "
        "starts from its weights, and keeps them if no epoch is better on the validation items; lemon adds "
        "the items that it has not learnt from",
    )
    limit: int | None = Field(
        None, ge=32, description="only this many records of the dataset: a small trial run"
    )
    label_noise: float | None = Field(
        None, gt=0, le=1, description="share of the training items that get a wrong label, on purpose"
    )
    backbone: BackboneSettings = BackboneSettings()
    text: TextSettings = TextSettings()
    training: TrainingSettings = TrainingSettings()
    evaluation: EvaluationSettings = EvaluationSettings()

    @field_validator("bits")
    @classmethod
    def _whole_bytes(cls, bits: int) -> int:
        if bits % 8:
            below = max(8, bits // 8 * 8)
            raise ValueError(f"bits must be a multiple of 8, got {bits}; use {below} or {below + 8}")
        return bits

    @model_validator(mode="before")
    @classmethod
    def _method_of_own_data(cls, given: Any) -> Any:
        if not isinstance(given, dict) or "method" in given:
            return given
        own = given.get("images") is not None or own_data.is_own(str(given.get("dataset", "emoji")))
        return {**given, "method": own_data.METHOD} if own else given

    @model_validator(mode="after")
    def _images_and_items(self) -> "Experiment":
        if self.images is not None and "dataset" in self.model_fields_set:
            raise ValueError(
                f"the dataset {self.dataset} and a folder of images, --images, were given; choose one of them"
            )
        if (self.images is None) != (self.items is None):
            missing = "--items" if self.items is None else "--images"
            raise ValueError(
                "your own data takes both a folder of images, --images, and a table of items, --items; "
                f"{missing} is missing"
            )
        return self

    @property
    def column_names(self) -> dict[str, str]:
        """What is read of own data → the column that holds it."""
        return item_table.columns_of(self.columns)

    @property
    def config(self) -> Any:
        """Return the method's Config: the recipe's fields, and over them the settings.

        A tuned recipe is put into the settings by `flows.run.resolve`.

        Raises:
            ValueError: the method or a field is unknown, or a value cannot work.
        """
        if "bits" in self.settings:
            raise ValueError("bits are no setting of the method but of the run; give them as --bits")
        recipe = methods.load(self.method).SHORT if self.recipe != "paper" else {}
        return methods.config(self.method, bits=self.bits, **{**recipe, **self.settings})

    @model_validator(mode="after")
    def _method_knows_its_settings(self) -> "Experiment":
        _ = self.config
        return self


def emoji() -> Experiment:
    """Return JOINT on emoji, the backbone frozen: what `cmh demo` runs."""
    return Experiment(method="joint", training=TrainingSettings(epochs=20, batch_size=128))
