"""Paired tests between methods: which differences on the same queries are more than chance.

If two methods are alike, each group's difference could as well have the other sign.  The p-value is the share
of all choices of signs whose statistic is at least as far from 0 as the measured one.  Signs are drawn per
group of queries, since queries about one thing do not vote independently.  The statistic is
Σ_g (sum of differences in g) / Σ_g (queries in g): of average precisions, the difference of MAP; of data
without labels, that of R@10.  With several seeds, the scores of a query are averaged over them first: the
test is about queries, for the models at hand, and says nothing about other seeds.

Source: Fisher's randomisation test, as Smucker, Allan and Carterette, A Comparison of Statistical
Significance Tests for Information Retrieval Evaluation, CIKM 2007; drawn signs count the measured ones as one
draw: Phipson and Smyth, Permutation P-values Should Never Be Zero, 2010; Holm, A Simple Sequentially
Rejective Multiple Test Procedure, Scandinavian Journal of Statistics 6, 1979.

Shape suffixes: Q = queries, G = groups, P = pairs of methods, S = seeds, F = choices of signs.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cmh.evaluation import comparison, report

LEVEL = 0.05  # differences whose corrected p-value lies below it hold
FLIPS = 10_000  # choices of signs that are drawn
EXACT_GROUPS = 12  # up to so many groups, all choices of signs are enumerated
_AT_ONCE = 1_000  # choices of signs in memory

PAIRS = pa.schema(
    [
        ("dataset", pa.string()),
        ("bits", pa.int32()),
        ("direction", pa.string()),
        ("first", pa.string()),
        ("second", pa.string()),
        ("queries", pa.int32()),
        ("groups", pa.int32()),
        ("difference", pa.float64()),  # of MAP or R@10, first less second; null where not tested
        ("p", pa.float64()),  # two-sided
        ("p_holm", pa.float64()),  # corrected for all pairs of this dataset, length and direction
        ("holds", pa.bool_()),  # p_holm below LEVEL
        ("not_tested", pa.string()),  # why; null where tested
    ]
)
LEGEND = (
    "Paired tests of MAP, or of R@10 without labels, on the same queries (randomisation over groups of "
    "queries, two-sided, Holm over all pairs of a direction and length). A row names the methods from which "
    "its method does not differ at "
    f"{LEVEL:g}; all its other differences hold, – means every one. Several seeds are averaged per query, so "
    "the tests speak of other queries, not of other seeds. Differences and p-values are in `pairs.parquet`."
)
OTHER_QUERIES = "their reports have other queries"
UNSCORED = "the score is not defined for each query, as recall at 10 of ten items or fewer"


class ScoredQueries(NamedTuple):
    """The score of each query of one run, in one direction and at one length."""

    dataset: str
    method: str
    bits: int
    direction: str
    query_Q: NDArray[Any]  # ids, each once
    group_Q: NDArray[Any]
    score_Q: NDArray[np.float64]


def scored_queries(
    table: pa.Table,
    dataset: str,
    method: str,
    bits: int,
    direction: str,
    ranking: str | None = None,
    score: str = "average_precision",
) -> ScoredQueries:
    """Read the queries of one ranking from a table of `cmh.evaluation.report.QUERIES`, or of PAIRS.

    Args:
        table: of one report.
        dataset: its dataset's name.
        method: its method's name.
        bits: length of the codes.
        direction: such as "image_to_text".
        ranking: the order of bits; None: what is stored.
        score: the column that is compared.
    """
    rankings = report.STORED if ranking is None else (ranking,)
    kept = (
        (pc.field("direction") == direction)
        & (pc.field("bits") == bits)
        & pc.field("ranking").isin(list(rankings))
    )
    rows = table.filter(kept)
    query_Q, group_Q = (np.asarray(rows[name].to_pylist()) for name in ("query", "group"))
    score_Q = rows[score].to_numpy().astype(np.float64)
    return ScoredQueries(dataset, method, bits, direction, query_Q, group_Q, score_Q)


class _Method(NamedTuple):
    """The same, a mean over seeds, queries by rising id."""

    query_Q: NDArray[Any]
    group_Q: NDArray[Any]
    score_Q: NDArray[np.float64]


def randomisation_test(
    difference_GP: NDArray[np.float64], *, flips: int = FLIPS, seed: int = 0
) -> NDArray[np.float64]:
    """Return two-sided p-values (P,) of sums of differences under random signs of groups.

    Up to `EXACT_GROUPS` groups, all 2^G choices of signs are enumerated; else p = (1 + c) / (1 + flips),
    where c drawn choices are at least as far from 0 as the measured one.  All pairs share the choices.

    Args:
        difference_GP: sum over each group of the differences of the scores of its queries, by pair.
        flips: how many choices of signs are drawn.
        seed: of the draws.
    """
    groups = len(difference_GP)
    # sums of the same numbers in another order differ in their last bits
    measured_P = np.abs(difference_GP.sum(0)) - 1e-9 * np.abs(difference_GP).sum(0)
    if groups <= EXACT_GROUPS:
        sign_FG = 1.0 - 2.0 * (np.arange(1 << groups)[:, None] >> np.arange(groups) & 1)
        return np.asarray((np.abs(sign_FG @ difference_GP) >= measured_P).mean(0))
    rng = np.random.default_rng(seed)
    count_P = np.ones(difference_GP.shape[1])
    for start in range(0, flips, _AT_ONCE):
        shape = (min(_AT_ONCE, flips - start), groups)
        sign_FG = 1.0 - 2.0 * rng.integers(2, size=shape, dtype=np.int8)
        count_P += (np.abs(sign_FG @ difference_GP) >= measured_P).sum(0)
    return count_P / (1 + flips)


def holm(p_P: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return p-values (P,) corrected for their number by Holm's step-down procedure.

    The i-th smallest becomes the largest of (P - j + 1) p_j over j <= i, at most 1.

    >>> holm(np.array([0.01, 0.04, 0.03])).tolist()
    [0.03, 0.06, 0.06]
    """
    order_P = np.argsort(p_P, kind="stable")
    stepped_P = np.maximum.accumulate((len(p_P) - np.arange(len(p_P))) * p_P[order_P])
    corrected_P = np.empty(len(p_P))
    corrected_P[order_P] = np.minimum(stepped_P, 1.0)
    return corrected_P


def pairs(scored: Sequence[ScoredQueries], *, flips: int = FLIPS, seed: int = 0) -> pa.Table:
    """Return a PAIRS table: every two methods of a dataset, length and direction.

    Pairs that were not asked the same queries are listed with the reason, and are not tested.

    Args:
        scored: all runs; several of one method are its seeds.
        flips: as `randomisation_test`.
        seed: as `randomisation_test`.
    """
    places: dict[tuple[str, int, str], dict[str, list[ScoredQueries]]] = {}
    for one in scored:
        place = places.setdefault((one.dataset, one.bits, one.direction), {})
        place.setdefault(one.method, []).append(one)
    rows: list[dict[str, Any]] = []
    for (dataset, bits, direction), by_method in sorted(places.items()):
        where = {"dataset": dataset, "bits": bits, "direction": direction}
        methods = {name: _mean_over_seeds(seeds) for name, seeds in by_method.items()}
        rows += [where | row for row in _rows(methods, flips, seed)]
    return pa.Table.from_pylist(rows, PAIRS)


def _mean_over_seeds(seeds: Sequence[ScoredQueries]) -> _Method | None:
    """Return the scores of a method; None if its seeds were asked other queries."""
    orders = [np.argsort(one.query_Q, kind="stable") for one in seeds]
    query_Q, group_Q = seeds[0].query_Q[orders[0]], seeds[0].group_Q[orders[0]]
    for one, order in zip(seeds, orders, strict=True):
        same = np.array_equal(one.query_Q[order], query_Q) and np.array_equal(one.group_Q[order], group_Q)
        if not same:
            return None
    score_SQ = np.stack([one.score_Q[order] for one, order in zip(seeds, orders, strict=True)])
    return _Method(query_Q, group_Q, score_SQ.mean(0, dtype=np.float64))


def _rows(methods: Mapping[str, _Method | None], flips: int, seed: int) -> list[dict[str, Any]]:
    """Return a row per pair of the methods of one dataset, length and direction."""
    unscored = {name for name, one in methods.items() if one and not np.isfinite(one.score_Q).all()}
    rows: dict[tuple[str, str], dict[str, Any]] = {
        pair: {
            "first": pair[0],
            "second": pair[1],
            "not_tested": UNSCORED if unscored & {*pair} else OTHER_QUERIES,
        }
        for pair in combinations(methods, 2)
    }
    alike: dict[tuple[bytes, bytes], list[str]] = defaultdict(list)  # methods by queries
    for name, method in methods.items():
        if method is not None and name not in unscored:
            alike[method.query_Q.tobytes(), method.group_Q.tobytes()].append(name)
    for names in alike.values():
        for pair, tested in _tested({name: methods[name] for name in names}, flips, seed).items():
            rows[pair] |= tested
    tested_rows = [row for row in rows.values() if row["not_tested"] is None]
    if tested_rows:
        corrected_P = holm(np.array([row["p"] for row in tested_rows]))
        for row, p in zip(tested_rows, corrected_P.tolist(), strict=True):
            row |= {"p_holm": p, "holds": p < LEVEL}
    return list(rows.values())


def _tested(
    methods: Mapping[str, _Method | None], flips: int, seed: int
) -> dict[tuple[str, str], dict[str, Any]]:
    """Test all pairs of methods that were asked the same queries."""
    found = list(combinations(methods, 2))
    some = next(iter(methods.values()))
    if not found or some is None:
        return {}
    names_G, number_Q = np.unique(some.group_Q, return_inverse=True)
    sum_G = {
        name: np.bincount(number_Q, method.score_Q, len(names_G))
        for name, method in methods.items()
        if method is not None
    }
    difference_GP = np.stack([sum_G[first] - sum_G[second] for first, second in found], axis=1)
    p_P = randomisation_test(difference_GP, flips=flips, seed=seed)
    queries = len(number_Q)
    return {
        pair: {"queries": queries, "groups": len(names_G), "difference": float(d) / queries, "p": float(p)}
        | {"not_tested": None}
        for pair, d, p in zip(found, difference_GP.sum(0), p_P, strict=True)
    }


def table(
    tested: pa.Table,
    summed: pa.Table,
    dataset: str,
    direction: str,
    *,
    names: Mapping[str, str] = MappingProxyType({}),
) -> list[dict[str, str]]:
    """Lay out rows of text: for each method and length, the methods from which it does not differ.

    Args:
        tested: a PAIRS table.
        summed: a table of `cmh.evaluation.comparison.SUMMARY`; methods go by falling value at the longest.
        dataset: only its rows.
        direction: only its rows, such as "image_to_text".
        names: what to call a method; one without a name goes by its own.

    Returns:
        A row per method that has a pair.  A cell is "–" if all of its differences hold; it names methods with
        which it was not compared after "not tested:", and is empty where it was not measured.
    """
    rows = [r for r in tested.to_pylist() if (r["dataset"], r["direction"]) == (dataset, direction)]
    lengths = sorted({row["bits"] for row in rows})
    methods = _best_first(summed, dataset, direction)
    shown = []
    for method in methods:
        cells = {f"{bits} bits": _cell(rows, bits, method, methods, names) for bits in lengths}
        if any(cells.values()):
            shown.append({"method": names.get(method, method)} | cells)
    return shown


def _best_first(summed: pa.Table, dataset: str, direction: str) -> list[str]:
    """Return the methods by falling value of what is tested, those with longer codes first."""
    metric = comparison.shown(summed, dataset)[0]
    wanted = {"dataset": dataset, "direction": direction, "metric": metric, "source": None}
    rows = [r for r in summed.to_pylist() if wanted.items() <= r.items() and r["value"] is not None]
    rows.sort(key=lambda row: (-row["bits"], -row["value"]))
    return list(dict.fromkeys(row["method"] for row in rows))


def _cell(
    rows: Sequence[Mapping[str, Any]], bits: int, method: str, order: Sequence[str], names: Mapping[str, str]
) -> str:
    mine = {
        (row["second"] if row["first"] == method else row["first"]): row
        for row in rows
        if row["bits"] == bits and method in (row["first"], row["second"])
    }
    others = [other for other in order if other in mine]
    if not others:
        return ""
    undecided = [names.get(o, o) for o in others if mine[o]["not_tested"] is None and not mine[o]["holds"]]
    untested = [names.get(o, o) for o in others if mine[o]["not_tested"] is not None]
    parts = [", ".join(undecided)] if undecided else []
    parts += [f"not tested: {', '.join(untested)}"] if untested else []
    return "; ".join(parts) or "–"
