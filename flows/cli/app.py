"""The command `cmh`: each command is a thin layer over a flow or a function of infra."""

import os
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Group, Parameter

from cmh import __version__
from cmh.training.failures import TrainingFailure
from flows.cli.explain import DEBUG, explain
from flows.cli.terminal import Json, say, show, size

_RUN = Group("Run the pipeline", sort_key=0)
_USE = Group("Use what it made", sort_key=1)
_KEEP = Group("Artifacts", sort_key=2)
_KNOW = Group("Find out", sort_key=3)

app = App(
    name="cmh",
    version=__version__,
    help="""Cross-modal hashing: images and texts become short binary codes that find each other.

A run is a chain of artifacts: images → dataset → features → model → codes → report. Each is computed once and
kept in the store (`CMH_STORE`, by default `.cmh/store`); a second run computes nothing.

Start with `cmh demo`, then `cmh run --images photos/ --items items.csv` for your own data.
With `--debug`, any command shows where in the code it failed.""",
)
app["--help"].group = app["--version"].group = Group("Parameters", show=False)

# Named, not imported: `cmh --help` answers at once, although a run imports torch, Ray and Prefect.
for _name, _help in {
    "demo": "Show the whole pipeline on real data: emoji of seven vendors, a few minutes on a laptop.",
    "run": "Run the whole pipeline, from the sources to the report.",
    "preprocess": "Fetch the sources, render the images, make texts, labels and the split.",
    "features": "Cache the features of the frozen backbone, after all that it needs.",
    "train": "Train a model, after all that it needs.",
    "encode": "Encode every image and text, after all that it needs.",
    "evaluate": "Measure retrieval in all four directions, after all that it needs.",
    "compare": "Run many methods, datasets, lengths and seeds, and set them beside each other in one table.",
}.items():
    app.command(f"flows.cli.commands:{_name}", name=_name, group=_RUN, help=_help)
for _name, _help in {
    "search": "Find items by words or by an image, among the codes of a run or in a collection of your own.",
    "index": "Encode your images or texts with a trained model; repeat it to add what is new.",
    "export": "Write codes for other programs: a FAISS index, or a table of ids and codes.",
}.items():
    app.command(f"flows.cli.commands:{_name}", name=_name, group=_USE, help=_help)


@app.command(group=_KEEP, name="ls")
def list_(kind: str | None = None, *, as_json: Json = False) -> None:
    """List the artifacts in the store.

    Parameters
    ----------
    kind
        only this kind: images, dataset, texts, features, model, codes, report or comparison
    """
    from infra import artifacts, stores

    store = stores.open_store()
    rows = []
    for address in artifacts.published(store, kind):
        try:
            m = artifacts.open_artifact(store, address).manifest
            files, total, content = len(m.files), size(sum(f.size for f in m.files.values())), m.content[:12]
        except artifacts.ArtifactError:
            files, total, content = None, "", "damaged"
        rows.append({"address": address, "files": files, "size": total, "content": content})
    show(rows, as_json, f"Artifacts in {store.url}")


@app.command(group=_KEEP)
def pull(address: str, to: Path | None = None, *, source: str | None = None) -> None:
    """Bring an artifact to this machine, verified file by file.

    Parameters
    ----------
    address
        as `cmh ls` prints it: kind/name/digest
    to
        store folder that receives it; by default the local store, `.cmh/store`
    source
        the store it comes from; by default `CMH_STORE`
    """
    from infra import stores, transfer

    folder = to or stores.home() / "store"
    store = stores.open_store(source)
    if store.url == stores.open_store(str(folder)).url:
        raise ValueError(f"{address} would be pulled from {store.url} into itself; set CMH_STORE or --source")
    transfer.pull(store, address, folder, _moved)
    say(f"{address} is in {folder}")


@app.command(group=_KEEP)
def push(address: str, target: str) -> None:
    """Copy an artifact to another store; it shows there only when it is whole.

    Parameters
    ----------
    address
        as `cmh ls` prints it: kind/name/digest
    target
        a folder or s3://bucket/prefix
    """
    from infra import stores, transfer

    transfer.push(stores.open_store(), stores.open_store(target), address, _moved)
    say(f"{address} is in {target}")


def _moved(name: str, count: int) -> None:
    say(f"  {name}  {size(count)}", style="dim")


@app.command(group=_KEEP)
def verify(address: str | None = None, *, as_json: Json = False) -> int:
    """Compare every file of an artifact, or of all, with its checksum; exit status 1 on damage.

    Parameters
    ----------
    address
        as `cmh ls` prints it: kind/name/digest; or the folder of a collection (`cmh index`)
    """
    from cmh import collection_files
    from infra import artifacts, stores

    if address and collection_files.is_collection(Path(address)):
        damage = collection_files.damage(Path(address), collection_files.read(Path(address)))
        if damage or as_json:
            show([{"collection": address, "problem": problem} for problem in damage], as_json, "Damaged")
        else:
            say(f"{address} is whole")
        return 1 if damage else 0
    store = stores.open_store()
    addresses = [address] if address else artifacts.published(store)
    problems = [
        {"address": one, "file": problem.path, "problem": problem.what}
        for one in addresses
        for problem in artifacts.verify(store, one)
    ]
    if problems or as_json:
        show(problems, as_json, "Damaged")
    else:
        say(f"{len(addresses)} artifacts are whole")
    return 1 if problems else 0


@app.command(group=_KEEP)
def rm(address: str) -> None:
    """Delete an artifact, so that the next run computes it anew: a damaged one, or one to make room.

    Refused within ten minutes of a write by a run that may be going on.

    Parameters
    ----------
    address
        as `cmh ls` prints it: kind/name/digest
    """
    from infra import stores, transfer

    store = stores.open_store()
    say(f"{address} is deleted from {store.url}: {size(transfer.remove(store, address))}")


@app.command(group=_KEEP)
def gc(
    *,
    dry_run: Annotated[bool, Parameter(negative="--delete")] = True,
    older_than: float = 24.0,
    as_json: Json = False,
) -> None:
    """Find what unfinished runs left behind; nothing is removed without --delete.

    Parameters
    ----------
    older_than
        hours since anything was written to it; a run that still goes on may have paused for less
    """
    from infra import stores, transfer

    found = transfer.gc(stores.open_store(), grace=older_than * 3600, dry_run=dry_run)
    rows = [{"left behind": a.path, "size": size(a.size), "idle": f"{a.idle / 3600:.0f} h"} for a in found]
    show(rows, as_json, "Would be removed" if dry_run else "Removed")


@app.command(group=_KNOW)
def catalog(name: str | None = None, *, as_json: Json = False) -> None:
    """List the datasets, or show one: sources, licences, labels, split.

    Parameters
    ----------
    name
        a dataset, or a .yaml file
    """
    from data_catalog import catalog as entries

    if name is None:
        listed = [entries.load(one) for one in entries.available()]
        counts = [", ".join(f"{count} {what}" for what, count in e.counts.items()) for e in listed]
        rows = [
            {"dataset": e.name, "title": e.title, "counts": c} for e, c in zip(listed, counts, strict=True)
        ]
        show(rows, as_json)
        return
    entry = entries.load(name)
    if as_json:
        print(entry.model_dump_json())
        return
    say(entry.title, "bold")
    say(f"\n{entry.about}\n{entry.citation}")
    told = {"kind", "package", "version", "url", "path", "where", "licence"}
    show([{"source": n} | s.model_dump(include=told) for n, s in entry.sources.items()], False, "Sources")
    say(f"\nLabels ({len(entry.labels)}): {', '.join(entry.labels) or 'as the items have them'}")
    say(f"Split: {entry.split.model_dump()}\nCounts: {entry.counts}")


@app.command(group=_KNOW)
def methods(name: str | None = None) -> None:
    """List the methods, or show one's settings, the paper's and the short recipe's, and its variants."""
    import dataclasses

    from cmh import methods as known
    from flows import variants

    if name is None:
        show([{"method": one, "what": known.summary(one)} for one in known.available()], False)
        return
    method, paper = known.load(name), known.config(name, bits=64)
    say(known.summary(name))
    show(
        [
            {"setting": f.name, "paper": getattr(paper, f.name), "short": method.SHORT.get(f.name)}
            for f in dataclasses.fields(paper)
        ],
        False,
    )
    if offered := variants.variants(name):
        show([{"variant": f"{name}:{n}", "changes": said} for n, said in offered.items()], False)


@app.command(group=_KNOW)
def doctor(*, as_json: Json = False) -> int:
    """Check versions, memory, disk, ports, settings and the store, and say how to mend what is wrong."""
    from infra import doctor as examination
    from infra import stores

    checks = examination.checks(stores.default_url())
    show(
        [
            {
                "": "ok" if c.ok else "FAILS",
                "check": c.name,
                "found": c.found,
                "remedy": "" if c.ok else c.remedy,
            }
            for c in checks
        ],
        as_json,
    )
    return 0 if all(c.ok for c in checks) else 1


def main() -> None:
    """Run the command line; what a user can mend is said in one line, and with --debug whole."""
    from infra import logging

    # The terminal is for progress and results; an error is said once, below.  Set them to see more.
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("DASK_LOGGING__DISTRIBUTED", "warning")
    # A cold or busy machine takes more than the default 20 s to import Prefect's server.
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "300")
    # Prefect makes its home but no folder above it, and could not open its database there.
    if prefect_home := os.environ.get("PREFECT_HOME"):
        Path(prefect_home).expanduser().mkdir(parents=True, exist_ok=True)
    logging.set_up()
    arguments = [argument for argument in sys.argv[1:] if argument != DEBUG]
    debug = len(arguments) < len(sys.argv) - 1
    try:
        sys.exit(app(arguments))
    except (ValueError, OSError, TrainingFailure) as error:  # OSError: as when a disk is full
        explain(error, debug=debug)
        sys.exit(2)
    except Exception as error:  # what nobody thought of: a fault of ours, in one line all the same
        error.add_note("unexpected: please report it with the output of the same command with --debug")
        explain(error, debug=debug)
        sys.exit(3)
