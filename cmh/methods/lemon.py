r"""LEMON: Label Embedding Online Hashing, chunk by chunk, without a second look at what came before.

Source: Wang, Luo and Xu, Label Embedding Online Hashing for Cross-Modal Retrieval, ACM MM 2020, and the
authors' code (commit 80989e4), from whose updates the objective is inferred.

Training items come in chunks, in one run or in several: a model holds its sums, to which a later run adds.
Of the m items of a chunk, X and Y are features, L labels, and G the labels with rows of unit length;
S = 2 G Gᵀ - 1 between them and all items so far.  Binary codes B, real ones V and a rotation R:

$$ min ‖B - V R‖² + β ‖L - V P‖² + α ‖K S - B Vᵀ‖²,   Vᵀ V = m 1, Vᵀ 1 = 0, R Rᵀ = 1, B ∈ \{-1, +1\} $$

by turns P, V, R, B, each the minimiser given the others.  Past chunks enter by sums only: ΣVᵀV, ΣVᵀL, ΣGᵀB,
Σ1ᵀB, ΣBᵀV, ΣGᵀV, Σ1ᵀV, and ΣXᵀX, ΣXᵀB of both modalities.  After the last chunk, W = (ΣXᵀX + ξ)⁻¹ ΣXᵀB; hash
codes are sign(X W), and B are the unified codes of the training items, which no later chunk changes.  The
sums of a label that is new are 0.

Differences from the code: features are kernels of `bases` random items of the first chunk (ours, as DCH has
them); the directions that V lacks where Z has no rank are orthogonal to the others and to 1, in the code only
to each other; random numbers follow from the seed and the number of the chunk.  Its evaluation ranks the
unified codes of the database.

Time O(m M² + m K (M + L + K)) a chunk, memory O(N (M + K)).

Shape suffixes: N = training set, m = items of a chunk, F = image features, D = text dimensions, L = labels,
K = bits, M = bases.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import linalg
from torch import Tensor, nn

from cmh.hashing import config_checks, rbf
from cmh.hashing.method import Inputs, Method
from cmh.hashing.projections import Matrix, unit_rows
from cmh.hashing.shallow import KernelHashing


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings; the defaults are the authors' code's, or say whose they are."""

    bits: int = 16
    bases: int = 500  # ours, as DCH
    chunks: int = 1  # ours: all items at once; the code's have 2,000 items, on NUS-WIDE 10,000
    alpha: float = 1e4  # weight of the similarity
    beta: float = 1e4  # weight of the labels
    gamma: float = 0.1  # ridge of P
    xi: float = 1e-2  # ours, ridge of W, for kernels; the code: 1, for its features
    steps: int = 5  # turns in each chunk
    stages: tuple[int, ...] = (-1,)  # ours: the deepest features

    def __post_init__(self) -> None:
        config_checks.positive(self, "bits", "bases", "chunks", "gamma", "xi", "steps")
        config_checks.not_negative(self, "alpha", "beta")


class LEMON(KernelHashing):
    """Kernel hash functions onto binary codes that follow labels, learnt chunk by chunk."""

    REVISION = 2
    config: Config
    learnt_2: Tensor
    VARIANTS = MappingProxyType({"online": {"chunks": 5}, "without_embedding": {"beta": 0.0}})

    def __init__(self, config: Config, inputs: Inputs, backbone: nn.Module) -> None:
        super().__init__(config, inputs, backbone)
        self.register_buffer("learnt_2", torch.zeros(2, dtype=torch.int64))  # chunks; bases in use
        for name, sums in Learner(config, inputs.labels, [config.bases] * 2).sums.items():
            self.register_buffer(f"sum_{name}", torch.from_numpy(sums))

    def solve(
        self, image_NF: Matrix, text_ND: Matrix, labels_NL: NDArray[np.bool_], seed: int
    ) -> NDArray[np.int8]:
        config = self.config
        chunks = np.array_split(np.arange(len(image_NF)), min(config.chunks, max(1, len(image_NF) // 2)))
        sides = ((self.image, image_NF), (self.text, text_ND))
        before, used = self.learnt_2.tolist()
        if not before:
            used = min(len(side.choose(x[chunks[0]], "random", seed)) for side, x in sides)
        bases = [side.bases_MF[:used].numpy() for side, _ in sides]
        learner = Learner(config, labels_NL.shape[1], [used] * 2)
        for name, sums in learner.sums.items():
            sums[...] = self.get_buffer(f"sum_{name}").numpy()[tuple(map(slice, sums.shape))]
        codes = []
        for number, rows in enumerate(chunks, start=before):
            phi = [
                rbf.rbf(x[rows], b_MF, float(side.variance))
                for (side, x), b_MF in zip(sides, bases, strict=True)
            ]
            rng = np.random.default_rng([seed, number])
            codes.append(learner.learn(phi, labels_NL[rows].astype(np.float64), rng))
        self._hold(learner.sums)
        self.learnt_2.copy_(torch.tensor([before + len(chunks), used]))
        for (side, _), weight_MK in zip(sides, learner.weights(), strict=True):
            side.keep(weight_MK)
        return np.concatenate(codes).astype(np.int8)

    def go_on_from(self, before: Method) -> None:
        assert isinstance(before, LEMON)
        held = before.state_dict()
        for name in ("image.bases_MF", "text.bases_MF", *held):  # first what says most of a difference
            old, new = held[name], self.get_buffer(name)
            grows = name.endswith(("L", "LK")) and old.ndim == new.ndim
            if old.shape != new.shape and not grows:
                raise ValueError(
                    f"the model to go on from has a {name} of {tuple(old.shape)}, and {tuple(new.shape)} is "
                    "needed; give features and settings of the same kind, or train anew"
                )
            new[tuple(map(slice, old.shape))] = old

    def _hold(self, sums: Mapping[str, Matrix]) -> None:
        for name, found in sums.items():
            self.get_buffer(f"sum_{name}").numpy()[tuple(map(slice, found.shape))] = found


class Learner:
    """The sums over past chunks, and what a chunk adds to them."""

    def __init__(self, config: Config, labels: int, features: list[int]) -> None:
        bits = config.bits
        self.config = config
        self.vv_KK, self.vl_KL = np.zeros((bits, bits)), np.zeros((bits, labels))
        self.gb_LK, self.b_K = np.zeros((labels, bits)), np.zeros(bits)
        self.bv_KK, self.gv_LK, self.v_K = np.zeros((bits, bits)), np.zeros((labels, bits)), np.zeros(bits)
        self.xx = [np.zeros((size, size)) for size in features]
        self.xb = [np.zeros((size, bits)) for size in features]

    @property
    def sums(self) -> dict[str, Matrix]:
        """All sums by name, to be read and written."""
        names = ("vv_KK", "vl_KL", "gb_LK", "b_K", "bv_KK", "gv_LK", "v_K")
        products = {
            "image_MM": self.xx[0],
            "text_MM": self.xx[1],
            "image_MK": self.xb[0],
            "text_MK": self.xb[1],
        }
        return {name: getattr(self, name) for name in names} | products

    def learn(self, phi: list[Matrix], l_mL: Matrix, rng: np.random.Generator) -> Matrix:
        """Return the codes B (m, K) of a chunk, and add it to the sums.

        Args:
            phi: its features in both modalities.
            l_mL: its labels, 0 or 1.
            rng: draws codes to start from.
        """
        c, g_mL = self.config, unit_rows(l_mL)
        shape = (len(l_mL), c.bits)
        b_mK = np.where(rng.standard_normal(shape) >= 0, 1.0, -1.0)
        v_mK = rng.standard_normal(shape)
        r_KK = np.linalg.qr(rng.standard_normal((c.bits, c.bits)))[0]
        scale = c.alpha * c.bits
        for _ in range(c.steps):
            gram_KK = self.vv_KK + v_mK.T @ v_mK + c.gamma * np.eye(c.bits)
            p_KL = linalg.solve(gram_KK, self.vl_KL + v_mK.T @ l_mL, assume_a="pos")
            similar_mK = 2 * g_mL @ (self.gb_LK + g_mL.T @ b_mK) - (self.b_K + b_mK.sum(axis=0))
            v_mK = orthogonal(b_mK @ r_KK.T + c.beta * l_mL @ p_KL.T + scale * similar_mK, rng)
            left_KK, _, right_KK = linalg.svd(self.bv_KK + b_mK.T @ v_mK)
            r_KK = (left_KK @ right_KK).T
            similar_mK = 2 * g_mL @ (self.gv_LK + g_mL.T @ v_mK) - (self.v_K + v_mK.sum(axis=0))
            b_mK = np.where(scale * similar_mK + v_mK @ r_KK >= 0, 1.0, -1.0)
        self.vv_KK += v_mK.T @ v_mK
        self.vl_KL += v_mK.T @ l_mL
        self.gb_LK += g_mL.T @ b_mK
        self.b_K += b_mK.sum(axis=0)
        self.bv_KK += b_mK.T @ v_mK
        self.gv_LK += g_mL.T @ v_mK
        self.v_K += v_mK.sum(axis=0)
        for side, x_mM in enumerate(phi):
            self.xx[side] += x_mM.T @ x_mM
            self.xb[side] += x_mM.T @ b_mK
        return b_mK

    def weights(self) -> list[Matrix]:
        """Return W (M, K) of both modalities."""
        return [
            linalg.solve(xx_MM + self.config.xi * np.eye(len(xx_MM)), xb_MK, assume_a="pos")
            for xx_MM, xb_MK in zip(self.xx, self.xb, strict=True)
        ]


def orthogonal(z_mK: Matrix, rng: np.random.Generator) -> Matrix:
    """Return V (m, K) with Vᵀ V = m 1 and Vᵀ 1 = 0 that makes tr(Vᵀ Z) largest.

    With fewer items than K + 1 there is none; columns beyond are then 0.

    Args:
        z_mK: target.
        rng: draws the columns that Z leaves open, orthogonal to the others and to 1.
    """
    centred_mK = z_mK - z_mK.mean(axis=0)
    u_mK, singular_K, vt_KK = linalg.svd(centred_mK, full_matrices=False)
    rank = int((singular_K > singular_K.max(initial=0) * 1e-9).sum())
    taken = np.concatenate([np.full((len(z_mK), 1), len(z_mK) ** -0.5), u_mK[:, :rank]], axis=1)
    missing = min(u_mK.shape[1] - rank, len(z_mK) - taken.shape[1])
    free_mX = rng.standard_normal((len(z_mK), missing))
    for _ in range(2):  # twice, as rounding leaves a rest of the first time
        free_mX -= taken @ (taken.T @ free_mX)
    left_mK = np.zeros_like(u_mK)
    left_mK[:, :rank] = u_mK[:, :rank]
    left_mK[:, rank : rank + missing] = np.linalg.qr(free_mX)[0]
    v_mK: Matrix = len(z_mK) ** 0.5 * left_mK @ vt_KK
    return v_mK
