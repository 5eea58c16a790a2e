"""Leakage and quality of a dataset, by rows and words alone: what a reader of its figures has to know.

Shapes: N = items, L = labels.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cmh.data import texts
from cmh.data.item_table import MISSING

_MARKUP = re.compile(r"<[a-zA-Z/!][^<>]{0,200}>|&(?:amp|lt|gt|quot|nbsp|#\d{1,6});")
_LINK = re.compile(r"https?://|www\.")
_BROKEN = re.compile(
    "[\u00c3\u00c2][\u0080-\u00bf]|\ufffd"
)  # UTF-8 read as Latin-1, or bytes that were no letter
_SHOWN = 3


def suspicious_texts(said: Sequence[str]) -> list[str]:
    """Return what looks wrong among texts, a line each."""
    shared = Counter(said)
    often = [text for text, count in shared.most_common(1) if count > max(2, 0.05 * len(said)) and text]
    checks: dict[str, Callable[[str], object]] = {
        "are empty, or have no letter or digit": lambda text: not texts.words(text),
        "are a word such as 'nan' that means a missing value": lambda text: text.lower() in MISSING,
        "hold markup, such as <b> or &amp;": _MARKUP.search,
        "hold an address (http)": _LINK.search,
        "hold broken letters, such as Ã©: read in another encoding than they were written": _BROKEN.search,
    }
    found = []
    for what, test in checks.items():
        rows = [row for row, text in enumerate(said) if test(text)]
        if rows:
            found.append(f"{len(rows)} text(s) {what}; item {rows[0] + 1}: {said[rows[0]][:60]!r}")
    found += [f"{shared[text]} items have the same text: {text[:60]!r}" for text in often]
    return found


def suspicious_labels(labels: Sequence[Sequence[str]]) -> list[str]:
    """Return what looks wrong among the labels of each item, a line each."""
    counts = Counter(label for of_one in labels for label in of_one)
    found = []
    once = [label for label, count in counts.items() if count == 1]
    if once:
        found.append(f"{len(once)} label(s) occur once, such as {_names(once)}: nothing is relevant by them")
    if counts and all(label.lower() in ("true", "false") for label in counts):
        found.append(
            f"the labels are {_names(sorted(counts))}, which say yes or no and name nothing: all items with "
            "the same answer would be relevant to each other"
        )
    alike: dict[str, set[str]] = defaultdict(set)
    for label in counts:
        alike[" ".join(label.lower().split())].add(label)
    for names in alike.values():
        if len(names) > 1:
            found.append(f"labels that differ in capitals or spaces only: {_names(sorted(names))}")
    everywhere = [label for label, count in counts.items() if count > 0.9 * len(labels) and len(counts) > 1]
    if everywhere:
        found.append(
            f"{_names(everywhere)}: over 90 % of the items have the label, so any two are relevant by it"
        )
    return found


def _names(labels: Sequence[str]) -> str:
    return ", ".join(repr(label[:40]) for label in labels[:_SHOWN])


@dataclass(frozen=True)
class SplitQuality:
    """What a split lets through, counted.

    Attributes:
        items: items of each part.
        overlaps: rows that are in two parts that must be disjoint.
        groups_torn: groups that are both among the queries and in the training or validation set.
        texts_shared: queries whose text, word for word, is that of a training item.
        labels_once: labels that one item has.
        labels_unseen: labels of queries that no training item has.
        queries_alone: labelled queries that share no label with the database.
        words_unseen: different words of the queries that no training text has, of so many.
        trained_share: part of the database that is trained on.
    """

    items: Mapping[str, int]
    overlaps: int
    groups_torn: int
    texts_shared: int
    labels_once: int
    labels_unseen: int
    queries_alone: int
    words_unseen: tuple[int, int]
    trained_share: float

    def lines(self) -> list[str]:
        """Return the counts in words, a line each."""
        unseen, words = self.words_unseen
        return [
            f"{self.overlaps} rows are in two of query, train and validation; {self.groups_torn} groups are "
            "both queried and trained on",
            f"{self.texts_shared} of {self.items['query']} queries have a training item's text word for word",
            f"{unseen} of {words} different words of the queries are in no training text",
            f"{self.trained_share:.0%} of the database is trained on",
            f"{self.labels_once} labels occur once; {self.labels_unseen} labels of queries are not trained; "
            f"{self.queries_alone} labelled queries have nothing relevant in the database",
        ]


def of_items(
    said: Sequence[str],
    groups: Sequence[str],
    label_NL: NDArray[np.uint8],
    split: Mapping[str, NDArray[np.int64]],
) -> SplitQuality:
    """Count what a split lets through.

    Args:
        said: text of each item.
        groups: group of each item.
        label_NL: multi-hot.
        split: rows by name of the split.
    """
    query, database = split["query"], split["database"]
    learnt = np.concatenate([split["train"], split["validation"]])
    parts = np.concatenate([query, learnt])
    trained_texts = {said[row].lower() for row in split["train"]}
    asked, trained = _words(said[row] for row in query), _words(said[row] for row in split["train"])
    has_label_L = label_NL[query].any(axis=0)
    labelled = label_NL[query].any(axis=1)
    held_L = label_NL[database].any(axis=0)
    return SplitQuality(
        items={name: len(rows) for name, rows in split.items()},
        overlaps=len(parts) - len(np.unique(parts)),
        groups_torn=len({groups[row] for row in query} & {groups[row] for row in learnt}),
        texts_shared=sum(said[row].lower() in trained_texts for row in query),
        labels_once=int((label_NL.sum(axis=0, dtype=np.int64) == 1).sum()),
        labels_unseen=int((has_label_L & ~label_NL[split["train"]].any(axis=0)).sum()),
        queries_alone=int((labelled & ~(label_NL[query].astype(bool) & held_L).any(axis=1)).sum()),
        words_unseen=(len(asked - trained), len(asked)),
        trained_share=len(split["train"]) / max(1, len(database)),
    )


def of_validation(groups: Sequence[str], split: Mapping[str, NDArray[np.int64]]) -> list[str]:
    """Return what keeps the validation set from telling how well a model does on new items, a line each."""
    trained = {groups[row] for row in split["train"]}
    torn = sorted(trained & {groups[row] for row in split["validation"]})
    if not torn:
        return []
    return [
        f"{len(torn)} group(s) have items both in the training and in the validation set, such as "
        f"{torn[0][:60]!r}: the validation items, by which the best epoch is chosen, are like trained ones; "
        "give all items of a group the same split, or take a split that is drawn by groups"
    ]


def _words(said: Iterable[str]) -> set[str]:
    return {word for text in said for word in texts.words(text)}
