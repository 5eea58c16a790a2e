"""`cmh demo`: the whole pipeline on real data, and what it is good for, on one screen."""

import json
import time
from typing import Any

from rich.console import Console
from rich.table import Table

from cmh.codes.hits import Hit
from cmh.engine import Engine
from cmh.evaluation import report
from flows import pipeline, search
from flows.experiment import Experiment
from flows.resources import Resources
from infra import artifacts, stores
from infra.artifacts import Reading

QUERY = "red fruit"
DRAWING = "openmoji/1F42C"  # a dolphin; words for it are sought


def show(experiment: Experiment, resources: Resources, as_json: bool) -> None:
    """Run the pipeline on `experiment` and show figures, places and two searches."""
    store = stores.open_store()
    started = time.perf_counter()
    done = pipeline.start(experiment, resources)
    seconds = time.perf_counter() - started
    reading = artifacts.open_artifact(store, done[-1].ref)
    figures = _figures(reading)
    made = {one.ref.kind: one.ref for one in done}
    engine = search.open_run(store, made["codes"].address)
    found = engine.for_words(QUERY)
    drawing, words = _words_for_a_drawing(engine, artifacts.open_artifact(store, made["dataset"]))
    sheet = stores.home() / f"{QUERY.replace(' ', '_')}.png"
    sheet.parent.mkdir(parents=True, exist_ok=True)
    sheet.write_bytes(engine.sheet(f"“{QUERY}”", found))
    page = reading.local() / "README.md"
    if as_json:
        print(json.dumps({"seconds": seconds, "report": str(page), "sheet": str(sheet), "map": figures}))
        return
    out = Console()
    out.print(_stages(done))
    computed = sum(one.state == "computed" for one in done)
    out.print(f"{computed} of {len(done)} stages computed, {seconds:.0f} s\n")
    out.print(_table(figures))
    out.print(f"\nNearest drawings for [bold]{QUERY}[/bold]: {_listed(found)}")
    out.print(f"Words for the drawing [bold]{drawing}[/bold]: {', '.join(hit.id for hit in words)}")
    out.print(f"\nreport    {page}\npictures  {page.parent}/*.png\nsheet     {sheet}", highlight=False)
    out.print('next      cmh search "your words" --sheet found.png', highlight=False)


def _figures(reading: Reading) -> dict[str, dict[str, float]]:
    """Return MAP by direction and length, and chance."""
    metrics = reading.read_table("metrics.parquet")
    rows = [r for r in report.select(metrics, "map", "stored") if r["direction"] in report.CROSS_MODAL]
    figures: dict[str, dict[str, float]] = {direction: {} for direction in report.CROSS_MODAL}
    for row in rows:
        figures[row["direction"]][f"{row['bits']} bits"] = row["value"]
    for direction in figures:
        figures[direction]["chance"] = report.select(metrics, "chance", "stored")[0]["value"]
    return figures


def _words_for_a_drawing(engine: Engine, dataset: Reading) -> tuple[str, list[Hit]]:
    """Return a drawing that was a query, and the words of the texts nearest to it.

    The model never saw the drawing's concept.
    """
    items = dataset.read_table("items.parquet").to_pylist()
    queries = [row for row, item in enumerate(items) if item["split"] == "query"]
    row = next((row for row in queries if items[row]["id"] == DRAWING), queries[len(queries) // 2])
    return f"{items[row]['id']} ({items[row]['text']})", engine.words_for(engine.image(row))


def _stages(done: list[pipeline.Done]) -> Table:
    table = Table("stage", "state", "seconds", "artifact", box=None, pad_edge=False, header_style="bold")
    for one in done:
        table.add_row(one.ref.kind, one.state, f"{one.seconds:.1f}", one.ref.address)
    return table


def _table(figures: dict[str, dict[str, float]]) -> Table:
    heads: list[str] = list(next(iter(figures.values())))
    table = Table("MAP@all, one model", *heads, header_style="bold")
    for direction, values in figures.items():
        cells: list[Any] = [f"{values[head]:.3f}" for head in heads]
        table.add_row(direction.replace("_to_", " → "), *cells)
    return table


def _listed(hits: list[Hit]) -> str:
    return "; ".join(f"{hit.text.split(' ')[0]} ({hit.distance})" for hit in hits)
