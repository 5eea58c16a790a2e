"""CCA-ITQ: canonical correlation analysis, then one rotation of both modalities; the line to beat.

Source: Gong and Lazebnik, CVPR 2011 (see `cmh.hashing.rotation`), whose CCA-ITQ correlates images with
labels; here images with texts.  Labels are not read.

Each modality is centred by its own mean, divided by the root of its mean variance and projected to the K most
correlated pairs of directions; direction k is scaled by its correlation to the power of `power`, so that a
rotation does not spread the noise of weak directions over all bits.  The projections of both modalities, one
above the other, give one rotation R; codes are sign((x - mean) W_x R) and sign((y - mean) W_y R).

`power = 1` is the scaling by eigenvalues of the authors' TPAMI paper, recalled and not confirmed; 0 is plain
CCA.

At most min(F, D) directions carry information (`cmh.hashing.correlation.pairs`); further ones have no
correlation, and hence no weight with `power` above 0.  Time O(N (F + D)²), memory O(N (F + D)).

Shape suffixes: N = training set, F = image features, D = text dimensions, L = labels, K = bits.
"""

from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from cmh.hashing import config_checks, correlation
from cmh.hashing.projections import Matrix
from cmh.hashing.rotation import rotation
from cmh.hashing.shallow import LinearHashing


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings; the defaults are the paper's, or say whose they are."""

    bits: int = 16
    steps: int = 50  # turns of the rotation: section 2.2; 0: the random rotation that it starts from
    ridge: float = 1e-2  # ours, a share of the mean variance of each modality's features
    power: float = 1.0  # of the correlation, by which a direction is scaled; see above
    stages: tuple[int, ...] = (-1,)  # ours: the deepest features

    def __post_init__(self) -> None:
        config_checks.positive(self, "bits", "ridge")
        config_checks.not_negative(self, "steps", "power")


class CCAITQ(LinearHashing):
    """Linear hash functions from one eigenproblem and one rotation."""

    reads_labels = "never"
    config: Config
    VARIANTS = MappingProxyType({"random_rotation": {"steps": 0}, "unscaled": {"power": 0.0}})

    def solve(self, image_NF: Matrix, text_ND: Matrix, labels_NL: NDArray[np.bool_], seed: int) -> None:
        config = self.config
        means = image_NF.mean(axis=0), text_ND.mean(axis=0)
        centred = [m - mean for m, mean in zip((image_NF, text_ND), means, strict=True)]
        deviations = [float(np.sqrt((x**2).mean())) or 1.0 for x in centred]
        x_NF, y_ND = (x / deviation for x, deviation in zip(centred, deviations, strict=True))
        directions = correlation.pairs(
            x_NF.T @ x_NF / len(x_NF),
            y_ND.T @ y_ND / len(x_NF),
            x_NF.T @ y_ND / len(x_NF),
            self.bits,
            ridge=config.ridge,
        )
        weight_K = np.maximum(directions.strength_K, 0) ** (config.power / 2)
        wx_FK, wy_DK = directions.wx_FK * weight_K, directions.wy_DK * weight_K
        r_KK = rotation(np.concatenate([x_NF @ wx_FK, y_ND @ wy_DK]), config.steps, seed)
        self.image.keep(means[0], wx_FK @ r_KK / deviations[0])
        self.text.keep(means[1], wy_DK @ r_KK / deviations[1])
