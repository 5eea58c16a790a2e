"""The commands that list, move, check, tag and remove artifacts; each takes an address or a tag."""

import math
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from flows.cli.terminal import Json, say, show, size
from infra import artifacts, stores, tags, transfer
from infra.manifest import Manifest

KINDS = ("images", "dataset", "texts", "features", "model", "codes", "report", "comparison")


def ls(kind: str | None = None, *, as_json: Json = False) -> None:
    """List the artifacts in the store.

    Parameters
    ----------
    kind
        only this kind: images, dataset, texts, features, model, codes, report or comparison
    """
    if kind is not None and kind not in KINDS:
        raise ValueError(f"{kind!r} is no kind of artifact; there are {', '.join(KINDS)}")
    store = stores.open_store()
    named: dict[str, list[str]] = {}
    for tag, meant in tags.every(store).items():
        named.setdefault(meant.address, []).append(tag.partition("@")[2])
    rows = []
    for address, m in artifacts.manifests(store, kind).items():
        if isinstance(m, Manifest):
            files, total, content = len(m.files), size(m.size), m.content[:12]
        else:
            files, total, content = None, "", "damaged"
        rows.append({"address": address, "files": files, "size": total, "content": content})
        if named:
            rows[-1]["tags"] = ", ".join(named.get(address, []))
    show(rows, as_json, f"Artifacts in {store.url}")


def tag(
    name: str | None = None,
    address: str | None = None,
    *,
    delete: Annotated[bool, Parameter(negative="")] = False,
    as_json: Json = False,
) -> None:
    """Give an artifact a tag, and take the tag from the artifact that had it; without arguments, list all.

    Every command that takes an address takes the tag as well.

    Parameters
    ----------
    name
        the tag: kind/name@tag, as in model/scahn-emoji@production
    address
        the artifact, as `cmh ls` prints it, or another tag of it
    delete
        take the tag away; the artifact stays
    """
    store = stores.open_store()
    if name is None:
        rows = [{"tag": one, "address": meant.address} for one, meant in sorted(tags.every(store).items())]
        show(rows, as_json, f"Tags in {store.url}")
        return
    if delete == (address is not None):
        given = f"--delete and {address} were" if delete else f"only {name} was"
        raise ValueError(f"{given} given; give a tag and an address, or a tag and --delete")
    if address is None:
        tags.delete(store, name)
        say(f"{name} is taken away; the artifact stays")
        return
    meant = tags.put(store, name, tags.resolve(store, address))
    say(f"{name} is {meant.address}")


def pull(address: str, to: Path | None = None, *, source: str | None = None) -> None:
    """Bring an artifact to this machine, verified file by file.

    Parameters
    ----------
    address
        as `cmh ls` prints it: kind/name/digest; or a tag: kind/name@tag
    to
        store folder that receives it; by default the local store, `.cmh/store`
    source
        the store it comes from; by default `CMH_STORE`
    """
    folder = to or stores.home() / "store"
    store = stores.open_store(source)
    if store.url == stores.open_store(str(folder)).url:
        raise ValueError(f"{address} would be pulled from {store.url} into itself; set CMH_STORE or --source")
    address = tags.resolve(store, address)
    transfer.pull(store, address, folder, _moved)
    say(f"{address} is in {folder}")


def push(address: str, target: str) -> None:
    """Copy an artifact to another store; it shows there only when it is whole.

    Parameters
    ----------
    address
        as `cmh ls` prints it: kind/name/digest; or a tag: kind/name@tag
    target
        a folder or s3://bucket/prefix
    """
    store = stores.open_store()
    address = tags.resolve(store, address)
    transfer.push(store, stores.open_store(target), address, _moved)
    say(f"{address} is in {target}")


def _moved(name: str, count: int) -> None:
    say(f"  {name}  {size(count)}", style="dim")


def verify(address: str | None = None, *, as_json: Json = False) -> int:
    """Compare every file of an artifact, or of all, with its checksum; exit status 1 on damage.

    Parameters
    ----------
    address
        as `cmh ls` prints it: kind/name/digest; a tag: kind/name@tag; or the folder of a collection
        (`cmh index`)
    """
    from cmh.collection_files import changes, manifest, uploads

    if address and manifest.is_collection(Path(address)):
        contents = manifest.read(Path(address))
        damage = changes.damage(Path(address), contents) + uploads.damage(Path(address), contents)
        if damage or as_json:
            show([{"collection": address, "problem": problem} for problem in damage], as_json, "Damaged")
        else:
            say(f"{address} is whole")
        return 1 if damage else 0
    store = stores.open_store()
    addresses = [tags.resolve(store, address)] if address else artifacts.published(store)
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


def rm(address: str) -> None:
    """Delete an artifact, so that the next run computes it anew: a damaged one, or one to make room.

    Refused within ten minutes of a write by a run that may be going on, and for an artifact that has a tag.

    Parameters
    ----------
    address
        as `cmh ls` prints it: kind/name/digest
    """
    store = stores.open_store()
    if mine := [name for name, meant in tags.every(store).items() if meant.address == address]:
        raise ValueError(f"{address} has the tag {mine[0]}; take it away first: cmh tag {mine[0]} --delete")
    say(f"{address} is deleted from {store.url}: {size(transfer.remove(store, address))}")


def gc(
    *,
    dry_run: Annotated[bool, Parameter(negative="--delete")] = True,
    older_than: float = 24.0,
    keep_last: int | None = None,
    as_json: Json = False,
) -> None:
    """Find what unfinished runs left behind; nothing is removed without --delete.

    Parameters
    ----------
    older_than
        hours since anything was written to it; a run that still goes on may have paused for less
    keep_last
        finished artifacts, too: of each kind and name only so many stay, the last ones, and all that has a
        tag, and all that those were made from
    """
    if not 0 <= older_than < math.inf:
        raise ValueError(f"--older-than is a number of hours, 0 or more, got {older_than}")
    found = transfer.gc(stores.open_store(), grace=older_than * 3600, keep_last=keep_last, dry_run=dry_run)
    rows = [
        {"path": a.path, "why": a.why, "size": size(a.size), "idle": f"{a.idle / 3600:.0f} h"} for a in found
    ]
    show(rows, as_json, "Would be removed" if dry_run else "Removed")
