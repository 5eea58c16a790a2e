"""The summary of runs against means and intervals by hand, and the tables against what they must show."""

import math

import pyarrow as pa
import pytest

from cmh.evaluation import comparison
from cmh.methods import display_name

T_OF_TWO = 4.302652729911275  # Student's t, 97.5%, two degrees of freedom: printed tables have 4.303


def run(method: str, seed: int, value: float | None, bits: int = 16, minutes: float | None = 2.0) -> dict:
    return {"dataset": "toy", "method": method, "bits": bits, "seed": seed, "direction": "image_to_text"} | {
        "map": value, "ndcg_at_100": value and value / 2, "chance": 0.1, "minutes": minutes,
        "recipe": "short", "error": None if value is not None else "collapsed",
    }  # fmt: skip


RUNS = [
    run("b", 0, 0.5),
    run("b", 1, 0.6),
    run("b", 2, 0.7),
    run("a", 0, 0.3, 32),
    run("c", 0, None, minutes=None),
]


def summed() -> pa.Table:
    return comparison.summary(pa.Table.from_pylist(RUNS, comparison.RUNS))


def test_means_and_intervals_are_those_by_hand() -> None:
    """Mean .6, standard deviation .1 of three: the interval is .6 ± t · .1 / sqrt(3)."""
    a, _, b, graded, c, _ = summed().to_pylist()
    half = T_OF_TWO * 0.1 / math.sqrt(3)
    assert (b["value"], b["low"], b["high"]) == pytest.approx((0.6, 0.6 - half, 0.6 + half), rel=1e-9)
    assert (graded["value"], graded["high"]) == pytest.approx((0.3, 0.3 + half / 2), rel=1e-9)
    assert (b["metric"], graded["metric"]) == ("map", "ndcg_at_100")
    assert (b["seeds"], b["minutes"]) == (3, 2.0)
    assert (a["value"], a["low"], a["high"]) == (0.3, None, None)
    assert (c["seeds"], c["value"]) == (0, None)


def test_a_table_has_a_row_per_method_and_a_column_per_length() -> None:
    """Failed runs say so; lengths that were not run stay empty; published figures come with their source."""
    printed = {"dataset": "toy", "method": "b", "bits": 16, "direction": "image_to_text"}
    printed |= {"metric": "map", "value": 0.9, "source": "Some paper"}
    both = pa.concat_tables([summed(), pa.Table.from_pylist([printed], comparison.SUMMARY)])
    rows = comparison.table(both, "toy", "image_to_text")
    assert [row["method"] for row in rows] == ["a", "b", "c", "b"]
    assert rows[0] == {
        "method": "a", "16 bits": "", "32 bits": "0.300", "minutes": "2.0", "recipe": "short",
        "published in": "",
    }  # fmt: skip
    assert rows[1]["16 bits"] == "0.600 ± 0.248"
    assert rows[2]["16 bits"] == "failed"
    assert (rows[3]["16 bits"], rows[3]["published in"]) == ("0.900", "Some paper")
    assert comparison.table(both, "toy", "text_to_image") == []
    graded = comparison.table(both, "toy", "image_to_text", "ndcg_at_100")
    assert [row["16 bits"] for row in graded] == ["", "0.300 ± 0.124", "failed"]


def test_what_no_report_has_is_not_called_failed() -> None:
    """A run that ended well but has no NDCG shows a dash."""
    rows = [run("acmr", 0, 0.6) | {"ndcg_at_100": None}, run("scm", 0, 0.6)]
    runs = pa.Table.from_pylist(rows, comparison.RUNS)
    row, _ = comparison.table(comparison.summary(runs), "toy", "image_to_text", "ndcg_at_100")
    assert row["16 bits"] == "–"


def test_data_without_labels_is_told_apart_by_recall() -> None:
    """Its tables have R@10 first, then R@5 and R@1; what no run measured has no rows, and no table."""
    recalls = {"map": None, "ndcg_at_100": None, "recall_at_1": 0.1, "recall_at_5": 0.3, "recall_at_10": 0.5}
    rows = [run("joint", 0, None) | recalls | {"error": None}]
    summed = comparison.summary(pa.Table.from_pylist(rows, comparison.RUNS))
    assert comparison.shown(summed, "toy") == ("recall_at_10", "recall_at_5", "recall_at_1")
    (row,) = comparison.table(summed, "toy", "image_to_text", "recall_at_10")
    assert row["16 bits"] == "0.500"
    assert set(summed["metric"].to_pylist()) == {"recall_at_1", "recall_at_5", "recall_at_10"}
    failed = comparison.summary(pa.Table.from_pylist([run("joint", 0, None)], comparison.RUNS))
    assert comparison.shown(failed, "toy") == ("map",)


def test_real_valued_methods_are_marked() -> None:
    """A row that is not of codes says so; others are not touched."""
    runs = pa.Table.from_pylist([run("acmr", 0, 0.6), run("scahn", 0, 0.5)], comparison.RUNS)
    names = {name: display_name(name) for name in ("acmr", "scahn")}
    rows = comparison.table(comparison.summary(runs), "toy", "image_to_text", names=names)
    assert [row["method"] for row in rows] == ["acmr (real-valued)", "scahn"]


def test_latex_escapes_what_would_not_compile() -> None:
    """Every line of the body ends a row; arrows, signs and underscores are commands; the source is a mark."""
    tex = comparison.latex([{"method": "a_b", "16 bits": "0.6 ± 0.1", "published in": "x"}], "A → B.")
    assert r"a\_b* & 0.6 $\pm$ 0.1 \\" in tex
    assert r"\caption{A $\to$ B. * as published.}" in tex
    assert r"\begin{tabular}{lr}" in tex
