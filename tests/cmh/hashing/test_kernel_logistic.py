"""All bits at once against SciPy on one bit at a time."""

import numpy as np
from scipy import optimize

from cmh.hashing import kernel_logistic
from cmh.hashing.rbf import rbf


def test_joint_regression_reaches_the_minimum_of_each_bit() -> None:
    """The objective of every bit, by a loop over items, is that of BFGS on this bit alone."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 3))
    bases = x[:8]
    codes = np.where(x @ rng.normal(size=(3, 4)) + 0.5 * rng.normal(size=(80, 4)) >= 0, 1, -1).astype(np.int8)
    kernel_nm, kernel_mm = rbf(x, bases, 2.0), rbf(bases, bases, 2.0)

    def objective(w: np.ndarray, k: int) -> float:
        loss = sum(np.log1p(np.exp(-b * (row @ w))) for b, row in zip(codes[:, k], kernel_nm, strict=True))
        return float(loss + 0.3 * w @ kernel_mm @ w)

    weight = kernel_logistic.fit(kernel_nm, kernel_mm, codes, 0.3)
    for k in range(4):
        alone = optimize.minimize(objective, np.zeros(8), args=(k,), method="BFGS").fun
        assert abs(objective(weight[:, k], k) - alone) < 1e-4 * alone


def test_bases_that_repeat_do_not_matter() -> None:
    """A singular K_MM (each basis twice) gives the same function values as each once."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(40, 2))
    codes = np.where(x >= 0, 1, -1).astype(np.int8)
    once, twice = x[:6], np.vstack([x[:6], x[:6]])
    values = [
        rbf(x, z, 1.0) @ kernel_logistic.fit(rbf(x, z, 1.0), rbf(z, z, 1.0), codes, 0.1)
        for z in (once, twice)
    ]
    np.testing.assert_allclose(*values, atol=2e-2)
    assert np.isfinite(values[1]).all()
