"""The sections that explain a report: what they show, and when they are left out."""

import numpy as np
import pyarrow as pa

from cmh.evaluation import code_statistics, diagnostics, diagnostics_page, report
from tests.golden import science


def test_a_label_has_the_mean_of_its_queries() -> None:
    """Each query counts for all of its labels; a label that no query has is there, without a figure."""
    _, _, queries, _ = science.report_tables()
    label_QL = np.zeros((20, 3), np.uint8)
    label_QL[:4, 0] = label_QL[2:, 1] = 1
    found = diagnostics.by_label(queries, science.BITS, label_QL, ["a", "b", "c"]).to_pylist()
    kept = [r for r in queries.to_pylist() if (r["bits"], r["ranking"]) == (science.BITS, "stored")]
    for row in found:
        score_Q = np.array([r["average_precision"] for r in kept if r["direction"] == row["direction"]])
        has_Q = label_QL[:, "abc".index(row["label"])] > 0
        assert row["queries"] == has_Q.sum()
        assert row["map"] == (score_Q[has_Q].mean(dtype=np.float64) if has_Q.any() else None)
    assert [(r["label"], r["queries"]) for r in found] == 2 * [("a", 4), ("b", 18), ("c", 0)]


def test_many_labels_are_cut_to_the_best_and_the_worst() -> None:
    """Of twelve labels five and five, by falling MAP; labels without queries are left out."""
    rows = [
        {"label": f"l{n}", "direction": direction, "queries": n, "map": n / 20 if n else None}
        for n in range(13)
        for direction in report.CROSS_MODAL
    ]
    _, what, table = diagnostics_page.labels(pa.Table.from_pylist(rows, diagnostics.LABELS))
    assert "best and the worst 5 of 12" in what
    shown = [line.split(" | ")[0].strip("| ") for line in table.splitlines()[2:]]
    assert shown == ["l12", "l11", "l10", "l9", "l8", "l5", "l4", "l3", "l2", "l1"]
    _, what, table = diagnostics_page.labels(pa.Table.from_pylist(rows[:8], diagnostics.LABELS))
    assert "best and" not in what
    assert len(table.splitlines()) == 2 + 3
    assert diagnostics_page.labels(pa.Table.from_pylist(rows[:2], diagnostics.LABELS)) == []


def test_a_database_that_training_saw_whole_has_no_parts() -> None:
    """Nothing to set beside each other, nothing on the page."""
    one = [
        {"part": "trained", "direction": d, "items": 5, "chance": 0.1, "map": 0.5, "low": 0.4, "high": 0.6}
        for d in report.CROSS_MODAL
    ]
    metrics, _, _, _ = science.report_tables()
    table = pa.Table.from_pylist(one, diagnostics.DATABASE)
    assert diagnostics_page.database(table, metrics, science.BITS) == []


def test_bits_that_never_change_have_a_dash() -> None:
    """Codes that are all alike: no correlation, no dimensions, and a page all the same."""
    codes = {side: np.zeros((6, 1), np.uint8) for side in ("image", "text")}
    section = diagnostics_page.codes(code_statistics.measure(codes, [8])[0], 8)
    assert "| effective dimensions | – | – |" in section[1]
    assert "| items with the commonest code | 6 | 6 |" in section[1]
    assert "agree in 1.000 of their bits" in section[2]
