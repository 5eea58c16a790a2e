r"""NRCH: Robust Contrastive Cross-modal Hashing with Noisy Labels; only an item's own pair is pulled.

Source: Wang et al., Robust Contrastive Cross-modal Hashing with Noisy Labels, ACM MM 2024, and the authors'
code (commit b190e97); the paper itself was not at hand.

Codes u, v have unit length; u~ = tanh(u), v~ = tanh(v), S = u~ v~ᵀ.  T_ij = 1 where two items share a
label, and T_ii = 0.  With C as in `cmh.hashing.contrast.shifted`, its diagonal not below 0,

$$ l_i = margin - S_{ii} + log Σ_j exp(C_{ij} (1 - T_{ij})) + \text{the same for the columns of } S $$

$$ q_i = mean_k (|\tilde u_{ik}| - 1/\sqrt{K})² + mean_k (|\tilde v_{ik}| - 1/\sqrt{K})² $$

$$ L = mean_i [λ l_i + (1 - λ) q_i] + mean_{ic} [(y_{ic} - ⟨u_i, w_c⟩)² + (y_{ic} - ⟨v_i, w_c⟩)²] $$

w are tanh of a matrix that is trained along, which alone learns from the last term, and y = ±1 labels.  Items
that share a label are neither pulled nor pushed; so a wrong label does little harm.

From epoch `select_from` on, only items count whose labels look right: with e_i = max over the labels of i
of (1 - ⟨u_i, w_c⟩)² + (1 - ⟨v_i, w_c⟩)², scaled to [0, 1], a mixture of two Gaussians is fitted, and an
item counts if the one with the lower mean has at least `select` of its probability.

`as_published`: the code computes the columns' term and then takes the rows' term twice.  Its evaluation takes
the best of the test queries.

Differences from the code: e is of the codes in the memory, as the epoch saw them, instead of a further pass
over the items; Adam with β₁ = 0 and β₂ = 0.99 for RMSprop, of which it is the form with bias correction;
the image tower reads the backbone's last stage.  Noise in labels is a matter of the dataset, not of this
file.

Shape suffixes: B = batch, N = training set, K = bits, D = text dimensions, L, C = labels.
"""

import math
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor, nn
from torch.nn import functional

from cmh import distributed
from cmh.data.batches import Batch
from cmh.data.items import Items
from cmh.hashing import config_checks, losses
from cmh.hashing.code_memory import CodeMemory
from cmh.hashing.contrast import UnitTowers, shifted
from cmh.hashing.method import Inputs, Optimizer, Phase


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of NRCH; the defaults are the authors' code's, or say whose they are."""

    bits: int = 128  # the paper reports 16 to 128
    hidden: int = 8192
    lambda_: float = 0.6  # weight of the pairs beside the quantisation
    margin: float = 0.2
    shift: float = 1.0
    as_published: bool = False  # ours: both directions; the code's: one of them twice
    select: float = 0.3  # probability from which an item counts; 0: all items
    select_from: int = 20  # number of whole epochs before the selection begins
    lr: float = 1e-5
    weight_decay: float = 1e-5
    decay: float = 1.0  # of lr over all epochs

    def __post_init__(self) -> None:
        config_checks.positive(self, "bits", "hidden", "select_from", "lr", "decay")
        config_checks.not_negative(self, "margin", "shift", "select", "weight_decay")
        config_checks.share(self, "lambda_")


class NRCH(UnitTowers):
    """Image: last stage, average, two hidden layers, tanh.  Text: one hidden layer, tanh.  Unit length."""

    config: Config
    SHORT = MappingProxyType({"hidden": 1024, "lr": 3e-4, "decay": 0.1, "select_from": 5})
    VARIANTS = MappingProxyType({"as_published": {"as_published": True}, "all_items": {"select": 0.0}})
    selected_N: Tensor | None = None  # bool, the items that count; None: all

    def __init__(self, config: Config, inputs: Inputs, backbone: nn.Module) -> None:
        super().__init__(config, inputs, backbone)
        self.classes = nn.Linear(config.bits, inputs.labels, bias=False)
        nn.init.orthogonal_(self.classes.weight)

    @property
    def phases(self) -> tuple[Phase, ...]:
        """One pass over the pairs; towers and classes move."""
        c = self.config
        rmsprop = Optimizer(
            kind="adam", lr=c.lr, betas=(0.0, 0.99), weight_decay=c.weight_decay, decay=c.decay
        )
        modules = ("backbone", "image_tower", "text_tower", "classes")
        return (Phase(name="pairs", modules=modules, reads="both", optimizer=rmsprop),)

    def begin_epoch(self, epoch: int, train: Items, memory: CodeMemory) -> None:
        """Select the items that count."""
        self.selected_N = None
        if self.config.select > 0 and epoch >= self.config.select_from:
            w_CK = self.classes.weight.detach().tanh()
            error_N = misfit(memory.image_NK, memory.text_NK, w_CK, memory.labels_NL)
            chosen = torch.from_numpy(trusted(error_N.cpu().numpy(), self.config.select))
            self.selected_N = chosen.to(memory.labels_NL.device)

    def loss(self, phase: str, codes: Tensor, batch: Batch, memory: CodeMemory) -> dict[str, Tensor]:
        """Return terms `pairs`, `quantisation` and `classes`; 0 each in a batch of which no item counts."""
        c = self.config
        normal = functional.normalize(codes, dim=2)  # again, for the first bits of nested codes
        u_BK, v_BK = distributed.gather(normal.transpose(0, 1)).unbind(1)
        labels_BL = distributed.gather(batch.labels_BL)
        if self.selected_N is not None:
            chosen_B = self.selected_N[distributed.gather(batch.index_B)]
            u_BK, v_BK, labels_BL = u_BK[chosen_B], v_BK[chosen_B], labels_BL[chosen_B]
        w_CK = self.classes.weight[:, : u_BK.shape[1]].tanh()
        terms = {
            "pairs": c.lambda_ * contrastive(u_BK, v_BK, labels_BL, c.margin, c.shift, c.as_published),
            "quantisation": (1 - c.lambda_) * (binary(u_BK.tanh()) + binary(v_BK.tanh())),
            "classes": classified(u_BK.detach(), v_BK.detach(), w_CK, labels_BL),
        }
        return terms if len(u_BK) else {name: codes.sum() * 0 + w_CK.sum() * 0 for name in terms}


def contrastive(
    u_BK: Tensor, v_BK: Tensor, labels_BL: Tensor, margin: float, shift: float, as_published: bool
) -> Tensor:
    """Return mean_i l_i."""
    s_BB = u_BK.tanh() @ v_BK.tanh().T
    own_BB = torch.eye(len(s_BB), dtype=torch.bool, device=s_BB.device)
    others_BB = 1 - losses.relevance(labels_BL, labels_BL).masked_fill(own_BB, 0)
    parts = []
    for way_BB in (s_BB, s_BB if as_published else s_BB.T):
        c_BB = shifted(way_BB, margin, shift)
        c_BB = torch.where(own_BB, c_BB.clamp(min=0), c_BB)
        parts.append((margin - way_BB.diagonal() + (c_BB * others_BB).logsumexp(1)).mean())
    return torch.stack(parts).sum()


def binary(u_BK: Tensor) -> Tensor:
    """Return mean_ik (|u_ik| - 1/sqrt(K))²."""
    return (u_BK.abs() - 1 / math.sqrt(u_BK.shape[1])).square().mean()


def classified(u_BK: Tensor, v_BK: Tensor, w_CK: Tensor, labels_BL: Tensor) -> Tensor:
    """Return mean_ic [(y_ic - ⟨u_i, w_c⟩)² + (y_ic - ⟨v_i, w_c⟩)²], y = ±1."""
    y_BC = 2 * labels_BL - 1
    return ((y_BC - u_BK @ w_CK.T).square() + (y_BC - v_BK @ w_CK.T).square()).mean()


def misfit(u_NK: Tensor, v_NK: Tensor, w_CK: Tensor, labels_NL: Tensor) -> Tensor:
    """Return e_i, the largest error over the labels of an item; 0 for one without labels."""
    error_NC = (1 - u_NK @ w_CK.T).square() + (1 - v_NK @ w_CK.T).square()
    return (error_NC * labels_NL).amax(1)


def trusted(error_N: np.ndarray, least: float) -> np.ndarray:
    """Return which items belong to the Gaussian of the lower mean with probability `least` or more."""
    low, high = error_N.min(), error_N.max()
    if low == high:
        return np.ones(len(error_N), bool)
    scaled_N1 = ((error_N - low) / (high - low)).astype(np.float64)[:, None]
    mixture = GaussianMixture(2, max_iter=10, tol=0.5, reg_covar=5e-4, random_state=0).fit(scaled_N1)
    chosen: np.ndarray = mixture.predict_proba(scaled_N1)[:, mixture.means_.argmin()] >= least
    return chosen
