"""`cmh compare`: many runs beside each other; a file of its own, as it loads Prefect at once."""

from typing import Annotated

from cyclopts import Parameter

from cmh import methods
from cmh.evaluation import comparison, paired_tests
from flows import compare as comparing
from flows.cli.commands import DryRun, Where
from flows.cli.terminal import Json, say, show
from flows.compare import Comparison
from flows.resources import Resources
from infra import artifacts, reachable, stores

Many = Annotated[Comparison, Parameter(name="*", consume_multiple=True)]


def compare(
    wanted: Many = Comparison(),  # noqa: B008 - frozen
    resources: Where = Resources(),  # noqa: B008 - frozen
    *,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Run every method on every dataset, and print their tables; its help is in `flows.cli.app`."""
    if dry_run:
        rows = comparing.plan(wanted, resources)
        left = sum(row["to compute"] != "nothing" for row in rows)
        show(rows, as_json, f"Plan: {left} of {len(rows)} runs have something to compute")
        return
    reachable.check_prefect()
    comparing.checked(wanted, resources)  # before Prefect starts a server
    ref = comparing.compare(wanted, resources, None if as_json else _tell)
    made = artifacts.open_artifact(stores.open_store(), ref)
    summed, pairs = (made.read_table(f"{name}.parquet") for name in ("comparison", "pairs"))
    if as_json:
        show(summed.to_pylist(), as_json)
        return
    names = {name: methods.display_name(name) for name in summed["method"].to_pylist()}
    for dataset in dict.fromkeys(summed["dataset"].to_pylist()):
        for direction, arrow in comparison.ARROWS.items():
            title = f"{dataset}, {arrow}"
            metric = comparison.shown(summed, dataset)[0]
            rows = comparison.table(summed, dataset, direction, metric, names=names)
            show(rows, as_json, f"{title}, {comparison.METRICS[metric]}")
            if undecided := paired_tests.table(pairs, summed, dataset, direction, names=names):
                show(undecided, as_json, f"{title}, not told apart at {paired_tests.LEVEL:g}")
    say(f"comparison: {made.local() / 'README.md'}")


def _tell(line: str) -> None:
    say(line, style="dim")
