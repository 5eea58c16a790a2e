"""`cmh tune`: find settings of a method by validation, and write them down as a recipe."""

import shlex
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from cmh import methods
from data_catalog import recipes
from flows import suggestion
from flows import tune as tuning
from flows.cli.terminal import Json, say, show
from flows.experiment import TrainingSettings
from flows.resources import Resources
from flows.run import read_entry
from flows.tune import Tuned, Tuning
from infra import reachable, stores

What = Annotated[Tuning, Parameter(name="*")]
Where = Annotated[Resources, Parameter(name="*")]


def tune(
    wanted: What,
    resources: Where = Resources(),  # noqa: B008 - frozen
    *,
    to: Path | None = None,
    dry_run: Annotated[bool, Parameter(negative="", help="show what would be tried")] = False,
    as_json: Json = False,
) -> None:
    """Tune a method; its help is in `flows.cli.app`.

    Parameters
    ----------
    to
        file of recipes that receives the result, for --recipe; by default recipes/DATASET.yaml in CMH_HOME
    """
    if dry_run:
        planned = tuning.plan(wanted, resources)
        shallow = methods.is_shallow(wanted.method)  # without batches
        rows = [
            {"trial": number} | ({} if shallow else {"batch size": one.batch_size}) | one.settings
            for number, one in enumerate(planned, start=1)
        ]
        show([{name: row.get(name) for name in rows[-1]} for row in rows], as_json, "Plan")
        return
    name = read_entry(wanted.experiment).name
    file = (to or stores.home() / "recipes" / f"{name}.yaml").expanduser().absolute()
    recipes.kept(file, name)  # before hours of work: what is there must be recipes of this dataset
    reachable.check_prefect()
    tuned = tuning.tune(wanted, resources, None if as_json else lambda line: say(line, style="dim"))
    recipes.write(file, tuned.dataset, [tuned.recipe])
    if as_json:
        show([tuned.recipe.model_dump(mode="json") | {"file": str(file)}], as_json)
        return
    _show(tuned)
    say(f"recipe: {file}")
    say(f"next: {_next(wanted, file)}")


def _next(wanted: Tuning, file: Path) -> str:
    """Return the command that trains by the recipe; epochs and batch are in it."""
    data = wanted.experiment.model_copy(update={"training": TrainingSettings()})
    words = [f"--method={wanted.method}", f"--recipe={file}"]
    for group in ("backbone", "text"):  # a recipe is of what it was tuned on
        given = getattr(wanted, group)
        words += [f"--{group}.{field}={getattr(given, field)}" for field in sorted(given.model_fields_set)]
    if wanted.limit is not None:
        words.append(f"--limit={wanted.limit}")
    return f"{suggestion.command(data, data)} {shlex.join(words)}"


def _show(tuned: Tuned) -> None:
    recipe = tuned.recipe
    rows = [
        {"setting": name, "recipe": before, "tuned": now}
        for name, (before, now) in tuning.changes(tuned).items()
    ]
    show(rows, False, f"{recipe.method} on {tuned.dataset}, the best of {recipe.budget}")
    untuned = "its training failed" if recipe.untuned is None else f"{recipe.untuned:.4f}"
    failed = f"; {recipe.failed} trials failed" if recipe.failed else ""
    say(f"validation: {recipe.validation:.4f}; of the recipe as it stood: {untuned}{failed}")
