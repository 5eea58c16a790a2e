"""The counts that a report is made of: for every ranking that it asks about, items by grade and distance.

Counts of parts add up: those of parts of a database by sum, those of parts of the queries row under row.  So
a database may be larger than memory and its parts may be counted anywhere, and the report is the same.

Shape suffixes: Q = queries, N = items, P = bytes of a packed code, L = labels, K = bits, G = grades (numbers
of shared labels), D = bits + 1 distances.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cmh.codes import hamming
from cmh.evaluation import histograms
from cmh.evaluation.histograms import Counts


class RankingSpec(NamedTuple):
    """A way to rank a database: codes of one side against codes of another, cut to so many bits."""

    query: str
    database: str
    bits: int
    order: str | None = None  # which bits are kept: a name among `Bits`; None: the first, as stored


BitOrders = Mapping[str, NDArray[np.int64]]
"""Name of an order → (K,) positions of the stored bits, best first."""

RankingCounts = Mapping[RankingSpec, Counts]
"""(Q, G, D) int64 of each ranking; of those in another order than the stored one, G = 2: relevant or not."""


@dataclass(frozen=True)
class CodedItems:
    """Queries, or a part of a database."""

    codes: Mapping[str, hamming.Codes]
    """Side, such as "image" → (N, P) uint8."""
    label_NL: NDArray[np.uint8]
    group_N: NDArray[Any] | None = None
    """The group of each query, which intervals respect; None: each query is its own."""
    image_N: NDArray[np.int64] | None = None
    """The image of each query: several texts may describe one; None: each query has its own."""
    id_N: NDArray[Any] | None = None
    """The id of each query, by which reports are compared; None: its position."""

    def codes_for(self, side: str, ranking: RankingSpec, orders: BitOrders) -> hamming.Codes:
        """Return the codes of a side in the bits that the ranking keeps."""
        codes_NP = self.codes[side]
        if ranking.order is None:
            return hamming.prefix(codes_NP, ranking.bits)
        return hamming.permute(codes_NP, orders[ranking.order][: ranking.bits])


def empty_counts(rankings: Sequence[RankingSpec], queries: int, grades: int) -> dict[RankingSpec, Counts]:
    """Return a tally of nothing yet.  grades: at least 3 (`cmh.evaluation.ndcg.grades`)."""
    return {
        ranking: np.zeros((queries, 2 if ranking.order else grades, ranking.bits + 1), np.int64)
        for ranking in rankings
    }


def count_rankings(
    queries: CodedItems,
    database: Iterable[CodedItems],
    rankings: Sequence[RankingSpec],
    orders: BitOrders,
    grades: int,
    *,
    threads: int | None = None,
) -> RankingCounts:
    """Count a database that comes in parts, each read once and let go.

    threads: None takes what `cmh.codes.threads` finds.

    Raises:
        ValueError: as `cmh.evaluation.histograms.grade_counts`.
    """
    total = empty_counts(rankings, len(queries.label_NL), grades)
    for part in database:
        for ranking, counts_QGD in total.items():
            counts_QGD += histograms.grade_counts(
                queries.codes_for(ranking.query, ranking, orders),
                queries.label_NL,
                [(part.codes_for(ranking.database, ranking, orders), part.label_NL)],
                ranking.bits,
                grades=counts_QGD.shape[1],
                threads=threads,
            )
    return total
