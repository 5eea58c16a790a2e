"""One resolved run: everything that an experiment names, read once at the door and passed on from there.

Workers take it as it is: they read no catalog, so a file that is edited meanwhile, or lies in another folder
than theirs, cannot change what they compute.
"""

from dataclasses import asdict, dataclass
from typing import Any

from cmh import methods
from cmh.data import readers
from cmh.hashing.method import Method
from cmh.networks import backbones
from cmh.training import trainer
from data_catalog import catalog
from flows.experiment import Experiment


@dataclass(frozen=True)
class Run:
    """An experiment with what it names; picklable, its paths absolute."""

    experiment: Experiment
    entry: catalog.Entry  # of the dataset
    config: Any  # of the method, all fields
    grid: int  # side of the maps that a frozen backbone gives, for methods that look at places; else 1
    trainer_config: trainer.Config

    @property
    def method(self) -> type[Method]:
        """The method's class."""
        return methods.load(self.experiment.method)

    @property
    def is_shallow(self) -> bool:
        """Whether the method is fitted on all training items at once, without epochs."""
        return methods.is_shallow(self.experiment.method)

    @property
    def brings_features(self) -> bool:
        """Whether the dataset brings features in place of images and words."""
        return readers.brings_features(self.entry.reader)

    @property
    def settings(self) -> dict[str, Any]:
        """All fields of the method's Config."""
        return asdict(self.config)


def resolve(experiment: Experiment, entry: catalog.Entry | None = None) -> Run:
    """Read what an experiment names.

    Args:
        experiment: what to compute.
        entry: its dataset's, where the caller has read it already.

    Raises:
        CatalogError: there is no such dataset, or its entry is malformed.
        ValueError: the method or a setting is unknown.
    """
    training = experiment.training.model_dump() | {"prefixes": experiment.training.weights}
    config = experiment.config
    reads_maps = methods.load(experiment.method).reads_maps(config)
    return Run(
        experiment=experiment,
        entry=entry or read_entry(experiment),
        config=config,
        grid=backbones.spec(experiment.backbone.name).grid if reads_maps else 1,
        trainer_config=trainer.Config(seed=experiment.seed, **training),
    )


def read_entry(experiment: Experiment) -> catalog.Entry:
    """Read the catalog entry of the data, or make one for a folder of the user's own.

    Raises:
        CatalogError: there is none, or it is malformed.
    """
    if experiment.images is not None and experiment.items is not None:
        own = catalog.folder_entry(experiment.images, experiment.items)
        stored = catalog.Images(size=max(own.images.size, experiment.backbone.image_size))
        return own.model_copy(update={"images": stored})  # no smaller than the network reads
    return catalog.load(experiment.dataset).absolute()
