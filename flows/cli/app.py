"""The command `cmh`: each command is a thin layer over a flow or a function of infra."""

import os
import sys
from pathlib import Path

from cyclopts import App, Group

from cmh import __version__
from flows.cli.explain import DEBUG, explain, explain_options
from flows.cli.terminal import Json, say, show

_RUN = Group("Run the pipeline", sort_key=0)
_USE = Group("Use what it made", sort_key=1)
_KEEP = Group("Artifacts", sort_key=2)
_OPERATE = Group("Operate", sort_key=3)
_KNOW = Group("Find out", sort_key=4)

app = App(
    name="cmh",
    version=__version__,
    suppress_keyboard_interrupt=False,  # `main` does
    error_formatter=explain_options,
    help="""Cross-modal hashing: images and texts become short binary codes that find each other.

A run is a chain of artifacts: images → dataset → features → model → codes → report. Each is computed once and
kept in the store (`CMH_STORE`, by default `.cmh/store`); a second run computes nothing.

Start with `cmh demo`; for your own data with `cmh inspect PATH`, which ends with the command to go on.
With `--debug`, any command shows where in the code it failed.""",
)
app["--help"].group = app["--version"].group = Group("Parameters", show=False)

# Named, not imported: `cmh --help` answers at once, although a run imports torch, Ray and Prefect.
for _group, _commands in {
    _RUN: {
        "commands:demo": "Show the whole pipeline on real data: emoji of seven vendors, in a few minutes.",
        "commands:run": "Run the whole pipeline, from the sources to the report.",
        "commands:preprocess": "Fetch the sources, render the images, make texts, labels and the split.",
        "commands:features": "Cache the features of the frozen backbone, after all that it needs.",
        "commands:train": "Train a model, after all that it needs.",
        "commands:encode": "Encode every image and text, after all that it needs.",
        "commands:evaluate": "Measure retrieval in all four directions, after all that it needs.",
        "compare:compare": "Run many methods, datasets, lengths and seeds, and set them beside each other.",
        "tune:tune": "Find settings of a method for a dataset by its validation items: a recipe for runs.",
    },
    _USE: {
        "search:search": "Find items by words or by an image, in a collection or among the codes of a run.",
        "collections:index": "Encode your images or texts; repeat it to add what is new.",
        "serve:serve": "Search a collection in a browser.",
        "collections:remove": "Remove items from a collection.",
        "collections:merge": "Merge collections that were made with the same model.",
        "collections:compact": "Join the small parts of a collection.",
        "search:export": "Write codes as a FAISS index or a table, or a model as ONNX, for other programs.",
    },
    _KEEP: {
        "store:ls": "List the artifacts in the store.",
        "lineage:runs": "List the finished runs in the store, with figures, times and core-hours.",
        "lineage:show": "Show where a run or an artifact comes from, from pixels to figures.",
        "lineage:diff": "Show what differs between two runs or artifacts, and where it began.",
        "store:tag": "Give an artifact a name that can move on, such as model/scahn-emoji@production.",
        "store:pull": "Bring an artifact to this machine, verified file by file.",
        "store:push": "Copy an artifact to another store; it shows there only when it is whole.",
        "store:verify": "Compare every file of an artifact, or of all, with its checksum.",
        "store:rm": "Delete an artifact, so that the next run computes it anew.",
        "store:gc": "Find what unfinished runs left behind, and old artifacts; removed only with --delete.",
    },
    _OPERATE: {
        "deploy:deploy": "Deploy to a Prefect server what a team schedules and watches.",
        "stack:up": "Start Prefect, a worker, Ray, Dask and S3 on this machine, and deploy to them.",
        "stack:status": "Show the servers of `cmh up`: which answer, and where.",
        "stack:down": "End the servers of `cmh up`; what they keep stays.",
        "metrics:metrics": "Print or serve what the runs of this machine have done, for Prometheus.",
    },
    _KNOW: {
        "data:inspect": "Say what your own data is, and what a run would do with it, before anything runs.",
        "data:card": "Write what a dataset of the store holds: pictures, splits, Croissant.",
        "data:catalog": "List the datasets, or show one: sources, licences, split, protocols, counts.",
    },
}.items():
    for _place, _help in _commands.items():
        app.command(f"flows.cli.{_place}", name=_place.partition(":")[2], group=_group, help=_help)


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
    from infra import logging, signals

    # The terminal is for progress and results; an error is said once, below.  Set them to see more.
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
    os.environ.setdefault("PREFECT_LOGGING_INTERNAL_LEVEL", "CRITICAL")
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
    signals.end_soon()
    try:
        sys.exit(app(arguments))
    except Exception as error:
        sys.exit(signals.status() or explain(error, debug=debug))
    except KeyboardInterrupt:
        sys.exit(signals.status())
