"""Query, database, training and validation rows.

`grouped`, the split of data without one, keeps groups whole, so that nothing leaks.  Splits of publishers and
of papers draw item by item, as they do; `cmh.data.quality` counts the groups that queries share with the
training set, and those that the validation set shares with it.
"""

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


def drawn(
    count: int, *, query: int, train: int | None, validation: int, seed: int
) -> dict[str, NDArray[np.int64]]:
    """Return ascending rows of a split by numbers of items, drawn one by one as published code does it.

    `np.random.seed(seed); np.random.permutation(count)`: first the queries, then the training items; the
    database is all but the queries.  Groups may be torn.

    Args:
        count: items.
        query: how many are queries.
        train: how many are trained on; None: all of the database, but for the validation set.
        validation: how many of the database are the validation set, none of them trained on.
        seed: of the permutation.

    Raises:
        ValueError: there are fewer items than that.

    >>> {name: rows.tolist() for name, rows in drawn(6, query=2, train=2, validation=1, seed=1).items()}
    {'query': [1, 2], 'database': [0, 3, 4, 5], 'train': [0, 4], 'validation': [3]}
    """
    order = np.random.RandomState(seed).permutation(count)
    return _cut(order[:query], order[query:], train, validation, f"{query} queries of {count} items")


def drawn_by_label(
    label_NL: NDArray[np.uint8],
    *,
    first: tuple[int, int],
    others: tuple[int, int],
    train: int | None,
    validation: int,
    seed: int,
) -> dict[str, NDArray[np.int64]]:
    """Return ascending rows of a split that takes so many items of each label, label by label.

    Source: the authors' code of DJSRH (Su, Zhong and Zhang, ICCV 2019), which draws without a seed.

    Args:
        label_NL: multi-hot; earlier columns choose first.
        first: queries and training items of the first label.
        others: queries and training items of each other label, of items that are not taken yet.
        train: training items in all; the missing ones are drawn from the rest of the database.
        validation: as of `drawn`.
        seed: of all draws.

    Raises:
        ValueError: there are fewer items than that.
    """
    random = np.random.RandomState(seed)
    taken_N = np.zeros(len(label_NL), bool)
    query: list[int] = []
    learnt: list[int] = []
    for column, (queries, items) in enumerate([first] + [others] * (label_NL.shape[1] - 1)):
        rows = random.permutation(np.flatnonzero(label_NL[:, column]))
        rows = rows[~taken_N[rows]]
        query += rows[:queries].tolist()
        learnt += rows[queries : queries + items].tolist()
        taken_N[rows[: queries + items]] = True
    rest = random.permutation(np.flatnonzero(~taken_N))
    order = np.concatenate([np.array(learnt, np.int64), rest])
    return _cut(np.array(query, np.int64), order, train, validation, f"{len(query)} queries by label")


def _cut(
    query: NDArray[np.int64], order: NDArray[np.int64], train: int | None, validation: int, told: str
) -> dict[str, NDArray[np.int64]]:
    """Return the parts of a database in the order in which it is trained on."""
    learnt = len(order) - validation if train is None else train
    if learnt < 1 or learnt + validation > len(order):
        raise ValueError(
            f"{told} leave {len(order)} others, fewer than {validation} validation items and "
            f"{1 if train is None else train} to train on; is the data whole?"
        )
    return {
        "query": np.sort(query),
        "database": np.sort(order),
        "train": np.sort(order[:learnt]),
        "validation": np.sort(order[learnt : learnt + validation]),
    }


def given(
    split: Sequence[str], groups: Sequence[str], *, validation: float, seed: int
) -> dict[str, NDArray[np.int64]]:
    """Return ascending rows of a split that the data itself states; the database is all but the queries.

    Args:
        split: query, train, validation or database, of each item.
        groups: the group of each item.
        validation: share of the training groups that becomes the validation set where the data has none.
        seed: of that draw.

    Raises:
        ValueError: if there are no queries or no training items.

    >>> rows = given(["train", "train", "query", "database"], ["a", "b", "c", "d"], validation=0.5, seed=0)
    >>> {name: rows.tolist() for name, rows in rows.items()}
    {'query': [2], 'database': [0, 1, 3], 'train': [1], 'validation': [0]}
    """
    name_N, group_N = np.asarray(split), np.asarray(groups)
    rows = {name: np.flatnonzero(name_N == name) for name in ("query", "train", "validation")}
    for name in ("query", "train"):
        if not len(rows[name]):
            raise ValueError(
                f"no item has the split {name}; there are {', '.join(sorted(set(split)))}: a split needs "
                "items to train on and items to test with"
            )
    if not len(rows["validation"]):
        names = np.unique(group_N[rows["train"]])
        count = max(1, round(validation * len(names))) if validation else 0
        if count >= len(names) > 0:
            raise ValueError(
                f"{len(names)} groups to train on cannot be split into training and validation set; mark "
                "items of other groups as train or validation"
            )
        drawn = np.isin(group_N, np.random.default_rng(seed).permutation(names)[:count]) & (name_N == "train")
        rows["train"], rows["validation"] = (
            np.flatnonzero((name_N == "train") & ~drawn), np.flatnonzero(drawn),
        )  # fmt: skip
    return {
        "query": rows["query"],
        "database": np.flatnonzero(name_N != "query"),
        "train": rows["train"],
        "validation": rows["validation"],
    }
