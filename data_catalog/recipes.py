"""Recipes that `cmh tune` found: the settings of methods on a dataset, and how they were chosen.

    recipes.read(recipes.path("wiki"))          # those that come with the project
    recipes.read(Path("mine.yaml"))             # or any file of the same form

A file holds the recipes of one dataset, one for each method and each kind of features.
"""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError

from data_catalog import yaml_files
from data_catalog.entries import Strict
from data_catalog.yaml_files import CatalogError

FOLDER = Path(__file__).parent / "tuned"
TUNED = "tuned"
"""What a run calls the recipes that come with the project."""
SUFFIXES = (".yaml", ".yml")

_HEAD = "# Written by `cmh tune`.  Chosen by the validation items; the queries had no part in it.\n"


class Budget(Strict):
    """What the search was given; recipes of unlike budgets say little about methods."""

    trials: int = Field(ge=1)
    epochs: int | None = Field(ge=1, description="of each trial, at most; null: a method without epochs")

    def __str__(self) -> str:
        """Return it in words."""
        epochs = "" if self.epochs is None else f" of {self.epochs} epochs"
        return f"{self.trials} trials{epochs}"


class Recipe(Strict):
    """The best of some trials of one method."""

    method: str
    images: str = Field(description="the features that it was tuned on")
    texts: str = Field(description="what it read of texts")
    settings: dict[str, Any] = Field(description="fields of the method's Config, over its short recipe")
    batch_size: int | None = Field(ge=2, description="null: a method without batches")
    budget: Budget
    failed: int = Field(0, ge=0, description="trials whose training failed")
    bits: int = Field(ge=8)
    seed: int = Field(ge=0)
    validation: float = Field(description="the figure by which it was chosen, of the best trial")
    untuned: float | None = Field(description="that figure of the short recipe; null: its training failed")
    commit: str = Field(description="of the code that tuned")

    @property
    def key(self) -> tuple[str, str, str]:
        """Return what it is a recipe for."""
        return self.method, self.images, self.texts


class _File(Strict):
    dataset: str
    recipes: tuple[Recipe, ...]


def checked_name(recipe: str) -> str:
    """Return what a run calls its recipe; a file by its absolute path, as it may be read elsewhere.

    Raises:
        ValueError: it is none.
    """
    if recipe in ("short", "paper", TUNED):
        return recipe
    if not recipe.endswith(SUFFIXES):
        raise ValueError(
            f"the recipe is short, paper, {TUNED}, or a .yaml file that `cmh tune` wrote, got {recipe!r}"
        )
    return str(Path(recipe).expanduser().absolute())


def path(dataset: str) -> Path:
    """Return the file of a dataset's recipes that comes with the project, whether it is there or not."""
    return FOLDER / f"{dataset}.yaml"


def read(file: Path) -> tuple[Recipe, ...]:
    """Return the recipes of a file.

    Raises:
        CatalogError: no such file, or malformed; the message names the field.
    """
    try:
        found = _File.model_validate(yaml_files.read(file))
    except ValidationError as error:
        lines = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise CatalogError(f"{file}: not a file of recipes as `cmh tune` writes it: {lines}") from None
    keys = [one.key for one in found.recipes]
    if twice := sorted({", ".join(key) for key in keys if keys.count(key) > 1}):
        raise CatalogError(f"{file}: {twice[0]} has two recipes; delete one")
    return found.recipes


def dataset_of(file: Path) -> str:
    """Return the dataset that the recipes of a file, which was read, were found on."""
    return str(yaml_files.read(file)["dataset"])


def find(file: Path, method: str, images: str, texts: str) -> Recipe:
    """Return a file's recipe for a method on these features.

    Raises:
        CatalogError: the file has none, is not there or is malformed.
    """
    if not file.exists():
        raise CatalogError(
            f"{file}: there are no tuned recipes; `cmh tune {method} --dataset DATASET` writes a file of "
            "them; give it as --recipe FILE"
        )
    there = read(file)
    for one in there:
        if one.key == (method, images, texts):
            return one
    same = [f"{one.images}; texts as {one.texts}" for one in there if one.method == method]
    others = ", ".join(sorted({one.method for one in there})) or "no method"
    known = f"on {' | '.join(same)}" if same else f"of {others}"
    raise CatalogError(
        f"{file}: no recipe of {method} on {images}; texts as {texts}; there are recipes {known}; tune it "
        f"(`cmh tune {method} --dataset DATASET`) and give the file as --recipe FILE, or use --recipe short"
    )


def text(dataset: str, found: Sequence[Recipe]) -> str:
    """Return a file of recipes, as `read` takes it."""
    every = {one.key: one for one in found}
    fields = {"dataset": dataset, "recipes": [every[key].model_dump() for key in sorted(every)]}
    return _HEAD + yaml.safe_dump(fields, sort_keys=False, width=110)


def kept(file: Path, dataset: str) -> tuple[Recipe, ...]:
    """Return the recipes of a file to which those of a dataset are added; none where there is no file.

    Raises:
        CatalogError: there is another kind of file, or one of another dataset, or runs would not take it.
    """
    if file.suffix not in SUFFIXES:
        raise CatalogError(f"{file}: a file of recipes ends in {' or '.join(SUFFIXES)}; rename it")
    if not file.exists():
        return ()
    found = read(file)
    if (there := dataset_of(file)) != dataset:
        raise CatalogError(f"{file} holds recipes of {there}, not of {dataset}; name another file with --to")
    return found


def write(file: Path, dataset: str, new: Sequence[Recipe]) -> None:
    """Write recipes into a file, in place of those for the same method and features; others stay.

    Raises:
        CatalogError: as `kept`.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with _alone(file.parent):
        before = kept(file, dataset)
        draft = file.with_name(f".{file.name}.draft")
        draft.write_text(text(dataset, (*before, *new)), encoding="utf-8")
        draft.replace(file)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other search writes into a folder: each reads a file, adds its recipe and writes it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
