"""Files of tuned recipes: written, read, replaced; malformed ones are refused; those of the project work."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from cmh import methods
from data_catalog import recipes
from data_catalog.recipes import Budget, Recipe
from data_catalog.yaml_files import CatalogError

FIELDS: dict[str, Any] = {
    "method": "scm", "images": "some features", "texts": "words", "settings": {"ridge": 1e-5},
    "batch_size": None, "budget": Budget(trials=4, epochs=None), "bits": 16, "seed": 0, "validation": 0.5,
    "untuned": 0.4, "commit": "abc",
}  # fmt: skip


def test_what_is_written_is_read_and_only_the_same_is_replaced(tmp_path: Path) -> None:
    """A recipe for the same method and features takes the place of the one before."""
    file = tmp_path / "recipes" / "toy.yaml"
    first, other = Recipe(**FIELDS), Recipe(**FIELDS | {"texts": "minilm_l6_v2"})
    recipes.write(file, "toy", [first, other])
    better = Recipe(**FIELDS | {"validation": 0.6})
    recipes.write(file, "toy", [better])
    assert sorted(recipes.read(file), key=lambda one: one.texts) == [other, better]
    assert recipes.find(file, "scm", "some features", "words") == better
    assert str(better.budget) == "4 trials"
    assert [path.name for path in file.parent.iterdir()] == ["toy.yaml"]
    with pytest.raises(CatalogError, match="holds recipes of toy, not of other"):
        recipes.write(file, "other", [first])
    with pytest.raises(CatalogError, match=r"a file of recipes ends in \.yaml or \.yml"):
        recipes.write(tmp_path / "toy", "toy", [first])  # which --recipe would not take
    assert not (tmp_path / "toy").exists()


def test_searches_that_end_at_once_keep_all_recipes(tmp_path: Path) -> None:
    """Each reads the file, adds its own and writes it."""
    every = [Recipe(**FIELDS | {"texts": f"network {n}"}) for n in range(16)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda one: recipes.write(tmp_path / "toy.yaml", "toy", [one]), every))
    assert {one.texts for one in recipes.read(tmp_path / "toy.yaml")} == {one.texts for one in every}


def test_a_recipe_for_other_features_is_none(tmp_path: Path) -> None:
    """The message says what there is, and what makes one."""
    file = tmp_path / "toy.yaml"
    with pytest.raises(CatalogError, match="no tuned recipes; `cmh tune scm"):
        recipes.find(file, "scm", "some features", "words")
    recipes.write(file, "toy", [Recipe(**FIELDS)])
    with pytest.raises(CatalogError, match="on some features; texts as words; tune it"):
        recipes.find(file, "scm", "other features", "words")
    with pytest.raises(CatalogError, match="there are recipes of scm"):
        recipes.find(file, "cca", "some features", "words")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"settings": 3}, "recipes.0.settings"),
        ({"trials": 3}, "recipes.0.trials: Extra inputs"),
        ({"budget": {"trials": 0, "epochs": None}}, "recipes.0.budget.trials"),
    ],
)
def test_a_malformed_file_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    """With the file and the field; also when something is to be written into it."""
    file = tmp_path / "toy.yaml"
    fields = Recipe(**FIELDS).model_dump() | change
    file.write_text(yaml.safe_dump({"dataset": "toy", "recipes": [fields]}))
    with pytest.raises(CatalogError, match=f"toy.yaml: not a file of recipes.*{message}"):
        recipes.read(file)
    before = file.read_bytes()
    with pytest.raises(CatalogError):
        recipes.write(file, "toy", [Recipe(**FIELDS)])
    assert file.read_bytes() == before
    file.write_text("- a list")
    with pytest.raises(CatalogError, match="expected fields"):
        recipes.read(file)


def test_two_recipes_for_the_same_are_refused(tmp_path: Path) -> None:
    """Neither is the right one."""
    file = tmp_path / "toy.yaml"
    twice = [Recipe(**FIELDS).model_dump() for _ in range(2)]
    file.write_text(yaml.safe_dump({"dataset": "toy", "recipes": twice}))
    with pytest.raises(CatalogError, match="scm, some features, words has two recipes"):
        recipes.read(file)


@pytest.mark.parametrize("file", sorted(recipes.FOLDER.glob("*.yaml")), ids=lambda file: file.stem)
def test_the_projects_recipes_are_settings_of_their_methods(file: Path) -> None:
    """A renamed setting must not leave a recipe behind that nobody can run."""
    for recipe in recipes.read(file):
        short = methods.load(recipe.method).SHORT
        assert methods.config(recipe.method, bits=recipe.bits, **{**short, **recipe.settings})
        assert recipe.commit
