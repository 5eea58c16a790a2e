"""The commands of `cmh` that make and change collections; imported only when one of them is called."""

from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pyarrow.compute as pc
from cyclopts import Parameter

from cmh.codes.embeddings import Kind
from cmh.collection_files import changes, uploads
from cmh.collection_files.merge import merge as merge_collections
from flows import preflight
from flows.cli.terminal import Json, say, show
from flows.index import add, change
from flows.index_sources import split_columns
from flows.resources import Resources
from infra import bucket, stores, tags

Flag = Annotated[bool, Parameter(negative="")]


def index(
    source: Path,
    *,
    to: Path,
    model: str | None = None,
    weights: Path | None = None,
    bits: int | None = None,
    embeddings: Kind | None = None,
    columns: str | None = None,
    root: Path | None = None,
    prune: Flag = False,
    threads: int = Resources().threads,
    dask: str | None = Resources().dask,
    as_json: Json = False,
) -> None:
    """Encode images or texts, in folders, shards or tables; repeat it to add what is new.

    What changed is encoded again.  Only one process at a time changes a collection.

    Parameters
    ----------
    source
        a folder of images, searched with all folders and links in it, also for tars (webdataset) and Parquet
        files that hold images; one such file; a .txt file with one text a line; or a .csv, .tsv, .parquet or
        .jsonl with the column `text` and, if you like, `id`.  Other columns of shards and tables are kept
    to
        folder of the collection, new or to be added to; it holds the model too, and can be moved
    model
        of a new collection: an address or tag (`cmh ls model`), by default the newest; a folder with a model,
        such as another collection; or clip_vit_b32, which needs no training: codes are learnt from the images
    weights
        file of the weights of clip_vit_b32; by default OpenAI's, fetched once
    bits
        length of codes that are learnt from the images; by default 64
    embeddings
        of a new collection: keep relaxed embeddings as int8 (the default) or float16, by which results are
        put into order, or none
    columns
        a .csv, .tsv, .parquet or .jsonl of your own columns: `image` (or `name`, `file_name`; of texts `text`
        or `id`) says of which item, the others are shown with it and can be used in `cmh search --where`; or
        which column of the source is what, as of `cmh run`: text=title,labels=tags
    root
        of a new collection: the folder that names are relative to, by default the source; of one that is
        there: where that folder is now
    prune
        remove images of the source that are no longer there
    threads
        CPU threads of this machine
    dask
        address of a Dask scheduler whose workers see the same folders, by default DASK_SCHEDULER_ADDRESS;
        without any, threads of this process encode
    """
    resources = Resources(threads=threads, dask=dask)
    preflight.check_resources(resources)
    store = stores.open_store()
    if model is not None and model.startswith("model/"):
        model = tags.resolve(store, model)
    columns_file, given = split_columns(columns)
    done = add(
        store, source, to, model, resources, prune=prune, weights=weights, bits=bits,
        embeddings=embeddings, root=root, columns_file=columns_file, given=given,
    )  # fmt: skip
    rejected = [{"rejected": name, "reason": reason} for name, reason in done.rejected.items()]
    if as_json:
        show(
            [
                {"added": done.items, "known": done.known, "changed": done.changed, "gone": done.gone}
                | {"pruned": prune, "rejected": done.rejected, "skipped": dict(done.skipped)}
                | {"columns of no item": done.unnamed}
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
        say(f"{len(done.gone)} that are gone from {bucket.as_written(source)} {told}, such as {done.gone[0]}")
    if done.skipped:
        others = ", ".join(f"{count} {suffix}" for suffix, count in sorted(done.skipped.items())[:8])
        say(f"{done.skipped.total()} other files were not read: {others}")
    if done.unnamed:
        say(f"{len(done.unnamed)} row(s) of {columns} name no item, such as {done.unnamed[0]}")


def remove(place: Path, *items: str) -> None:
    """Remove items from a collection; their files stay.

    Parameters
    ----------
    place
        folder of the collection
    items
        names, as a search shows them, or paths of images; a folder stands for all images below it
    """
    if not items:
        raise ValueError(
            f"nothing to remove from {place} was named; give names of items, as `cmh search` shows them, or "
            "paths of images"
        )
    with change(place) as contents:
        names = [name for part in changes.read_parts(place, contents) for name in part.ids.tolist()]
        doomed: set[str] = set()
        for item in items:
            found = {item} & set(names)
            if not found and contents.what == "image" and item.strip():
                path = Path(item).resolve()
                if Path(contents.root).is_relative_to(path):
                    raise ValueError(
                        f"{item!r} is {path}, which holds all of {place}; nothing was removed: name images "
                        f"or folders below {contents.root}, or delete the folder {place} to be rid of it"
                    )
                places = {name: contents.path(place, name) for name in names}
                found = {name for name, here in places.items() if here == path or here.is_relative_to(path)}
            if not found:
                raise ValueError(
                    f"{place} holds no {contents.what} {item!r}; nothing was removed: name items as "
                    "`cmh search` shows them"
                )
            doomed |= found
        contents = changes.remove(place, contents, doomed)
        uploads.sweep(place, contents)
    say(f"{len(doomed)} removed from {place}, {contents.items} left")


def merge(first: Path, *others: Path, to: Path) -> None:
    """Merge collections that were made with the same model into a new one; the others stay as they are.

    Parameters
    ----------
    first
        folder of a collection
    others
        folders of the others; an item that several have is kept as the last one has it
    to
        folder of the new collection
    """
    if not others:
        raise ValueError(f"merging takes two collections or more; got {first} alone")
    merged = merge_collections([first, *others], to)
    say(f"{merged.items} items of {1 + len(others)} collections are in {to}")


def compact(place: Path) -> None:
    """Join the small parts of a collection, which many additions leave, and drop columns of removed items.

    Parameters
    ----------
    place
        folder of the collection
    """
    with change(place) as contents:
        before, table = len(contents.parts), changes.read_columns(place, contents)
        contents = changes.compact(place, contents)
        uploads.sweep(place, contents)
        if table is not None:
            ids = [name for part in changes.read_parts(place, contents) for name in part.ids.tolist()]
            changes.set_columns(
                place, contents, table.filter(pc.is_in(table["name"], value_set=pa.array(ids, pa.string())))
            )
    say(f"{contents.items} items of {place}: {before} parts are now {len(contents.parts)}")
