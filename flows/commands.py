"""The commands of `cmh` that run the pipeline or use its model; imported only when one of them is called."""

import time
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console

from cmh import comparison
from flows import compare as comparing
from flows import demo as demonstration
from flows import experiments, pipeline, retrieval
from flows.cli import Json, show, size
from flows.compare import Comparison
from flows.experiments import Experiment, Resources
from infra import artifacts, storage

_out = Console()

What = Annotated[Experiment, Parameter(name="*")]
Where = Annotated[Resources, Parameter(name="*")]
Many = Annotated[Comparison, Parameter(name="*", consume_multiple=True)]
DryRun = Annotated[
    bool, Parameter(negative="", help="show what would be computed, and what is there already")
]


def _command(until: str) -> Any:
    """A command that runs the pipeline as far as one stage; what it says of itself is in `flows.cli`."""

    def command(
        experiment: What = Experiment(),  # noqa: B008 - frozen
        resources: Where = Resources(),  # noqa: B008 - frozen
        *,
        dry_run: DryRun = False,
        as_json: Json = False,
    ) -> None:
        if dry_run:
            show([_planned(step) for step in pipeline.plan(experiment, until)], as_json, "Plan")
            return
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


def _tell(line: str) -> None:
    _out.print(line, style="dim", highlight=False)


def compare(
    wanted: Many = Comparison(),  # noqa: B008 - frozen
    resources: Where = Resources(),  # noqa: B008 - frozen
    *,
    as_json: Json = False,
) -> None:
    ref = comparing.compare(wanted, resources, None if as_json else _tell)
    made = artifacts.open_artifact(storage.open_store(), ref)
    summed = made.read_table("comparison.parquet")
    if as_json:
        show(summed.to_pylist(), as_json)
        return
    for dataset in wanted.datasets:
        for direction, arrow in comparison.ARROWS.items():
            show(comparison.table(summed, dataset, direction), as_json, f"{dataset}, {arrow}, MAP")
    _out.print(f"comparison: {made.local() / 'README.md'}")


def demo(resources: Where = Resources(), *, as_json: Json = False) -> None:  # noqa: B008 - frozen
    demonstration.show(experiments.emoji(), resources, as_json)


def search(
    words: str | None = None,
    *,
    image: Path | None = None,
    codes: str | None = None,
    top: int = 10,
    bits: int | None = None,
    sheet: Path | None = None,
    as_json: Json = False,
) -> None:
    """Find images by words, or images and words by an image.

    Parameters
    ----------
    words
        what the images should show; words that the model does not know do not count
    image
        an image file, in place of words
    codes
        address of the codes to search (`cmh ls codes`); by default the newest in the store
    top
        how many results
    bits
        compare the first so many bits only
    sheet
        write the images found to this PNG
    """
    if (words is None) == (image is None):
        raise ValueError('give words or an image: cmh search "red fruit", or cmh search --image apple.png')
    engine = retrieval.Engine.open(storage.open_store(), codes)
    if image is not None:
        pixels = retrieval.read_image(image, engine.model.facts.stored_size)
        found, title = engine.images_like(pixels, top, bits), image.name
        show([hit.shown() for hit in engine.words_for(pixels, top, bits)], as_json, f"Words for {title}")
    else:
        assert words is not None
        found, title = engine.images_for(words, top, bits), words
    show([hit.shown() for hit in found], as_json, f"Images for {title}")
    if sheet is not None:
        sheet.write_bytes(engine.sheet(title, found))
        if not as_json:
            _out.print(f"written: {sheet}")


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
    _out.print(f"{computed} of {len(steps)} stages computed in {seconds:.0f} s")
    last = artifacts.open_artifact(storage.open_store(), steps[-1].ref)
    if last.ref.kind == "report":
        _out.print(f"report: {last.local() / 'README.md'}")
