"""Query, database, training and validation rows; groups stay whole, so that nothing leaks."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def grouped(
    groups: Sequence[str], *, query: float, validation: float, train: int | float, seed: int
) -> dict[str, NDArray[np.int64]]:
    """Split whole groups: ascending rows of `query`, `database`, `train` and `validation`.

    The database is all but the queries; `train` and `validation` are parts of it.

    query, validation: shares of the groups, at least one group each.  train: of the items that are neither,
    at most this many (int) or this share (float); the rest are in the database only.

    Raises:
        ValueError: if there are too few groups.

    >>> split = grouped(["a", "a", "b", "c", "d"], query=0.25, validation=0.25, train=1.0, seed=0)
    >>> {name: rows.tolist() for name, rows in split.items()}
    {'query': [3], 'database': [0, 1, 2, 4], 'train': [2, 4], 'validation': [0, 1]}
    """
    names, group_of = np.unique(np.asarray(groups), return_inverse=True)
    queries, validations = (max(1, round(share * len(names))) for share in (query, validation))
    if queries + validations >= len(names):
        raise ValueError(
            f"{len(names)} groups of items cannot be split into query, validation and training set; at "
            "least 3 are needed (items of one group stay together)"
        )
    random = np.random.default_rng(seed)
    drawn = random.permutation(len(names))
    is_query = np.isin(group_of, drawn[:queries])
    is_validation = np.isin(group_of, drawn[queries : queries + validations])
    rest = np.flatnonzero(~is_query & ~is_validation)
    wanted = train if isinstance(train, int) else max(1, round(train * len(rest)))
    return {
        "query": np.flatnonzero(is_query),
        "database": np.flatnonzero(~is_query),
        "train": np.sort(random.permutation(rest)[:wanted]),
        "validation": np.flatnonzero(is_validation),
    }


def published(query_N: NDArray[np.bool_], validation: float, seed: int) -> dict[str, NDArray[np.int64]]:
    """Return ascending rows of the publisher's split: its test items are the queries, the rest the database.

    Args:
        query_N: the publisher's test items.
        validation: share of the database that is drawn to be left out of the training set.
        seed: of that draw.

    Returns:
        Rows of `query`, `database`, `train` and `validation`.
    """
    database = np.flatnonzero(~query_N)
    count = round(validation * len(database))
    drawn = np.random.default_rng(seed).permutation(database)
    return {
        "query": np.flatnonzero(query_N),
        "database": database,
        "train": np.sort(drawn[count:]),
        "validation": np.sort(drawn[:count]),
    }
