"""CVH against the paper's two-view eigenproblem at full size, and on Wiki."""

import numpy as np
from scipy import linalg

from cmh.methods import cvh
from cmh.training import solver
from tests.cmh.methods import shallow


def test_directions_solve_the_two_view_problem() -> None:
    """[0 Cxy; Cyx 0] w = λ [Cxx 0; 0 Cyy] w for w = (wx, wy) of every bit, λ as SciPy has the largest."""
    items = shallow.pairs(200)
    image, text, _ = shallow.matrices(items)
    method = shallow.build("cvh", items, bits=6)
    solver.fit(method, items, seed=0)
    assert isinstance(method, cvh.CVH)
    x, y = (cvh.unit_variance(m - m.mean(0)) for m in (image, text))
    cxy = x.T @ y
    left = np.block([[np.zeros((shallow.F,) * 2), cxy], [cxy.T, np.zeros((shallow.D,) * 2)]])
    ridge = 1e-4 * np.eye(shallow.F + shallow.D)
    right = linalg.block_diag(x.T @ x, y.T @ y) + ridge
    largest = linalg.eigh(left, right, eigvals_only=True)[::-1][:6]
    w = np.vstack([method.image.weight_FK, method.text.weight_FK])
    np.testing.assert_allclose(left @ w, right @ w * largest, atol=1e-8)


def test_wiki() -> None:
    """Within .01 of another implementation's at ten bits, the text's dimensions."""
    np.testing.assert_allclose(shallow.wiki_maps("cvh", bits=10)["per modality"], (0.1850, 0.1794), atol=0.01)


def test_scale_of_the_features_does_not_matter() -> None:
    """Texts a thousand times as large give the same codes: the ridge follows."""
    image, text, labels = shallow.matrices(shallow.pairs(100))
    methods = [shallow.build("cvh", shallow.pairs(100), bits=6) for _ in range(2)]
    for method, scale in zip(methods, (1, 1000), strict=True):
        method.solve(image, text * scale, labels, 0)
    first, second = (m.image.weight_FK for m in methods)
    np.testing.assert_allclose(first, second, rtol=1e-6, atol=1e-9)
