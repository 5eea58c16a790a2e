"""Put a tuned recipe into an experiment: after that, it is an experiment like any other.

A recipe only names settings, so a run with it and a run with the same settings on the command line have the
same artifacts.
"""

import logging
from pathlib import Path
from typing import NamedTuple

from cmh.networks.text_encoders import WORDS
from data_catalog import recipes
from data_catalog.entries import Entry
from data_catalog.recipes import Recipe
from flows.experiment import BackboneSettings, Experiment, TextSettings

_log = logging.getLogger(__name__)


class Read(NamedTuple):
    """What a method reads, in words; recipes are found by it."""

    images: str
    texts: str


def read_by(backbone: BackboneSettings, text: TextSettings, brings_features: bool) -> Read:
    """Return what a run reads of images and texts."""
    if brings_features:
        return Read("features that the dataset brings", "features that the dataset brings")
    weights = "" if backbone.weights == "default" else f" with weights of {Path(backbone.weights).name}"
    how = "frozen" if backbone.frozen else "fine-tuned"
    words = " and words" if text.words else ""
    return Read(f"{backbone.name}{weights}, {how}, {backbone.image_size} px", f"{text.name or WORDS}{words}")


class Tuned(NamedTuple):
    """A recipe, and the dataset that it was found on."""

    recipe: Recipe
    dataset: str


def find(experiment: Experiment, entry: Entry, read: Read) -> Tuned | None:
    """Return the tuned recipe that an experiment names; None where it names short or paper.

    A file may hold recipes of another dataset; the log and the run's recipe say so.
    With wrong labels on purpose, `tuned` are those that were found with the right ones.

    Raises:
        CatalogError: there is none for its method and features, or the file is malformed.
    """
    if experiment.recipe in ("short", "paper"):
        return None
    file = recipes.path(entry.source_name) if experiment.recipe == recipes.TUNED else Path(experiment.recipe)
    found = Tuned(recipes.find(file, experiment.method, *read), recipes.dataset_of(file))
    if found.dataset != entry.source_name:
        _log.warning(f"{file}: its recipes were tuned on {found.dataset}; this run is on {entry.source_name}")
    return found


def put_in(experiment: Experiment, recipe: Recipe) -> Experiment:
    """Return the experiment with a recipe's settings, epochs and batch size, where it gives none itself.

    Raises:
        ValueError: the method has no such setting, or a value cannot work.
    """
    training = experiment.training
    of_recipe = {"epochs": recipe.budget.epochs, "batch_size": recipe.batch_size}
    chosen = {
        name: value
        for name, value in of_recipe.items()
        if value is not None and name not in training.model_fields_set
    }
    changed = experiment.model_copy(
        update={
            "recipe": "short",
            "settings": {**recipe.settings, **experiment.settings},
            "training": training.model_copy(update=chosen),
        }
    )
    try:
        _ = changed.config
    except ValueError as error:
        raise ValueError(f"the tuned recipe of {experiment.method}: {error}") from None
    return changed
