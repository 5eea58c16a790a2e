"""CCA against scikit-learn's idea of it (correlations by SVD of whitened data), and on Wiki."""

import numpy as np
import pytest

from cmh.hashing import projections
from cmh.methods import cca
from cmh.training import solver
from tests.cmh.methods import shallow


def test_projections_have_the_canonical_correlations() -> None:
    """Correlations of paired projections are the singular values of Qxᵀ Qy, of orthonormal bases by QR."""
    items = shallow.pairs(200)
    image, text, _ = shallow.matrices(items)
    method = shallow.build("cca", items, bits=10)
    solver.fit(method, items, seed=0)
    assert isinstance(method, cca.CCA)
    u, v = (
        (image - image.mean(0)) @ method.image.weight_FK.numpy(),
        (text - text.mean(0)) @ method.text.weight_FK.numpy(),
    )
    found = [np.corrcoef(u[:, k], v[:, k])[0, 1] for k in range(10)]
    qx, qy = (np.linalg.qr(m - m.mean(0))[0] for m in (image, text))
    np.testing.assert_allclose(found, np.linalg.svd(qx.T @ qy)[1][:10], atol=1e-6)


@pytest.mark.parametrize(
    ("bits", "measured"), [(10, (0.1844, 0.1771)), (16, (0.1778, 0.1569)), (64, (0.1566, 0.1278))]
)
def test_wiki(bits: int, measured: tuple[float, float]) -> None:
    """Within .01 of another implementation's; beyond ten bits (the text's dimensions) both add noise, which
    differs between machines."""
    found = shallow.wiki_maps("cca", bits=bits)["per modality"]
    np.testing.assert_allclose(found, measured, atol=0.01 if bits <= 10 else 0.03)


def test_more_bits_than_features_are_refused() -> None:
    """The message says how many there can be."""
    items = shallow.pairs(50)
    with pytest.raises(ValueError, match=f"at most {shallow.F}"):
        solver.fit(shallow.build("cca", items, bits=32), items, seed=0)


def test_codes_are_centred() -> None:
    """The mean item lies on every boundary: 0, whose sign is +1."""
    items = shallow.pairs(50)
    method = shallow.build("cca", items, bits=4)
    solver.fit(method, items, seed=0)
    u = method.encode_text(method.text.mean_F[None])
    assert projections.signs(u.numpy()).tolist() == [[1, 1, 1, 1]]
