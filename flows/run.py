"""One resolved run: everything that an experiment names, read once at the door and passed on from there.

Workers take it as it is: they read no catalog, so a file that is edited meanwhile, or lies in another folder
than theirs, cannot change what they compute.
"""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cmh import methods
from cmh.data import forms, readers
from cmh.hashing.method import Method
from cmh.networks import backbones
from cmh.networks.text_encoders import WORDS
from cmh.training import trainer
from data_catalog import catalog
from flows import own_data, start_models, tuned_recipes
from flows.experiment import Experiment, TextSettings
from flows.start_models import StartModel
from flows.tuned_recipes import Read, Tuned
from infra import bucket


@dataclass(frozen=True)
class Run:
    """An experiment with what it names; picklable, its paths absolute."""

    experiment: Experiment  # what a tuned recipe names is in its settings
    entry: catalog.Entry  # of the dataset
    config: Any  # of the method, all fields
    grid: int  # side of the maps that a frozen backbone gives, for methods that look at places; else 1
    trainer_config: trainer.Config
    text: TextSettings  # what is read of texts, where the experiment leaves it to the method too
    read: Read  # of images and texts, in words
    tuned: Tuned | None  # the recipe whose settings are in the experiment; None: short or paper
    start: StartModel | None = None  # the model whose weights training starts from

    @property
    def name(self) -> str:
        """What people call it."""
        return name_of(self.experiment, self.entry)

    @property
    def recipe(self) -> str:
        """Where its settings come from: short, paper, or tuned and with which budget."""
        if self.tuned is None:
            return self.experiment.recipe
        elsewhere = "" if self.tuned.dataset == self.entry.source_name else f" on {self.tuned.dataset}"
        return f"tuned{elsewhere}, {self.tuned.recipe.budget}"

    @property
    def method(self) -> type[Method]:
        """The method's class."""
        return methods.load(self.experiment.method)

    @property
    def is_shallow(self) -> bool:
        """Whether the method is fitted on all training items at once, without epochs."""
        return methods.is_shallow(self.experiment.method)

    @property
    def is_online(self) -> bool:
        """Whether a later run can add items to what the method has learnt."""
        return self.method.go_on_from is not Method.go_on_from

    @property
    def brings_features(self) -> bool:
        """Whether the dataset brings features in place of images and words."""
        return readers.brings_features(self.entry.reader)

    @property
    def settings(self) -> dict[str, Any]:
        """All fields of the method's Config."""
        return asdict(self.config)


def name_of(experiment: Experiment, entry: catalog.Entry) -> str:
    """Return the name of a run, such as scahn-emoji-64-3f2a; the end tells other settings apart."""
    digest = hashlib.sha256(experiment.model_dump_json().encode()).hexdigest()
    return f"{experiment.method}-{entry.name}-{experiment.bits}-{digest[:4]}"


def resolve(experiment: Experiment, entry: catalog.Entry | None = None) -> Run:
    """Read what an experiment names.

    Args:
        experiment: what to compute.
        entry: its dataset's, where the caller has read it already.

    Raises:
        CatalogError: there is no such dataset or tuned recipe, or its file is malformed.
        ValueError: the method or a setting is unknown, or there is no such model to start from.
        OSError: the same of a model in the store.
    """
    entry = entry or read_entry(experiment)
    text = _text(experiment, entry)
    read = tuned_recipes.read_by(experiment.backbone, text, readers.brings_features(entry.reader))
    tuned = tuned_recipes.find(experiment, entry, read)
    if tuned is not None:
        experiment = tuned_recipes.put_in(experiment, tuned.recipe)
    training = experiment.training.model_dump() | {"prefixes": experiment.training.weights}
    config = experiment.config
    reads_maps = methods.load(experiment.method).reads_maps(config)
    return Run(
        experiment=experiment,
        entry=entry,
        config=config,
        grid=backbones.spec(experiment.backbone.name).grid if reads_maps else 1,
        trainer_config=trainer.Config(seed=experiment.seed, **training),
        text=text,
        read=read,
        tuned=tuned,
        start=None if experiment.start_from is None else start_models.find(experiment.start_from),
    )


def _text(experiment: Experiment, entry: catalog.Entry) -> TextSettings:
    """Return what is read of texts: as asked for, else as the method is made for."""
    if experiment.text.name is not None:
        return experiment.text
    if readers.brings_features(entry.reader):
        return TextSettings(name=WORDS)
    return TextSettings(**{"name": WORDS, **methods.load(experiment.method).texts})


def read_entry(experiment: Experiment) -> catalog.Entry:
    """Read the catalog entry of the data, or make one for data of the user's own, in whatever form it lies.

    Raises:
        CatalogError: there is none, or it is malformed.
        ValueError: the user's data is of no form that is read.
    """
    return _read_entry(experiment).noisy(experiment.label_noise)


def _read_entry(experiment: Experiment) -> catalog.Entry:
    own = _own_entry(experiment)
    if own is None:
        entry = catalog.load(experiment.dataset).absolute()
        return entry if experiment.protocol is None else entry.under(experiment.protocol)
    if experiment.protocol is not None:
        raise ValueError(
            f"--protocol {experiment.protocol} is of published datasets, and the data is your own; leave it "
            "out"
        )
    stored = catalog.Images(size=max(own.images.size, experiment.backbone.image_size))
    return own.model_copy(update={"images": stored})  # no smaller than the network reads


def _own_entry(experiment: Experiment) -> catalog.Entry | None:
    """Return an entry over the user's own data; None where the experiment names one."""
    columns = experiment.column_names
    if experiment.images is not None and experiment.items is not None:
        options = {"options": {"columns": columns}} if columns else {}
        images, items = bucket.here(experiment.images), bucket.here(experiment.items)
        return catalog.folder_entry(images, items, **options)
    if not own_data.is_own(experiment.dataset):
        if columns:
            raise ValueError(
                f"columns are named for data of your own, and the dataset is {experiment.dataset!r}; leave "
                "out --columns, or write `options: {columns: {image: path}}` into your catalog entry"
            )
        return None
    form = forms.detect(bucket.here(Path(experiment.dataset).expanduser()), columns)
    return catalog.own_entry(form.reader, form.sources, form.title, options=dict(form.options))
