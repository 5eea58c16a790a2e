"""Measure codes that another program made: MAP with its interval, precision@k, hash lookup, the PR curve.

python examples/metrics_of_codes.py

Codes may be relaxed (any real numbers, whose signs count) or in {-1, +1}; labels are multi-hot.  Here both
are drawn: 32 bits that carry one of ten classes, each flipped with probability .2.
"""

import numpy as np

from cmh.codes import hamming
from cmh.evaluation import metrics

BITS, CLASSES = 32, 10
rng = np.random.default_rng(0)
centres = rng.choice([-1.0, 1.0], (CLASSES, BITS))


def codes_of(classes):
    """Return codes (n, BITS) in {-1, +1}: those of the classes, with a fifth of the bits flipped."""
    return centres[classes] * np.where(rng.random((len(classes), BITS)) < 0.2, -1, 1)


query_classes, database_classes = rng.integers(CLASSES, size=200), rng.integers(CLASSES, size=5000)
labels = np.eye(CLASSES, dtype=np.uint8)
scores = metrics.evaluate(
    hamming.pack(codes_of(query_classes)),
    hamming.pack(codes_of(database_classes)),
    labels[query_classes],
    labels[database_classes],
    bits=BITS,
)
mean, low, high = scores.map_interval()
print(f"MAP {mean:.3f} [{low:.3f}, {high:.3f}], of a random ranking {scores.all_tied.map:.3f}")
print(f"precision@100 {scores.precision_at(100):.3f}, recall@100 {scores.recall_at(100):.3f}")
lookup = scores.lookup(radius=2)
print(f"within 2 bits: precision {lookup.precision:.3f}, {lookup.nothing:.0%} of the queries find nothing")
precision, recall = scores.interpolated_pr_curve()
for p, r in zip(precision, recall, strict=True):
    print(f"recall {r:.1f}  precision {p:.3f}  {'#' * round(40 * p)}")
