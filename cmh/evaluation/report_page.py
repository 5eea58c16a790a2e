"""The page that opens a report: what was measured, the table that papers print, figures, fine print."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from cmh.evaluation import instance_recall, report

_ARROWS = {name: name.replace("_to_", " → ") for name in (*report.DIRECTIONS, *report.UNIFIED)}


def map_table(metrics: pa.Table) -> list[dict[str, str]]:
    """Return MAP@all with its interval, by direction and length: the table that papers print."""
    rows = report.select(metrics, "map", *report.STORED)
    return [
        {"direction": _ARROWS[direction]}
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
    name: str, address: str, facts: Mapping[str, Any], metrics: pa.Table, pictures: Sequence[str]
) -> str:
    """Return README.md of a report artifact."""
    bits = facts["bits"]
    chance = report.value(metrics, "chance", "image_to_text", bits)
    sections = [
        f"# {name}: retrieval with {bits}-bit codes",
        "MAP over the whole ranking, with 95% bootstrap intervals over groups of queries. Items at equal "
        "Hamming distance are tied; figures are expectations over all orders of the ties. Shorter codes are "
        f"prefixes of the stored {bits}-bit code. Chance (share of relevant items): {chance:.3f}.",
        markdown(map_table(metrics)),
        *(f"![{picture}]({picture})" for picture in pictures),
        *_instances(metrics),
        *_rankings(metrics),
        "## All figures",
        _details(metrics, bits),
        "## How to read them",
        "- A query without any relevant item counts 0: "
        f"{report.value(metrics, 'queries_without_relevant', 'image_to_text', bits):.0f} here.\n"
        "- `map_worst_ties` and `map_best_ties`: MAP if every tie fell worst or best.\n"
        "- `lookup_…_radius_r`: all items within r bits; a query that finds nothing has precision 0.\n"
        "- `unified`: against the training items alone, each coded from both of its modalities, as published "
        "tables of some methods have it; a database that holds one modality of an item cannot do that.\n"
        f"- Model `{facts['model']}`, dataset `{facts['dataset']}`, codes `{address}`.",
    ]
    return "\n\n".join(sections) + "\n"


def embedding_page(
    name: str, address: str, facts: Mapping[str, Any], metrics: pa.Table, pictures: Sequence[str]
) -> str:
    """Return README.md of a report on a real-valued method."""
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
        "## All figures",
        _details(metrics, numbers),
        "Curves by radius, hash lookup, bounds over ties, NDCG, prefixes and instance recall are left out: "
        "they are measured of codes.",
        f"A query without any relevant item counts 0: {without:.0f} here. Model `{facts['model']}`, dataset "
        f"`{facts['dataset']}`, embeddings `{address}`.",
    ]
    return "\n\n".join(sections) + "\n"


def _instances(metrics: pa.Table) -> list[str]:
    """Return instance recall: one table, a row per direction and length."""
    columns = {f"R@{k}": f"instance_recall_at_{k}" for k in instance_recall.KS}
    found = {
        head: {(r["direction"], r["bits"]): r for r in report.select(metrics, name)}
        for head, name in columns.items()
    }
    table = [
        {"direction": _ARROWS[direction], "bits": f"{bits}"}
        | {
            head: f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
            for head, rows in found.items()
            if (row := rows.get((direction, bits)))
        }
        for direction, bits in found["R@1"]
    ]
    if not table:  # a single query
        return []
    return [
        "## Finding the very pair",
        "Instance Recall@K: how often a query's own other half is among the K nearest of all queries' (items "
        "that the model has not seen), ties by expectation. Chance: K / number of queries.",
        markdown(table),
    ]


def _rankings(metrics: pa.Table) -> list[str]:
    """Return which bits to keep: one table, for methods that rank their bits."""
    rows = [r for r in report.select(metrics, "map") if r["direction"] in report.CROSS_MODAL]
    names = list(dict.fromkeys(r["ranking"] for r in rows))
    if len(names) == 2:  # the stored order and the random ranking: nothing is ranked
        return []
    columns = sorted({(r["bits"], r["direction"]) for r in rows})
    table = [
        {"bits kept": name}
        | {
            f"{bits} bits, {_ARROWS[direction]}": next(
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
            | {_ARROWS[r["direction"]]: f"{r['value']:.3f}" for r in rows if r["metric"] == name}
            for name in names
        ]
    )
