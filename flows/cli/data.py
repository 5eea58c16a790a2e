"""The commands that look at data: what a user's own is, and what the catalog knows."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from data_catalog import catalog as entries
from data_catalog.catalog import Entry
from flows.cli.terminal import Json, say, show
from infra import bucket

if TYPE_CHECKING:  # imports torch, which listing the catalog does not need
    from flows.inspection import Inspection


def inspect(
    path: Path | None = None,
    *,
    images: Path | None = None,
    items: Path | None = None,
    columns: str = "",
    every: Annotated[bool, Parameter(name="--all", negative="")] = False,
    as_json: Json = False,
) -> int:
    """Say what your data is and what a run would do with it; exit status 1 if it would stop.

    Parameters
    ----------
    path
        a folder or a file: a table, an archive, shards, features
    images
        the folder, zip or tar of the images, where PATH is a table and they are not beside it
    items
        the table, as of `cmh run`: the same as PATH
    columns
        what is read=the column that has it: image=path,text=caption,labels=tags
    every
        decode every image, however long it takes, and not only a sample
    """
    from flows import inspection
    from flows.experiment import Experiment

    given = path if items is None else items
    if path is not None and items is not None:
        first, table = bucket.as_written(path), bucket.as_written(items)
        raise ValueError(
            f"{first} and --items {table} both name the data; give one of them, or the images of the table "
            f"as --images: cmh inspect --images {first} --items {table}"
        )
    if given is None:
        alone = f"--images {bucket.as_written(images)} has no table" if images else "no data was given"
        raise ValueError(
            f"{alone}; give a folder or a file: cmh inspect photos/, or cmh inspect items.csv --images "
            "photos/"
        )
    if images is not None:
        experiment = Experiment(images=images, items=given, columns=columns)
    else:
        experiment = Experiment(dataset=str(given), columns=columns)
    found = inspection.inspect(experiment, every_image=every)
    if as_json:
        print(json.dumps(_plain(found)))
        return 1 if found.refusals else 0
    _print(found)
    if not found.refusals:
        say("\nGo on with", "bold")
        say(f"  {found.command}")
    return 1 if found.refusals else 0


def card(dataset: str | None = None, *, to: Path) -> None:
    """Write a folder that says what a dataset holds, for people and for machines.

    Parameters
    ----------
    dataset
        its address or tag (`cmh ls dataset`), by default the newest
    to
        a new folder: README.md, a sheet of pairs, histograms, the split as lists of ids, croissant.json
    """
    from flows import card as cards
    from infra import artifacts, stores, tags

    store = stores.open_store()
    address = artifacts.newest(store, "dataset") if dataset is None else tags.resolve(store, dataset)
    for path in cards.write(store, address, to):
        say(str(path))


def catalog(*words: str, protocol: str | None = None, as_json: Json = False) -> None:
    """List the datasets, or show one; where its files are here, with counts, pairs and the split.

    Parameters
    ----------
    words
        nothing, or a dataset, or a .yaml file; `show DATASET` is the same
    protocol
        the dataset as a line of papers takes it
    """
    name = words[-1] if words else None
    if len(words) > 1 and (words[0] != "show" or len(words) > 2):
        raise ValueError(f"{' '.join(words)!r} is not understood; write `cmh catalog show DATASET`")
    if name is None or name == "show":
        if protocol is not None:
            raise ValueError(f"--protocol {protocol} belongs to a dataset; give its name as well")
        listed = [entries.load(one) for one in entries.available()]
        rows = [
            {
                "dataset": e.name,
                "title": e.title,
                "counts": _counts(e.counts),
                "protocols": ", ".join(e.protocols),
            }
            for e in listed
        ]
        show(rows, as_json)
        return
    entry = entries.load(name)
    entry = entry if protocol is None else entry.under(protocol)
    if as_json:
        print(entry.model_dump_json())
        return
    _show(entry)


def _show(entry: Entry) -> None:
    say(entry.title, "bold")
    say(f"\n{entry.about}\n{entry.citation}")
    told = {"kind", "package", "version", "url", "path", "where", "licence"}
    show([{"source": n} | s.model_dump(include=told) for n, s in entry.sources.items()], False, "Sources")
    say(f"\nLabels ({len(entry.labels)}): {', '.join(entry.labels) or 'as the items have them'}")
    say(f"Split: {_counts(entry.split.model_dump(exclude_none=True))}\nCounts: {_counts(entry.counts)}")
    if entry.protocols:
        rows = [
            {"protocol": name, "version": one.version, "counts": _counts(one.counts), "about": one.about}
            for name, one in entry.protocols.items()
        ]
        show(rows, False, "Protocols")
    from flows import inspection, sources

    if not sources.are_here(entry):
        say("\nIts files are not here: counts are those of the catalog, and pairs cannot be shown.")
        return
    _print(inspection.describe(entry))


def _counts(counts: "dict[str, int] | dict[str, object]") -> str:
    return ", ".join(f"{what} {count}" for what, count in counts.items())


def _print(found: "Inspection") -> None:
    for section in found.sections:
        if section.lines or section.rows:
            say(f"\n{section.title}", "bold")
        for line in section.lines:
            say(f"  {line}")
        if section.rows:
            show(section.rows, False)
    if found.refusals:
        say("\nA run would stop", "bold red")
    for reason in found.refusals:
        say(reason)


def _plain(found: "Inspection") -> dict[str, object]:
    sections = {section.title: {"lines": section.lines, "rows": section.rows} for section in found.sections}
    return {"sections": sections, "refusals": found.refusals, "command": found.command}
