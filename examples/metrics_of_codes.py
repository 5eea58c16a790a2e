"""Measure codes that another program made: MAP, precision@k, hash lookup and the PR curve, with intervals.

python examples/metrics_of_codes.py

Codes may be relaxed (any real numbers, whose signs count) or in {-1, +1}; labels are multi-hot.  Here both
are drawn: relaxed codes of 32 bits that carry one of ten classes, in noise that turns a fifth of the signs.
To measure your own, put your arrays in place of `query_u`, `database_u` and the two arrays of labels.

Shape suffixes: Q = queries, N = database, K = bits, L = labels, E = levels of recall.
"""

import numpy as np

from cmh.codes import hamming
from cmh.evaluation import bootstrap, metrics
from cmh.evaluation.histograms import Histograms

BITS, CLASSES = 32, 10
rng = np.random.default_rng(0)
centre_LK = rng.choice([-1.0, 1.0], (CLASSES, BITS))


def draw(count):
    """Return relaxed codes (count, K) of items of random classes, and their labels (count, L)."""
    label = np.eye(CLASSES, dtype=np.uint8)[rng.integers(CLASSES, size=count)]
    return label @ centre_LK + rng.normal(scale=1.19, size=(count, BITS)), label


query_u, query_labels_QL = draw(200)
database_u, database_labels_NL = draw(5000)

# Every query is compared with the whole database once; all figures come from the counts by distance.
scores = metrics.evaluate(
    hamming.pack(query_u), hamming.pack(database_u), query_labels_QL, database_labels_NL, bits=BITS
)
counts = scores.histograms

mean, low, high = scores.map_interval()
print(f"MAP            {mean:.3f} [{low:.3f}, {high:.3f}], of a random ranking {scores.all_tied.map:.3f}")
mean, low, high = bootstrap.interval(metrics.precision_at(counts, 100))
print(f"precision@100  {mean:.3f} [{low:.3f}, {high:.3f}], by chance {scores.chance:.3f}")
lookup = scores.lookup(radius=2)
print(f"within 2 bits  precision {lookup.precision:.3f}; {lookup.nothing:.0%} of the queries find nothing")

# The curve of every query by itself gives the interval of their mean at each level of recall.
queries = [slice(q, q + 1) for q in range(len(counts.all_QD))]
curves = [metrics.pr_interpolated(Histograms(counts.all_QD[q], counts.relevant_QD[q])) for q in queries]
precision_QE = np.array([curve.precision for curve in curves])
for recall, precision_Q in zip(curves[0].recall, precision_QE.T, strict=True):
    mean, low, high = bootstrap.interval(precision_Q)
    print(f"recall {recall:.1f}     {mean:.3f} [{low:.3f}, {high:.3f}]  {'#' * round(40 * mean)}")
