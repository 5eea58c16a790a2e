"""The commands of `cmh` that run the pipeline or use its model; imported only when one of them is called."""

import time
from typing import Annotated, Any

from cyclopts import Parameter

from flows import pipeline
from flows.cli import demo as demonstration
from flows.cli.terminal import Json, say, show, size
from flows.experiment import Experiment, emoji
from flows.resources import Resources
from infra import artifacts, reachable, stores

What = Annotated[Experiment, Parameter(name="*", consume_multiple=True)]
Where = Annotated[Resources, Parameter(name="*")]
DryRun = Annotated[
    bool, Parameter(negative="", help="show what would be computed, and what is there already")
]


def _command(until: str) -> Any:
    """Return a command that runs the pipeline as far as one stage.

    Its help is in `flows.cli.app`.
    """

    def command(
        experiment: What = Experiment(),  # noqa: B008 - frozen
        resources: Where = Resources(),  # noqa: B008 - frozen
        *,
        dry_run: DryRun = False,
        as_json: Json = False,
    ) -> None:
        if dry_run:
            show([_planned(step) for step in pipeline.plan(experiment, resources, until)], as_json, "Plan")
            return
        reachable.check_prefect()
        started = time.perf_counter()
        steps = pipeline.start(experiment, resources, until)
        _report(steps, time.perf_counter() - started, as_json)

    return command


run = _command("report")
preprocess = _command("dataset")
features = _command("features")
train = _command("model")
encode = _command("codes")
evaluate = _command("report")


def demo(resources: Where = Resources(), *, as_json: Json = False) -> None:  # noqa: B008 - frozen
    """Run the demonstration; its help is in `flows.cli.app`."""
    reachable.check_prefect()
    demonstration.show(emoji(), resources, as_json)


def _planned(step: pipeline.Planned) -> dict[str, Any]:
    return {
        "stage": step.stage,
        "state": step.state,
        "address": step.address or "(known when the stage before it is done)",
        "size": size(step.size) if step.size is not None else "",
    }


def _report(steps: list[pipeline.Done], seconds: float, as_json: bool) -> None:
    rows = [
        {"stage": s.ref.kind, "state": s.state, "seconds": f"{s.seconds:.1f}", "address": s.ref.address}
        for s in steps
    ]
    show(rows, as_json)
    if as_json:
        return
    computed = sum(s.state == "computed" for s in steps)
    say(f"{computed} of {len(steps)} stages computed in {seconds:.0f} s")
    last = artifacts.open_artifact(stores.open_store(), steps[-1].ref)
    if last.ref.kind == "report":
        say(f"report: {last.local() / 'README.md'}")
