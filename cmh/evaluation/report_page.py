"""The page that opens a report: what was measured, the table that papers print, figures, fine print."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from cmh.evaluation import instance_recall, report

ARROWS = {name: name.replace("_to_", " → ") for name in (*report.DIRECTIONS, *report.UNIFIED)}


def map_table(metrics: pa.Table) -> list[dict[str, str]]:
    """Return MAP@all with its interval, by direction and length: the table that papers print."""
    rows = report.select(metrics, "map", *report.STORED)
    return [
        {"direction": ARROWS[direction]}
        | {
            _length(row): f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
            for row in rows
            if row["direction"] == direction
        }
        for direction in dict.fromkeys(row["direction"] for row in rows)
    ]


def _length(row: Mapping[str, Any]) -> str:
    return f"{row['bits']} {'numbers, real-valued' if row['ranking'] == report.COSINE else 'bits'}"


def markdown(rows: Sequence[Mapping[str, str]]) -> str:
    """Return rows of one shape as a Markdown table."""
    heads = list(rows[0])
    lines = [heads, ["---"] * len(heads), *([row.get(head, "") for head in heads] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def report_page(
    name: str,
    address: str,
    facts: Mapping[str, Any],
    metrics: pa.Table,
    pictures: Sequence[str],
    diagnostics: Sequence[str] = (),
) -> str:
    """Return README.md of a report artifact; `diagnostics`: paragraphs that explain its figures."""
    bits = facts["bits"]
    by_label = map_table(metrics)
    sections = [
        f"# {name}: retrieval with {bits}-bit codes",
        *(_by_label(by_label, metrics, bits) if by_label else [_UNLABELLED]),
        *(f"![{picture}]({picture})" for picture in pictures),
        *_pairs(metrics),
        *_rankings(metrics),
        *diagnostics,
        "## All figures",
        _details(metrics, bits),
        "## How to read them",
        (
            _NOTES.format(report.value(metrics, "queries_without_relevant", "image_to_text", bits)) + "\n"
            if by_label
            else ""
        )
        + f"- Model `{facts['model']}`, dataset `{facts['dataset']}`, codes `{address}`.",
    ]
    return "\n\n".join(sections) + "\n"


_UNLABELLED = (
    "The dataset has no labels, so nothing says which items are relevant to a query beyond its own pair "
    "and its group: there is no MAP. Items at equal Hamming distance are tied; figures are expectations "
    "over all orders of the ties, with 95% bootstrap intervals over groups of queries. Shorter codes are "
    "prefixes."
)
_NOTES = """- A query without any relevant item counts 0: {:.0f} here.
- `map_worst_ties` and `map_best_ties`: MAP if every tie fell worst or best.
- `lookup_…_radius_r`: all items within r bits; a query that finds nothing has precision 0.
- `unified`: against the training items alone, each coded from both of its modalities, as published \
tables of some methods have it; a database that holds one modality of an item cannot do that."""


def _by_label(table: Sequence[Mapping[str, str]], metrics: pa.Table, bits: int) -> list[str]:
    """Return the table that papers print, and what it means."""
    chance = report.value(metrics, "chance", "image_to_text", bits)
    return [
        "MAP over the whole ranking, with 95% bootstrap intervals over groups of queries. Items at equal "
        "Hamming distance are tied; figures are expectations over all orders of the ties. Shorter codes are "
        f"prefixes of the stored {bits}-bit code. Chance (share of relevant items): {chance:.3f}.",
        markdown(table),
    ]


def embedding_page(
    name: str,
    address: str,
    facts: Mapping[str, Any],
    metrics: pa.Table,
    pictures: Sequence[str],
    diagnostics: Sequence[str] = (),
) -> str:
    """Return README.md of a report on a real-valued method; `diagnostics` as in `report_page`."""
    numbers = facts["bits"]
    chance = report.value(metrics, "chance", "image_to_text", numbers)
    without = report.value(metrics, "queries_without_relevant", "image_to_text", numbers)
    sections = [
        f"# {name}: retrieval with real-valued embeddings of {numbers} numbers",
        f"**Real-valued**: {facts['method']} gives no binary codes; an embedding takes {4 * numbers} bytes, "
        f"a code of {numbers} bits {-(-numbers // 8)}. These figures are for comparison. MAP over the whole "
        "ranking by cosine, ties in database order, with 95% bootstrap intervals over groups of queries. "
        f"Chance (share of relevant items): {chance:.3f}.",
        markdown(map_table(metrics)),
        *(f"![{picture}]({picture})" for picture in pictures),
        *diagnostics,
        "## All figures",
        _details(metrics, numbers),
        "Curves by radius, hash lookup, bounds over ties, NDCG, prefixes and instance recall are left out: "
        "they are measured of codes.",
        f"A query without any relevant item counts 0: {without:.0f} here. Model `{facts['model']}`, dataset "
        f"`{facts['dataset']}`, embeddings `{address}`.",
    ]
    return "\n\n".join(sections) + "\n"


def pair_table(metrics: pa.Table, kind: str = "instance") -> list[dict[str, str]]:
    """Return recall of a query's own pair (instance) or of its group, by direction and length."""
    columns = {f"R@{k}": f"{kind}_recall_at_{k}" for k in instance_recall.KS}
    columns |= {"MRR": f"{kind}_mrr", "median rank": f"{kind}_median_rank"}
    found = {
        head: {(r["direction"], r["bits"]): r for r in report.select(metrics, name)}
        for head, name in columns.items()
    }
    return [
        {"direction": ARROWS[direction], "bits": f"{bits}"}
        | {head: _cell(row) for head, rows in found.items() if (row := rows.get((direction, bits)))}
        for direction, bits in found["R@1"]
    ]


def _cell(row: Mapping[str, Any]) -> str:
    if row["low"] is None:
        return f"{row['value']:.1f}"
    return f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


def _pairs(metrics: pa.Table) -> list[str]:
    """Return the sections on recall of pairs and of groups; none of a single query."""
    sections: list[str] = []
    if own := pair_table(metrics):
        sections += [
            "## Finding the very pair",
            "Instance Recall@K: how often a query's own other half is among the K nearest of all queries' "
            "(items that the model has not seen), ties by expectation; MRR: mean reciprocal rank. Chance of "
            "R@K: K / number of queries.",
            markdown(own),
        ]
    if group := pair_table(metrics, "group"):
        sections += [
            "## Finding the same thing",
            "Group Recall@K: how often an item of the query's group with another image is among the K "
            "nearest of all queries', its own pair left out; over queries whose group has several images.",
            markdown(group),
        ]
    return sections


def _rankings(metrics: pa.Table) -> list[str]:
    """Return which bits to keep: one table, for methods that rank their bits."""
    rows = [r for r in report.select(metrics, "map") if r["direction"] in report.CROSS_MODAL]
    names = list(dict.fromkeys(r["ranking"] for r in rows))
    if len(names) <= 2:  # at most the stored order and the random ranking: nothing is ranked
        return []
    columns = sorted({(r["bits"], r["direction"]) for r in rows})
    table = [
        {"bits kept": name}
        | {
            f"{bits} bits, {ARROWS[direction]}": next(
                (
                    f"{r['value']:.3f}"
                    for r in rows
                    if (r["ranking"], r["bits"], r["direction"]) == (name, bits, direction)
                ),
                "",
            )
            for bits, direction in columns
        }
        for name in names
    ]
    return ["## Which bits to keep", markdown(table)]


def _details(metrics: pa.Table, bits: int) -> str:
    rows = [r for r in metrics.to_pylist() if r["bits"] == bits and r["ranking"] in report.STORED]
    names = list(dict.fromkeys(r["metric"] for r in rows))
    return markdown(
        [
            {"metric": f"`{name}`"}
            | {ARROWS[r["direction"]]: f"{r['value']:.3f}" for r in rows if r["metric"] == name}
            for name in names
        ]
    )
