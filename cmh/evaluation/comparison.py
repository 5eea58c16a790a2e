"""Methods beside each other: many runs in; means over seeds with intervals, and the tables of papers, out."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
from scipy import stats

REVISION = 4  # raise it when a comparison's tables, figures or page come out otherwise

RUNS = pa.schema(
    [
        ("dataset", pa.string()),
        ("method", pa.string()),
        ("bits", pa.int32()),
        ("seed", pa.int32()),
        ("direction", pa.string()),
        ("map", pa.float64()),  # null where training failed
        ("ndcg_at_100", pa.float64()),  # null there, and where reports have none: of cosines, of random bits
        ("chance", pa.float64()),
        ("minutes", pa.float64()),  # of training, wall time; null where it was not kept
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
        ("source", pa.string()),  # of a published figure; null for ours
    ]
)
METRICS = {"map": "MAP", "ndcg_at_100": "NDCG@100"}
ARROWS = {"image_to_text": "image → text", "text_to_image": "text → image"}


def summary(runs: pa.Table) -> pa.Table:
    """Return one row per dataset, method, length, direction and metric of a RUNS table."""
    keys = ("dataset", "method", "bits", "direction")
    rows = sorted(runs.to_pylist(), key=lambda row: tuple(row[key] for key in keys))
    summed: list[dict[str, Any]] = []
    for key, group in groupby(rows, key=lambda row: tuple(row[key] for key in keys)):
        same = list(group)
        minutes = [row["minutes"] for row in same if row["minutes"] is not None]
        ended = sum(row["error"] is None for row in same)
        for metric in METRICS:
            values = [row[metric] for row in same if row[metric] is not None]
            low, high = interval(values)
            mean = float(np.mean(values)) if values else None
            summed.append(
                dict(zip(keys, key, strict=True))
                | {"metric": metric, "seeds": ended, "value": mean, "low": low, "high": high}
                | {"minutes": float(np.mean(minutes)) if minutes else None}
            )
    return pa.Table.from_pylist(summed, SUMMARY)


def interval(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Return the 95% interval of a mean by Student's t; None of fewer than two values."""
    if len(values) < 2:
        return None, None
    mean = float(np.mean(values))
    half = float(stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
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
        Mean and half its interval by length, and minutes of training.
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
            | {"minutes": f"{np.mean(minutes):.1f}" if minutes else "", "published in": source}
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
