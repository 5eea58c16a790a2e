"""ITQ and CCA-ITQ: the rotation's optimality, the equations against numpy, and on Wiki."""

import numpy as np
import pytest

from cmh.hashing import rotation
from cmh.methods import cca_itq
from cmh.training import solver
from tests.cmh.methods import shallow


def quantisation(z_NK: np.ndarray, r_KK: np.ndarray) -> float:
    """‖sign(Z R) - Z R‖², one number at a time."""
    return sum((1 - abs(value)) ** 2 for value in (z_NK @ r_KK).flatten().tolist())


def test_each_turn_of_the_rotation_lowers_the_loss() -> None:
    """The loss never rises from turn to turn, and R stays orthogonal."""
    z_NK = np.random.default_rng(0).normal(size=(80, 8)) * np.linspace(2, 0.1, 8)
    rotations = [rotation.rotation(z_NK, steps, seed=1) for steps in range(12)]
    losses = [quantisation(z_NK, r_KK) for r_KK in rotations]
    assert np.all(np.diff(losses) <= 1e-9)
    assert losses[-1] < 0.95 * losses[0]
    np.testing.assert_allclose(rotations[-1].T @ rotations[-1], np.eye(8), atol=1e-12)


def test_a_turn_is_the_best_rotation_for_its_signs() -> None:
    """No small rotation in any plane comes nearer to B = sign(Z R_before)."""
    z_NK = np.random.default_rng(1).normal(size=(50, 4))
    before_KK, r_KK = (rotation.rotation(z_NK, steps, seed=2) for steps in (0, 1))
    b_NK = np.where(z_NK @ before_KK >= 0, 1, -1)
    best = ((b_NK - z_NK @ r_KK) ** 2).sum()
    for i, j in ((0, 1), (0, 3), (1, 2), (2, 3)):
        for angle in (-0.01, 0.01):
            turn_KK = np.eye(4)
            turn_KK[[i, j], [i, j]] = np.cos(angle)
            turn_KK[i, j], turn_KK[j, i] = -np.sin(angle), np.sin(angle)
            assert ((b_NK - z_NK @ r_KK @ turn_KK) ** 2).sum() > best


def test_itq_projects_both_sides_by_one_orthonormal_map() -> None:
    """W is the same for both, WᵀW = 1, and spans numpy's leading principal directions."""
    items = shallow.pairs(90, method="itq")
    image, text, _ = shallow.matrices(items)
    method = shallow.build("itq", items, bits=6, unit=False)
    solver.fit(method, items, seed=0)
    w_FK = method.image.weight_FK.numpy()
    assert np.array_equal(w_FK, method.text.weight_FK.numpy())
    centred = np.concatenate([image - image.mean(0), text - text.mean(0)])
    basis_FK = np.linalg.svd(centred)[2][:6].T
    np.testing.assert_allclose(w_FK.T @ w_FK, np.eye(6), atol=1e-10)
    np.testing.assert_allclose(w_FK @ w_FK.T, basis_FK @ basis_FK.T, atol=1e-8)
    rotated_KK = basis_FK.T @ w_FK
    again_KK = np.linalg.svd(np.where(centred @ w_FK >= 0, 1, -1).T @ (centred @ basis_FK))
    np.testing.assert_allclose(rotated_KK, (again_KK[0] @ again_KK[2]).T, atol=1e-6)  # R no longer changes


def test_itq_refuses_sides_of_different_sizes() -> None:
    """The message says what to take in place of them."""
    items = shallow.pairs(50)
    with pytest.raises(ValueError, match=r"the same size, got 24 and 18 numbers; take CLIP .* cca_itq"):
        solver.fit(shallow.build("itq", items), items, seed=0)
    items = shallow.pairs(50, method="itq")
    with pytest.raises(ValueError, match="32 bits were asked of 24 features"):
        solver.fit(shallow.build("itq", items, bits=32), items, seed=0)


def test_unit_rows_make_codes_forget_the_length() -> None:
    """Eight times a feature has the same relaxed code."""
    items = shallow.pairs(50, method="itq")
    method = shallow.build("itq", items, bits=8)
    solver.fit(method, items, seed=0)
    (features,) = (shallow.torch.from_numpy(stage) for stage in items.image)
    np.testing.assert_allclose(method.encode_image((8 * features,)), method.encode_image((features,)))


@pytest.mark.parametrize("power", [0.0, 1.0])
def test_cca_itq_is_cca_scaled_and_rotated(power: float) -> None:
    """Projections before the rotation are uncorrelated and have variance ρ^2power, ρ the correlation."""
    items = shallow.pairs(200)
    image, text, _ = shallow.matrices(items)
    method = shallow.build("cca_itq", items, bits=5, ridge=1e-9, power=power)
    solver.fit(method, items, seed=0)
    assert isinstance(method, cca_itq.CCAITQ)
    qx, qy = (np.linalg.qr(m - m.mean(0))[0] for m in (image, text))
    rho_K = np.linalg.svd(qx.T @ qy)[1][:5]
    u, v = (
        (m - m.mean(0)) @ side.weight_FK.numpy() for m, side in ((image, method.image), (text, method.text))
    )
    for a, b, power_of_rho in ((u, u, 2 * power), (v, v, 2 * power), (u, v, 2 * power + 1)):
        found = np.linalg.svd(a.T @ b / 200)[1]
        np.testing.assert_allclose(found, np.sort(rho_K**power_of_rho)[::-1], rtol=1e-5)


def test_rotation_and_scaling_help_on_wiki() -> None:
    """32 bits of ten text dimensions: plain CCA's further bits are noise, and here they are not."""
    plain, rotated = (shallow.wiki_maps(name, bits=32)["per modality"] for name in ("cca", "cca_itq"))
    assert min(rotated) > min(plain) + 0.02
