"""Write a comparison: runs and paired tests in, the tables of papers out.

Reads:   no artifact; `flows.compare` passes the figures of the runs
Writes:  runs.parquet (a row per run and direction), comparison.parquet (mean and interval over seeds, and
         what papers print for the dataset), pairs.parquet (paired tests of every two methods), README.md,
         comparison.tex, map_<dataset> or recall_at_10_<dataset> as .png and .svg
"""

from collections.abc import Mapping
from itertools import product

import pyarrow as pa

from cmh.evaluation import comparison, figures, paired_tests, report
from cmh.evaluation.report_page import markdown
from cmh.methods import display_name
from data_catalog import paper_figures
from flows.stages.artifact_task import artifact_task
from infra.artifacts import Draft
from infra.storage import Store


@artifact_task(name="tables")
def make(store: Store, draft: Draft, runs: pa.Table, pairs: pa.Table, datasets: tuple[str, ...]) -> None:
    """Write the tables and figures of these runs, and of the tests of pairs of methods."""
    summed = comparison.summary(runs)
    lengths = set(summed["bits"].to_pylist())
    printed = [
        {"metric": "map"} | figure._asdict()
        for name in datasets
        for figure in paper_figures.figures(name)
        if figure.bits in lengths
    ]
    summed = pa.concat_tables([summed, pa.Table.from_pylist(printed, comparison.SUMMARY)])
    draft.write_table("runs.parquet", runs)
    draft.write_table("comparison.parquet", summed)
    draft.write_table("pairs.parquet", pairs)
    names = {name: display_name(name) for name in summed["method"].to_pylist()}
    page, tex = ["# Comparison"], []
    for dataset in datasets:
        page.append(f"## {dataset}")
        for metric, direction in product(comparison.shown(summed, dataset), report.CROSS_MODAL):
            name = comparison.METRICS[metric]
            rows = comparison.table(summed, dataset, direction, metric, names=names)
            title = f"{name}, {comparison.ARROWS[direction]}, {dataset}"
            page += [f"{title}:", markdown(rows)]
            tex.append(comparison.latex(rows, f"{title}."))
        page += _draw(draft, summed, runs, dataset)
        page += _paired(pairs, summed, dataset, names)
    page.append(
        "MAP over the whole ranking: an item that shares any label is relevant. NDCG@100 over the first 100 "
        "ranks: an item gains the labels that it shares. R@k: how often the own pair is among the k "
        "nearest of all queries'. Ties in expectation; ± is half the 95% interval of "
        "the mean over seeds (Student's t); real-valued methods are ranked by the cosine of embeddings, of "
        "as many numbers as codes have bits; minutes are wall time of training on the machine that ran it. "
        "Published figures are for the papers' own splits and networks."
    )
    draft.write_bytes("README.md", ("\n\n".join(page) + "\n").encode())
    draft.write_bytes("comparison.tex", ("\n\n".join(tex) + "\n").encode())


def _paired(pairs: pa.Table, summed: pa.Table, dataset: str, names: Mapping[str, str]) -> list[str]:
    """Return the lines of the page about paired tests; none where there is one method."""
    lines: list[str] = []
    for direction, arrow in comparison.ARROWS.items():
        if rows := paired_tests.table(pairs, summed, dataset, direction, names=names):
            lines += [f"Not told apart, {arrow}, {dataset}:", markdown(rows)]
    return ["### Which differences hold", paired_tests.LEGEND, *lines] if lines else []


def _draw(draft: Draft, summed: pa.Table, runs: pa.Table, dataset: str) -> list[str]:
    """Draw MAP, or recall without labels, by length, a line per method; of one length, a row per method.

    Returns the lines of the page that show the figure.
    """
    lines: dict[str, dict[str, dict[int, tuple[float, float, float]]]] = {d: {} for d in report.CROSS_MODAL}
    metric = comparison.shown(summed, dataset)[0]
    for row in summed.to_pylist():
        ours = {"dataset": dataset, "metric": metric, "source": None}
        if not ours.items() <= row.items() or row["value"] is None:
            continue
        points = lines[row["direction"]].setdefault(display_name(row["method"]), {})
        low, high = (row["value"] if end is None else end for end in (row["low"], row["high"]))
        points[row["bits"]] = (row["value"], low, high)
    floors = [r["chance"] for r in runs.to_pylist() if r["dataset"] == dataset and r["chance"] is not None]
    lengths = {bits for panel in lines.values() for points in panel.values() for bits in points}
    if not lengths:  # every training failed
        return []
    draw = figures.map_by_bits if len(lengths) > 1 else figures.map_by_method
    measure = {"map": "MAP@all"}.get(metric, comparison.METRICS[metric])
    figure = draw(lines, max(floors, default=0.0), measure)
    draft.write_bytes(f"{metric}_{dataset}.png", figures.render(figure, "png"))
    draft.write_bytes(f"{metric}_{dataset}.svg", figures.render(figure, "svg"))
    return [f"![{measure}]({metric}_{dataset}.png)"]
