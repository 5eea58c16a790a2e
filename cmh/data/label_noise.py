"""Wrong labels on purpose: how much noise in the labels of the training items a method bears.

Source: the authors' code of NRCH (commit b190e97), which exchanges one label of each chosen item.  With one
label an item that is symmetric noise: each wrong label is as likely.  With several, the others stay right.

Shape suffixes: N = items, n = rows that may change, L = labels.
"""

import numpy as np
from numpy.typing import NDArray


def exchange(
    label_NL: NDArray[np.uint8], row_n: NDArray[np.int64], rate: float, seed: int
) -> NDArray[np.uint8]:
    """Return a copy in which a share of these rows has one of its labels exchanged for one that it lacks.

    Args:
        label_NL: multi-hot.
        row_n: the rows among which items are drawn; those without any label, or with all, stay.
        rate: share of the rows that can change, from 0 to 1.
        seed: of the draw; what is drawn depends on the labels and on nothing else.

    >>> exchange(np.eye(2, dtype=np.uint8), np.array([1]), rate=1.0, seed=0)
    array([[1, 0],
           [1, 0]], dtype=uint8)
    """
    count_n = label_NL[row_n].sum(axis=1, dtype=np.int64)
    able_n = row_n[(count_n > 0) & (count_n < label_NL.shape[1])]
    random = np.random.default_rng(seed)
    noisy_NL = label_NL.copy()
    for row in np.sort(random.permutation(able_n)[: round(rate * len(able_n))]):
        lost, gained = (random.choice(np.flatnonzero(label_NL[row] == has)) for has in (1, 0))
        noisy_NL[row, [lost, gained]] = 0, 1
    return noisy_NL
