"""The commands of `cmh` that run the pipeline or use its model; imported only when one of them is called."""

import os
import time
import uuid
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from cmh import collection, collection_files, methods
from cmh.codes import index_files
from cmh.data import batches, images
from cmh.evaluation import comparison
from flows import compare as comparing
from flows import pipeline, preflight
from flows.cli import demo as demonstration
from flows.cli.terminal import Json, say, show, size
from flows.compare import Comparison
from flows.experiment import Experiment, Resources, emoji
from flows.index import add
from flows.search import all_codes, open_run
from infra import artifacts, reachable, stores

What = Annotated[Experiment, Parameter(name="*")]
Where = Annotated[Resources, Parameter(name="*")]
Many = Annotated[Comparison, Parameter(name="*", consume_multiple=True)]
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


def _tell(line: str) -> None:
    say(line, style="dim")


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
    ref = comparing.compare(wanted, resources, None if as_json else _tell)
    made = artifacts.open_artifact(stores.open_store(), ref)
    summed = made.read_table("comparison.parquet")
    if as_json:
        show(summed.to_pylist(), as_json)
        return
    names = {name: methods.display_name(name) for name in summed["method"].to_pylist()}
    for dataset in dict.fromkeys(summed["dataset"].to_pylist()):
        for direction, arrow in comparison.ARROWS.items():
            show(
                comparison.table(summed, dataset, direction, names=names), as_json, f"{dataset}, {arrow}, MAP"
            )
    say(f"comparison: {made.local() / 'README.md'}")


def demo(resources: Where = Resources(), *, as_json: Json = False) -> None:  # noqa: B008 - frozen
    """Run the demonstration; its help is in `flows.cli.app`."""
    reachable.check_prefect()
    demonstration.show(emoji(), resources, as_json)


def search(
    words: str | None = None,
    *,
    image: Path | None = None,
    codes: str | None = None,
    index: Path | None = None,
    top: int = 10,
    bits: int | None = None,
    sheet: Path | None = None,
    as_json: Json = False,
) -> None:
    """Find items by words or by an image.

    Parameters
    ----------
    words
        what to look for; words that the model does not know do not count
    image
        an image file, in place of words
    codes
        address of the codes to search (`cmh ls codes`); by default the newest in the store
    index
        folder of a collection to search (`cmh index`), in place of codes
    top
        how many results
    bits
        compare the first so many bits only
    sheet
        write the images found to this PNG
    """
    if (words is None) == (image is None):
        raise ValueError('give words or an image: cmh search "red fruit", or cmh search --image apple.png')
    if codes is not None and index is not None:
        raise ValueError("give --codes, of a run, or --index, a collection of your own; not both")
    engine = collection.open_collection(index) if index is not None else open_run(stores.open_store(), codes)
    if image is not None:
        pixels = images.read_image(image, engine.model.facts.stored_size)
        found, title = engine.for_image(pixels, top, bits), image.name
        show([hit.shown() for hit in engine.words_for(pixels, top, bits)], as_json, f"Words for {title}")
    else:
        assert words is not None
        found, title = engine.for_words(words, top, bits), words
    show([hit.shown() for hit in found], as_json, f"{engine.what.title()}s for {title}")
    if sheet is not None:
        sheet.write_bytes(engine.sheet(title, found))
        if not as_json:
            say(f"written: {sheet}")


def index(
    source: Path,
    *,
    to: Path,
    model: str | None = None,
    prune: Annotated[bool, Parameter(negative="")] = False,
    threads: int = Resources().threads,
    dask: str | None = None,
    as_json: Json = False,
) -> None:
    """Encode a folder of images, or a text file, with a trained model; repeat it to add what is new.

    Images that changed are encoded again.  Only one process at a time changes a collection.

    Parameters
    ----------
    source
        a folder of images, searched with all folders and links in it, or a .txt file with one text a line
    to
        folder of the collection, new or to be added to; it holds the model too, and can be moved
    model
        address of the model (`cmh ls model`) of a new collection; by default the newest in the store
    prune
        remove images of this folder whose file is no longer there
    threads
        CPU threads of this machine
    dask
        address of a Dask scheduler whose workers see the same folders; without it, Dask is started here
    """
    resources = Resources(threads=threads, dask=dask)
    preflight.check_resources(resources)
    done = add(stores.open_store(), source, to, model, resources, prune=prune)
    rejected = [{"rejected": name, "reason": reason} for name, reason in done.rejected.items()]
    if as_json:
        show(
            [
                {"added": done.items, "known": done.known, "changed": done.changed, "gone": done.gone}
                | {"pruned": prune, "rejected": done.rejected, "skipped": dict(done.skipped)}
            ],
            as_json,
        )
        return
    if rejected:
        show(rejected, as_json, "Rejected")
    say(f"{done.items} added to {to}, {done.known} were there, {len(rejected)} rejected")
    if done.changed:
        say(f"{done.changed} of these had changed and were encoded again")
    if done.gone:
        told = "were removed" if prune else "stay in the collection; --prune removes them"
        say(f"{len(done.gone)} whose file is gone {told}, such as {done.gone[0]}")
    if done.skipped:
        others = ", ".join(f"{count} {suffix}" for suffix, count in sorted(done.skipped.items())[:8])
        say(f"{done.skipped.total()} other files were not read: {others}")


def export(
    source: str,
    to: Path,
    *,
    side: Annotated[batches.Side, Parameter(negative="")] = "image",
) -> None:
    """Write codes for other programs: a FAISS index (.faiss) or a table of ids and codes (.parquet).

    Row i of the FAISS index, an IndexBinaryFlat, is row i of the table.

    Parameters
    ----------
    source
        folder of a collection (`cmh index`), or address of codes in the store (`cmh ls codes`)
    to
        the file to write, .faiss or .parquet
    side
        of the codes of a run: those of the images, or of the texts
    """
    writers = {".faiss": index_files.export_faiss, ".parquet": index_files.export_parquet}
    if to.suffix not in writers:
        raise ValueError(f"{to} is to end with {' or '.join(writers)}, which says what is written")
    if collection_files.is_collection(Path(source)):
        codes = collection.all_codes(Path(source))
    else:
        codes = all_codes(stores.open_store(), source, side)
    draft = to.with_name(f".{to.name}-{uuid.uuid4().hex}")
    try:
        writers[to.suffix](codes, draft)
        with open(draft, "rb") as file:
            os.fsync(file.fileno())
        draft.replace(to)
    finally:
        draft.unlink(missing_ok=True)  # where a disk was full
    say(f"{len(codes)} codes of {codes.bits} bits written: {to}")


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
