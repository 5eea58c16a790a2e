"""MAP taken apart: by label of the query, and by whether training saw the items of the database.

Shape suffixes: Q = queries, L = labels.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cmh.evaluation import bootstrap, metrics, ndcg, paired_tests, report
from cmh.evaluation.counts import CodedItems, count_rankings
from cmh.evaluation.histograms import Histograms

LABELS = pa.schema(
    [
        ("label", pa.string()),
        ("direction", pa.string()),
        ("queries", pa.int32()),  # that have it
        ("map", pa.float64()),  # their mean AP, any shared label being relevant; null without queries
    ]
)
DATABASE = pa.schema(
    [
        ("part", pa.string()),  # trained, never_trained
        ("direction", pa.string()),
        ("items", pa.int32()),
        ("chance", pa.float64()),  # share of relevant items
        ("map", pa.float64()),
        ("low", pa.float64()),  # 95% bootstrap interval over groups of queries
        ("high", pa.float64()),
    ]
)


def by_label(queries: pa.Table, bits: int, label_QL: NDArray[np.uint8], names: Sequence[str]) -> pa.Table:
    """Return LABELS: the mean AP of the queries that have each label, by what is stored.

    Args:
        queries: a table of `cmh.evaluation.report.QUERIES`.
        bits: which length of it.
        label_QL: multi-hot labels of the queries, in the order of that table.
        names: of the labels.
    """
    rows = []
    for direction in report.CROSS_MODAL:
        score_Q = paired_tests.scored_queries(queries, "", "", bits, direction).score_Q
        for name, has_Q in zip(names, label_QL.T > 0, strict=True):
            value = float(score_Q[has_Q].mean()) if has_Q.any() else None
            row = {"label": name, "direction": direction, "queries": int(has_Q.sum()), "map": value}
            rows.append(row)
    return pa.Table.from_pylist(rows, LABELS)


def by_part(
    queries: CodedItems, parts: Mapping[str, Iterable[CodedItems]], bits: int, *, threads: int | None = None
) -> pa.Table:
    """Return DATABASE: MAP across modalities on parts of the database.

    Args:
        queries: with codes of both sides.
        parts: by name, each in blocks; one without items is left out.
        bits: length of the codes.
        threads: None takes what `cmh.codes.threads` finds.
    """
    rows: list[dict[str, Any]] = []
    wanted = report.rankings(report.CROSS_MODAL, [bits], ())
    for part, blocks in parts.items():
        counted = count_rankings(queries, blocks, wanted, {}, ndcg.grades(queries.label_NL), threads=threads)
        for ranking, counts_QGD in counted.items():
            scores = metrics.RetrievalScores(Histograms.of_grades(counts_QGD))
            items = int(scores.histograms.all_QD[0].sum())
            if not items:
                continue
            place = {"part": part, "direction": f"{ranking.query}_to_{ranking.database}", "items": items}
            score_Q = metrics.average_precision(scores.histograms)
            value, low, high = bootstrap.interval(score_Q, queries.group_N)
            rows.append(place | {"chance": scores.chance, "map": value, "low": low, "high": high})
    return pa.Table.from_pylist(rows, DATABASE)
