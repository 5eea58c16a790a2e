"""Add images or texts to a collection (`cmh.collection`): what is new is encoded.

What is in the collection is not encoded again: to add what is new in a folder, or to go on after an addition
was broken off, add the folder once more.  An image is known by its path below the collection's root, on which
a tar or Parquet file counts as a folder; if the size or time of its file differs, its contents are compared,
and if these differ too, it is encoded again.  A text is known by its id, or by itself, and encoded again if
it differs.
"""

import hashlib
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from cmh.codes.embeddings import Kind
from cmh.collection_files import changes, manifest
from cmh.collection_files.manifest import Contents
from cmh.collection_files.parts import FileState, Items, code_length
from cmh.data import columns, shard_images
from cmh.data.sides import Side
from flows import index_encoding, index_model, index_sources, prefect_ui
from flows.index_sources import Added, Images
from flows.resources import Resources
from infra import bucket, metrics
from infra.storage import Store


def add(
    store: Store,
    source: Path,
    to: Path,
    model: str | None,
    resources: Resources,
    *,
    prune: bool = False,
    weights: Path | None = None,
    bits: int | None = None,
    embeddings: Kind | None = None,
    root: Path | None = None,
    columns_file: Path | None = None,
    given: Mapping[str, str] | None = None,
) -> Added:
    """Add images or texts to the collection in the folder `to`.

    Args:
        store: where models are.
        source: a folder of images, tars or Parquet files that hold some, one such file, or a file of texts;
            or an s3 address of one.
        to: the collection, new or to be added to.
        model: of a new collection, see `flows.index_model.provide`.
        resources: threads, and Dask.
        prune: remove images below the source that are no longer there.
        weights: of the networks, for a model that is learnt here.
        bits: of the codes, for a model that is learnt here.
        embeddings: how a new collection keeps relaxed embeddings; None: as int8.
        root: folder that names are relative to; of a collection that is there, where it is now.
        columns_file: columns of one's own to add, see `cmh.data.columns`.
        given: what a column of the source is → the column that is it, such as {"text": "title"}.

    Raises:
        ValueError: if `source` is neither, or `to` holds something else or items of the other kind, or the
            model cannot be searched with, or another process changes the collection.
    """
    is_new = not manifest.is_collection(to)
    if is_new:
        _check_free(to)  # before anything is fetched
    source = bucket.here(source)
    what: Side = "image" if index_sources.holds_images(source) else "text"
    if what == "text" and (prune or root):
        option = "--prune" if prune else "--root"
        raise ValueError(f"{source} holds texts, and {option} is for images; leave it out")
    given, done = given or {}, Added()
    found = index_sources.images(source, given, done, to) if what == "image" else Images([], {}, [])
    texts, own = index_sources.texts(source, given) if what == "text" else ({}, None)
    if columns_file is not None:
        own = columns.update(own, columns.read(columns_file, what))
    if not is_new:
        _check_same(to, what, model, weights, bits, embeddings)
    else:
        base = str((root or (source if source.is_dir() else source.parent)).resolve())
        carried = index_sources.shard_tables(found, found.shards, given, Path(base))
        said = columns.captions(own) or columns.captions(carried)
        with index_model.provide(
            store, model, list(found.paths), captions=said, weights=weights, bits=bits, resources=resources
        ) as (folder, address):
            kind = embeddings or "int8"
            changes.create(to, folder, what, address, root=base if what == "image" else "", embeddings=kind)
    with change(to) as contents:
        if root is not None and str(root.resolve()) != contents.root:
            contents = changes.set_root(to, contents, str(root.resolve()))
        if what == "image":
            _add_images(to, contents, source, found, given, resources, done, prune)
        else:
            _add_texts(to, contents, texts, resources, done)
        contents = manifest.read(to)
        if own is not None:
            done.unnamed = _add_columns(to, contents, own)
    done.rejected = {bucket.as_addresses(k): bucket.as_addresses(v) for k, v in done.rejected.items()}
    metrics.add(metrics.ITEMS, done.items, stage="index")
    metrics.add(metrics.REJECTED, len(done.rejected), dataset=to.name)
    metrics.write()
    if done.rejected and not done.items and not contents.parts:
        name, reason = next(iter(done.rejected.items()))
        if is_new:
            shutil.rmtree(to)
        raise ValueError(
            f"none of the {len(done.rejected)} {what}s of {source} can be encoded; {name}: {reason}"
        )
    return done


@contextmanager
def change(folder: Path) -> Iterator[Contents]:
    """Hold a collection for changes, and give what is in it, once it is seen to be whole.

    Raises:
        ValueError: if there is none, it is damaged, or another process changes it.
    """
    manifest.read(folder)
    with changes.lock(folder):
        contents = manifest.read(folder)
        changes.check(folder, contents)
        yield contents


def _add_images(
    to: Path,
    contents: Contents,
    source: Path,
    found: Images,
    given: Mapping[str, str],
    resources: Resources,
    done: Added,
    prune: bool,
) -> None:
    known, root = changes.states(to, contents), Path(contents.root)
    named = {index_sources.name_of(path, root): (path, file) for path, file in found.paths.items()}
    changed, touched = _changed(named, known)
    waiting = [(name, str(path)) for name, (path, _) in named.items() if name not in known or name in changed]
    # Columns before items and states: what is broken off in between is done again.
    shards = dict.fromkeys(named[name][1] for name in (*(name for name, _ in waiting), *touched))
    carried = index_sources.shard_tables(found, [one for one in shards if one in found.shards], given, root)
    if carried is not None:
        contents = _set_columns(to, contents, carried)
    if touched:
        contents = changes.set_states(to, contents, touched)
    missing = {
        name: contents.path(to, name)
        for name in known.keys() - named.keys()
        if not name.startswith(manifest.UPLOAD)
    }
    done.gone = sorted(
        name
        for name, path in missing.items()
        if path.is_relative_to(source.resolve()) and not any(map(path.is_relative_to, found.unread))
    )
    if prune and done.gone:
        contents = changes.remove(to, contents, set(done.gone))
    done.changed, done.known = len(changed), len(named) - len(waiting)
    if not waiting:
        return
    with prefect_ui.progress("encoding images", len(waiting)) as advance:
        model = to / "model"
        for items, rejected in index_encoding.encode_images(waiting, model, contents.embeddings, resources):
            here = {*items.names, *rejected}
            contents = _put(to, contents, items, done, rejected, replaced=changed & here)
            advance(len(here))


def _add_texts(
    to: Path, contents: Contents, texts: Mapping[str, str], resources: Resources, done: Added
) -> None:
    there = changes.texts(to, contents)
    waiting = [(name, text) for name, text in texts.items() if there.get(name) != text]
    changed = {name for name, _ in waiting if name in there}
    done.known, done.changed = len(texts) - len(waiting), len(changed)
    if not waiting:
        return
    with prefect_ui.progress("encoding texts", len(waiting)) as advance:
        model = to / "model"
        for items, rejected in index_encoding.encode_texts(waiting, model, contents.embeddings, resources):
            here = {*items.names, *rejected}
            # A text that was named by itself, and now has an id, is there once.
            named = {texts[name] for name in items.names if there.get(texts[name]) == texts[name]}
            contents = _put(to, contents, items, done, rejected, replaced=changed & here | named)
            advance(len(here))


def _put(
    to: Path,
    contents: Contents,
    items: Items,
    done: Added,
    rejected: dict[str, str],
    replaced: set[str] = frozenset(),  # type: ignore[assignment]
) -> Contents:
    """Add what was encoded as a part, in one step with what it replaces."""
    done.rejected |= rejected
    done.items += len(items.names)
    if items.names:
        return changes.add_part(
            to, contents, items.codes_NP, items.names, items.files, items.embeddings_NK,
            texts=items.texts, replaced=replaced,
        )  # fmt: skip
    return changes.remove(to, contents, replaced) if replaced else contents


def _changed(
    named: dict[str, tuple[Path, Path]], known: dict[str, FileState]
) -> tuple[set[str], dict[str, FileState]]:
    """Return which images changed since they were encoded, and new states of those whose file alone did.

    An image whose file has vanished since it was listed leaves `named`.
    """
    changed: set[str] = set()
    touched: dict[str, FileState] = {}
    states: dict[Path, FileState] = {}
    for name, (path, file) in [(name, place) for name, place in named.items() if name in known]:
        before, inside = known[name], path != file
        try:
            now = states.get(file) or states.setdefault(file, FileState.of(file))
            if (now.size, now.modified) == (before.size, before.modified):
                continue
            if not inside and now.size != before.size:
                changed.add(name)
                continue
            data = shard_images.read_bytes(path, in_order=True)
        except FileNotFoundError:
            del named[name]
            continue
        except (OSError, ValueError):  # encoding says why
            changed.add(name)
            continue
        if hashlib.sha256(data).hexdigest() == before.sha256:
            touched[name] = replace(now, sha256=before.sha256)
        else:
            changed.add(name)
    return changed, touched


def _set_columns(to: Path, contents: Contents, new: pa.Table) -> Contents:
    return changes.set_columns(to, contents, columns.update(changes.read_columns(to, contents), new))


def _add_columns(to: Path, contents: Contents, new: pa.Table) -> list[str]:
    """Add columns of one's own; return the names in them that are no item's."""
    ids = [name for part in changes.read_parts(to, contents) for name in part.ids.tolist()]
    _set_columns(to, contents, new)
    unknown = pc.invert(pc.is_in(new["name"], value_set=pa.array(ids, pa.string())))
    return list(new["name"].filter(unknown).to_pylist())


def _check_same(
    to: Path,
    what: Side,
    model: str | None,
    weights: Path | None,
    bits: int | None,
    embeddings: Kind | None,
) -> None:
    """Refuse what an existing collection does not take."""
    contents = manifest.read(to)
    if contents.what != what:
        raise ValueError(f"{to} holds {contents.what}s, and these are {what}s; give another --to")
    if model is not None and index_model.address(model) != contents.model:
        raise ValueError(
            f"{to} was encoded with {contents.model}, not {model}, and their codes cannot be compared; "
            "leave out --model, or give another --to"
        )
    length = code_length(to)
    if weights is not None or bits not in (None, length) or embeddings not in (None, contents.embeddings):
        raise ValueError(
            f"{to} has its model, with codes of {length} bits and embeddings kept as {contents.embeddings}; "
            "leave out --weights, --bits and --embeddings, or give another --to"
        )


def _check_free(to: Path) -> None:
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise ValueError(f"{to} is there and is no collection; give a new folder as --to")
