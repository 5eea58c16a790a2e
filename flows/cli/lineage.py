"""`cmh runs`, `cmh show` and `cmh diff`: what the store alone knows of runs, without any server."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.types import PositiveInt

from cmh.evaluation import report
from flows.cli import terminal
from flows.cli.terminal import Json, say, size
from infra import artifacts, lineage, lineage_page, stores, tags
from infra.lineage import Lineage
from infra.manifest import Manifest
from infra.storage import Store

_LAST = ("report", "comparison")  # artifacts that end a run
_BEGAN = 16  # characters of a time that are shown, to the minute


def runs(*, last: PositiveInt = 20, as_json: Json = False) -> None:
    """List the finished runs, the newest last.

    Parameters
    ----------
    last
        how many
    """
    store = stores.open_store()
    known = lineage.read(store)
    ends = [one for one in known.manifests.values() if one.kind in _LAST]
    ends.sort(key=lambda one: str(one.run.get("began", "")))
    rows = [_run_row(store, known, one) for one in ends[-last:]]
    if not as_json:  # `cmh show` has them, and a terminal has 80 columns
        rows = [{name: row[name] for name in row if name not in ("host", "commit")} for row in rows]
    terminal.show(rows, as_json, f"Runs in {store.url}")
    if len(ends) > last and not as_json:
        say(f"{len(ends) - last} older ones: --last {len(ends)}")


def _run_row(store: Store, known: Lineage, end: Manifest) -> dict[str, Any]:
    chain = known.chain(end)
    return {
        "run": _name(known, end),
        "began": str(end.run.get("began", ""))[:_BEGAN],
        **_figures(store, known, end),
        "minutes": _total([one.run.get("seconds") for one in chain], 60),
        "core-hours": _total([lineage.core_hours(one) for one in chain], 1),
        "host": end.run.get("host", ""),
        "commit": end.run.get("commit", ""),
        "address": end.ref.address,
    }


def _name(known: Lineage, end: Manifest) -> str:
    """Return the name of the run that made an artifact; of older ones, a name of the same form."""
    return str(end.run.get("run") or f"{end.name}-{end.identity[:4]}")


def _total(values: list[Any], unit: float) -> str:
    """Return a sum, marked where a part of it was not kept."""
    kept = [number for number in map(lineage.number, values) if number is not None]
    return (f"{sum(kept) / unit:.2f}" if kept else "") + ("+" if kept and len(kept) < len(values) else "")


def _figures(store: Store, known: Lineage, end: Manifest) -> dict[str, str]:
    """Return the MAP of a report at the length that was trained for, by direction."""
    told = dict.fromkeys(("i→t", "t→i"), "")
    models = [one for one in known.chain(end) if one.kind == "model"]  # last, after one that it started from
    if end.kind == "report" and models:
        metrics = artifacts.Reading(store, end).read_table("metrics.parquet")
        rows = report.select(metrics, "map", *report.STORED)
        for short, direction in zip(told, report.CROSS_MODAL, strict=True):
            here = direction, models[-1].config["settings"]["bits"]
            values = [row["value"] for row in rows if (row["direction"], row["bits"]) == here]
            told[short] = f"{values[0]:.3f}" if values else ""
    return told


def show(
    which: str,
    *,
    mermaid: Annotated[bool, Parameter(negative="")] = False,
    html: Path | None = None,
    as_json: Json = False,
) -> None:
    """Show all that a run or an artifact was made from, in the order in which it was made.

    Parameters
    ----------
    which
        a run as `cmh runs` names it, an address as `cmh ls` prints it, or a tag
    mermaid
        print it as a Mermaid diagram, for a page in Markdown
    html
        write it to this file, a page that needs nothing else
    """
    store = stores.open_store()
    known = lineage.read(store)
    end = _find(store, known, which)
    chain = known.chain(end)
    rows = _without_empty([_artifact_row(known, one) for one in chain])
    if mermaid or html:
        edges = [
            (source.ref.address, one.ref.address)
            for one in chain
            for source in known.inputs(one).values()
            if source is not None
        ]
        if mermaid:
            print(lineage_page.mermaid([one.ref.address for one in chain], edges))
        if html:
            settings = {one.ref.address: dict(lineage.flat(one.config)) for one in chain}
            html.write_text(lineage_page.html(end.ref.address, rows, edges, settings), encoding="utf-8")
            say(f"written: {html}")
        return
    same = (
        {} if as_json or len(rows) < 2 else {name: rows[0][name] for name in rows[0] if _is_same(rows, name)}
    )
    rows = [{name: value for name, value in row.items() if name not in same} for row in rows]
    terminal.show(rows, as_json, f"{_name(known, end)}, from its sources")
    if as_json:
        return
    if same:
        say("all of it: " + ", ".join(f"{name} {value}" for name, value in same.items()))
    lost = [name for one in chain for name, source in known.inputs(one).items() if source is None]
    if lost:
        say(f"no longer in the store: {', '.join(dict.fromkeys(lost))}")
    minutes = _total([one.run.get("seconds") for one in chain], 60)
    hours = _total([lineage.core_hours(one) for one in chain], 1)
    times = f"{minutes} min, {hours} core-hours" if minutes else "of times that were not kept"
    say(f"{len(chain)} artifacts, {size(sum(one.size for one in chain))}, {times}")


def _without_empty(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows without the columns in which nothing stands, as of artifacts made by older versions."""
    kept = [head for head in rows[0] if any(row[head] not in (None, "") for row in rows)]
    return [{head: row[head] for head in kept} for row in rows]


def _artifact_row(known: Lineage, one: Manifest) -> dict[str, Any]:
    run, hours = one.run, lineage.core_hours(one)
    return {
        "artifact": one.ref.address,
        "from": ", ".join(known.inputs(one)) or "sources",
        "began": str(run.get("began", ""))[:_BEGAN],
        "seconds": lineage.number(run.get("seconds")),
        "core-hours": None if hours is None else f"{hours:.3f}",
        "machine": " ".join(str(run[key]) for key in ("host", "machine") if key in run),
        "commit": run.get("commit", ""),
        "run": run.get("run", ""),
        "size": size(one.size),
    }


def _is_same(rows: list[dict[str, Any]], name: str) -> bool:
    return len({str(row.get(name)) for row in rows}) == 1


def _find(store: Store, known: Lineage, which: str) -> Manifest:
    if "@" in which or "/" in which:
        return known.at(tags.resolve(store, which))
    found = [one for one in known.manifests.values() if _name(known, one) == which]
    if not found:
        raise FileNotFoundError(
            f"no run {which} in {store.url}; `cmh runs` names them; an address or a tag will do, too"
        )
    order = {kind: place for place, kind in enumerate(("codes", *_LAST))}
    return max(found, key=lambda one: (order.get(one.kind, -1), str(one.run.get("began", ""))))


def diff(first: str, second: str, *, as_json: Json = False) -> None:
    """Show what differs between two runs or artifacts and, through what they were made from, where it began.

    Parameters
    ----------
    first
        a run as `cmh runs` names it, an address as `cmh ls` prints it, or a tag
    second
        another
    """
    store = stores.open_store()
    known = lineage.read(store)
    a, b = _find(store, known, first), _find(store, known, second)
    rows = [
        {"of": one.kind, "what": one.what, "first": one.first, "second": one.second}
        for one in known.differences(a, b)
    ]
    if a.kind == b.kind == "report":
        rows += _differing(*(_all_figures(store, one) for one in (a, b)))
    terminal.show(rows, as_json, f"{a.ref.address} and {b.ref.address}")
    if not rows and not as_json:
        say("they are the same")


def _all_figures(store: Store, manifest: Manifest) -> dict[str, float]:
    """Return every figure of a report by what it measures."""
    rows = artifacts.Reading(store, manifest).read_table("metrics.parquet").to_pylist()
    return {f"{r['metric']} {r['direction']} {r['bits']} {r['ranking']}": r["value"] for r in rows}


def _differing(first: dict[str, float], second: dict[str, float]) -> list[dict[str, Any]]:
    return [
        {"of": "report", "what": what, "first": _shown(first.get(what)), "second": _shown(second.get(what))}
        for what in dict.fromkeys([*first, *second])
        if first.get(what) != second.get(what)
    ]


def _shown(value: float | None) -> str | None:
    return None if value is None else f"{value:.4f}"
