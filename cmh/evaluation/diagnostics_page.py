"""The sections of a report's page that explain its figures: the codes, trained items, labels."""

from typing import Any, NamedTuple

import pyarrow as pa

from cmh.evaluation import report
from cmh.evaluation.report_page import ARROWS, markdown

SHOWN = 5  # labels, best and worst each

_STATISTICS = {
    "bit_imbalance": ("imbalance of a bit, mean (0: half of the items have it)", ".3f"),
    "largest_bit_imbalance": ("imbalance of a bit, largest (1: it never changes)", ".3f"),
    "bit_entropy": ("entropy of a bit, mean (1: balanced)", ".3f"),
    "bit_correlation": ("correlation of two bits, mean of absolute values", ".3f"),
    "effective_dimensions": ("effective dimensions", ".1f"),
    "distinct_codes": ("distinct codes", ",.0f"),
    "largest_bucket": ("items with the commonest code", ",.0f"),
}
_PARTS = {"trained": "trained on", "never_trained": "never trained on"}


class Diagnostics(NamedTuple):
    """What the sections show: tables, by the names of their files."""

    codes: pa.Table  # cmh.evaluation.code_statistics.STATISTICS
    bits: pa.Table  # cmh.evaluation.code_statistics.BITS
    database: pa.Table  # cmh.evaluation.diagnostics.DATABASE
    labels: pa.Table  # cmh.evaluation.diagnostics.LABELS


def sections(found: Diagnostics, metrics: pa.Table, bits: int) -> list[str]:
    """Return the paragraphs of all sections, about codes of this length."""
    return [*codes(found.codes, bits), *database(found.database, metrics, bits), *labels(found.labels)]


def codes(statistics: pa.Table, bits: int) -> list[str]:
    """Return the section on the codes of the database."""
    values = {
        (row["side"], row["statistic"]): row["value"] for row in statistics.to_pylist() if row["bits"] == bits
    }
    table = [
        {"": what} | {side: _number(values[side, name], form) for side in ("image", "text")}
        for name, (what, form) in _STATISTICS.items()
    ]
    return [
        f"## The {bits}-bit codes of {values['image', 'items']:,.0f} items of the database",
        markdown(table),
        f"Image and text of one item agree in {values['both', 'equal_bits']:.3f} of their bits, and "
        f"{values['both', 'equal_codes']:.3f} of the items have equal codes. Effective dimensions are the "
        f"participation ratio of the bits' covariance, {bits} for balanced and uncorrelated bits. Shorter "
        "codes: `codes.parquet`; each bit: `bits.parquet`.",
    ]


def database(parts: pa.Table, metrics: pa.Table, bits: int) -> list[str]:
    """Return the section on items that training saw; none of a method that saw all or none of them."""
    rows = parts.to_pylist()
    if len({row["part"] for row in rows}) < 2:
        return []
    table = [
        {"database": "all", "items": f"{sum(r['items'] for r in rows) // len(report.CROSS_MODAL):,}"}
        | {"chance": f"{report.value(metrics, 'chance', report.CROSS_MODAL[0], bits):.3f}"}
        | {
            ARROWS[direction]: f"{report.value(metrics, 'map', direction, bits):.3f}"
            for direction in report.CROSS_MODAL
        }
    ]
    for part, what in _PARTS.items():
        mine = {row["direction"]: row for row in rows if row["part"] == part}
        some = mine[report.CROSS_MODAL[0]]
        table.append(
            {"database": what, "items": f"{some['items']:,}", "chance": f"{some['chance']:.3f}"}
            | {ARROWS[d]: f"{r['map']:.3f} [{r['low']:.3f}, {r['high']:.3f}]" for d, r in mine.items()}
        )
    return [
        "## Items that training saw",
        f"MAP of {bits} bits on parts of the database. Items never trained on include those of validation, "
        "which choose the epoch.",
        markdown(table),
    ]


def labels(table: pa.Table) -> list[str]:
    """Return the section on labels: all of them, or where there are many, the best and the worst."""
    by_label: dict[str, dict[str, Any]] = {}
    for row in table.to_pylist():
        if row["queries"]:
            by_label.setdefault(row["label"], {"queries": row["queries"]})[row["direction"]] = row["map"]
    ordered = sorted(
        by_label.items(), key=lambda item: -sum(item[1][direction] for direction in report.CROSS_MODAL)
    )
    if not ordered:
        return []
    what = "MAP of the queries that have a label; any label that they share is relevant."
    if len(ordered) > 2 * SHOWN:
        what += f" The best and the worst {SHOWN} of {len(ordered)} labels; all: `labels.parquet`."
        ordered = ordered[:SHOWN] + ordered[-SHOWN:]
    rows = [
        {"label": name.replace("|", r"\|"), "queries": f"{values['queries']:,}"}
        | {ARROWS[direction]: f"{values[direction]:.3f}" for direction in report.CROSS_MODAL}
        for name, values in ordered
    ]
    return ["## By label", what, markdown(rows)]


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
