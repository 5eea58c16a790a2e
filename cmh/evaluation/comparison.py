"""Methods beside each other: many runs in; means over seeds with intervals, and the tables of papers, out."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.special import stdtrit

REVISION = 6  # raise it when a comparison's tables, tests, figures or page come out otherwise

RUNS = pa.schema(
    [
        ("dataset", pa.string()),
        ("method", pa.string()),
        ("bits", pa.int32()),
        ("seed", pa.int32()),
        ("direction", pa.string()),
        ("map", pa.float64()),  # null where training failed, and of data without labels
        ("ndcg_at_100", pa.float64()),  # null there, and where reports have none: of cosines, of random bits
        (
            "recall_at_1",
            pa.float64(),
        ),  # of the own pair; null as ndcg_at_100 is
        ("recall_at_5", pa.float64()),
        ("recall_at_10", pa.float64()),
        ("chance", pa.float64()),  # of MAP; null of data without labels
        ("minutes", pa.float64()),  # of training, wall time; null where it was not kept
        ("recipe", pa.string()),  # where the settings come from, with the budget of a tuned one
        ("error", pa.string()),
    ]
)
SUMMARY = pa.schema(
    [
        ("dataset", pa.string()),
        ("method", pa.string()),
        ("bits", pa.int32()),
        ("direction", pa.string()),
        ("metric", pa.string()),
        ("seeds", pa.int32()),  # runs that ended well
        ("value", pa.float64()),
        ("low", pa.float64()),  # 95% interval of the mean over seeds, by Student's t; null with one seed
        ("high", pa.float64()),
        ("minutes", pa.float64()),
        ("recipe", pa.string()),
        ("source", pa.string()),  # of a published figure; null for ours
    ]
)
METRICS = {
    "map": "MAP",
    "ndcg_at_100": "NDCG@100",
    "recall_at_1": "R@1",
    "recall_at_5": "R@5",
    "recall_at_10": "R@10",
}
LABELLED = ("map", "ndcg_at_100", "recall_at_10")  # shown where there are labels; the first one is tested
UNLABELLED = ("recall_at_10", "recall_at_5", "recall_at_1")
ARROWS = {"image_to_text": "image → text", "text_to_image": "text → image"}


def summary(runs: pa.Table) -> pa.Table:
    """Return one row per dataset, method, length, direction and metric of a RUNS table."""
    keys = ("dataset", "method", "bits", "direction")
    rows = sorted(runs.to_pylist(), key=lambda row: tuple(row[key] for key in keys))
    measured = {
        dataset: [
            name for name in METRICS if any(r[name] is not None for r in rows if r["dataset"] == dataset)
        ]
        for dataset in {row["dataset"] for row in rows}
    }
    summed: list[dict[str, Any]] = []
    for key, group in groupby(rows, key=lambda row: tuple(row[key] for key in keys)):
        same = list(group)
        minutes = [row["minutes"] for row in same if row["minutes"] is not None]
        ended = sum(row["error"] is None for row in same)
        for metric in measured[key[0]] or LABELLED[:1]:
            values = [row[metric] for row in same if row[metric] is not None]
            low, high = interval(values)
            mean = float(np.mean(values)) if values else None
            summed.append(
                dict(zip(keys, key, strict=True))
                | {"metric": metric, "seeds": ended, "value": mean, "low": low, "high": high}
                | {"minutes": float(np.mean(minutes)) if minutes else None, "recipe": same[0]["recipe"]}
            )
    return pa.Table.from_pylist(summed, SUMMARY)


def shown(summed: pa.Table, dataset: str) -> tuple[str, ...]:
    """Return the metrics to show of a dataset; by the first of them methods are told apart."""
    rows = [row for row in summed.to_pylist() if row["dataset"] == dataset and row["source"] is None]
    measured = {row["metric"] for row in rows}
    return tuple(name for name in (LABELLED if "map" in measured else UNLABELLED) if name in measured)


def interval(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Return the 95% interval of a mean by Student's t; None of fewer than two values."""
    if len(values) < 2:
        return None, None
    mean = float(np.mean(values))
    half = float(stdtrit(len(values) - 1, 0.975) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return mean - half, mean + half


def table(
    summed: pa.Table,
    dataset: str,
    direction: str,
    metric: str = "map",
    *,
    names: Mapping[str, str] = MappingProxyType({}),
) -> list[dict[str, str]]:
    """Lay out rows of text, one per method and source.

    Args:
        summed: a SUMMARY table.
        dataset: only its rows.
        direction: only its rows, such as "image_to_text".
        metric: only its rows, one of `METRICS`.
        names: what to call a method; one without a name goes by its own.

    Returns:
        Mean and half its interval by length, minutes of training, and the recipe.
    """
    wanted = {"dataset": dataset, "direction": direction, "metric": metric}
    rows = [row for row in summed.to_pylist() if wanted.items() <= row.items()]
    lengths = sorted({row["bits"] for row in rows})
    found: dict[tuple[str, str], dict[int, Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault((row["method"], row["source"] or ""), {})[row["bits"]] = row
    shown = []
    for (method, source), by_bits in found.items():
        minutes = [row["minutes"] for row in by_bits.values() if row["minutes"] is not None]
        shown.append(
            {"method": names.get(method, method)}
            | {f"{bits} bits": _cell(by_bits[bits]) if bits in by_bits else "" for bits in lengths}
            | {"minutes": f"{np.mean(minutes):.1f}" if minutes else ""}
            | {"recipe": next(iter(by_bits.values()))["recipe"] or "", "published in": source}
        )
    return shown


def latex(rows: Sequence[Mapping[str, str]], caption: str) -> str:
    """Return rows of one shape as a LaTeX table of the package booktabs; the best of ours is not marked."""
    heads = [head for head in rows[0] if head != "published in"]

    def line(cells: Sequence[str]) -> str:
        return " & ".join(cells).replace("±", r"$\pm$").replace("_", r"\_").replace("→", r"$\to$") + r" \\"

    body = [
        line([row[head] + ("*" if head == "method" and row["published in"] else "") for head in heads])
        for row in rows
    ]
    return "\n".join(
        [
            r"\begin{table}",
            rf"\caption{{{line([caption]).removesuffix(chr(92) * 2).strip()} * as published.}}",
            rf"\begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}",
            r"\toprule",
            line(heads),
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


def _cell(row: Mapping[str, Any]) -> str:
    if row["value"] is None:
        return "–" if row["seeds"] else "failed"
    if row["low"] is None:
        return f"{row['value']:.3f}"
    return f"{row['value']:.3f} ± {row['value'] - row['low']:.3f}"
