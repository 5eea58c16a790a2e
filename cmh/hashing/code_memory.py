"""The code memory: the latest relaxed code of every training item, one matrix per modality.

Methods that train the towers in turn compare a batch of one modality with the codes of *all* items in the
other.  Encoding all items again at each step would cost too much, so the codes are stored.  The memory is the
same on every worker.  Beside the codes it holds what does not change: labels and groups of the items.

Shape suffixes: B = batch rows of this worker, N = training set, K = bits, L = labels.
"""

from typing import Literal

import torch
from torch import Tensor

from cmh import distributed
from cmh.data.sides import Side


class CodeMemory:
    """The relaxed codes F (image) and G (text) of the training set, and their binary consensus B.

    F and G start as N(0, 1), as in SCAHN.  They are drawn on the CPU, so that all devices start alike.
    """

    image_NK: Tensor  # float32
    text_NK: Tensor  # float32
    consensus_NK: Tensor  # float32 in {-1, +1}, computed at the last `refresh`
    labels_NL: Tensor  # float32 multi-hot
    group_N: Tensor  # int64, number of each item's group
    relevant_share: float  # relevant pairs as a share of all pairs of training items

    def __init__(self, labels_NL: Tensor, bits: int, seed: int, group_N: Tensor | None = None) -> None:
        generator = torch.Generator().manual_seed(seed)
        shape = (len(labels_NL), bits)
        self.labels_NL = labels_NL
        self.group_N = torch.arange(len(labels_NL)) if group_N is None else group_N
        self.group_N = self.group_N.to(labels_NL.device)
        self.relevant_share = _relevant_share(labels_NL)
        self.image_NK = torch.randn(shape, generator=generator).to(labels_NL.device)
        self.text_NK = torch.randn(shape, generator=generator).to(labels_NL.device)
        self.refresh()

    def consensus(self) -> Tensor:
        """Return b_NK = sign(F + G) in {-1, +1}, with sign(0) = +1, of the current codes."""
        return torch.where(self.image_NK + self.text_NK >= 0, 1.0, -1.0)

    def refresh(self) -> None:
        """Store the consensus of the current codes; the trainer calls this at the start of each epoch."""
        self.consensus_NK = self.consensus()

    def weight_of_relevant(self, weight: float | Literal["balanced"]) -> float:
        """Return the weight of a relevant pair in a loss over pairs.

        Args:
            weight: the weight itself, or "balanced" for the weight that makes all relevant pairs together
                weigh as much as all other pairs.

        Raises:
            ValueError: "balanced", and no training item has a label, or every two share one.
        """
        if weight != "balanced":
            return weight
        if self.relevant_share == 0:
            raise ValueError("relevant pairs cannot be balanced: no training item has a label")
        if self.relevant_share == 1:
            raise ValueError("relevant pairs cannot be balanced: every two training items share a label")
        return (1 - self.relevant_share) / self.relevant_share

    def prefix(self, bits: int) -> "CodeMemory":
        """Return a memory of the first `bits` bits; it shares storage with this one, labels included."""
        view = object.__new__(CodeMemory)
        view.labels_NL, view.relevant_share = self.labels_NL, self.relevant_share
        view.group_N = self.group_N
        view.image_NK, view.text_NK = self.image_NK[:, :bits], self.text_NK[:, :bits]
        view.consensus_NK = self.consensus_NK[:, :bits]
        return view

    def write(self, side: Side, index_B: Tensor, u_BK: Tensor) -> None:
        """Store the codes of this worker's rows and those of all other workers.

        Every worker must call this at the same point with the same number of rows.

        Args:
            side: modality of the codes.
            index_B: rows in the training set, int64 (B,).
            u_BK: their relaxed codes, float (B, K); no gradient flows into the memory.
        """
        codes_NK = self.image_NK if side == "image" else self.text_NK
        codes_NK[distributed.gather(index_B)] = distributed.gather(u_BK.detach()).to(codes_NK.dtype)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the codes and the consensus, not copied; labels are not included, as the data holds them."""
        return {"image": self.image_NK, "text": self.text_NK, "consensus": self.consensus_NK}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore the tensors of `state_dict`.

        Raises:
            ValueError: the codes have another shape.
        """
        for key, codes_NK in self.state_dict().items():
            if state[key].shape != codes_NK.shape:
                raise ValueError(
                    f"stored {key} codes have shape {tuple(state[key].shape)}, "
                    f"this training set needs {tuple(codes_NK.shape)}; resume with the same data and bits"
                )
            codes_NK.copy_(state[key])


def _relevant_share(labels_NL: Tensor) -> float:
    """Return the share of the pairs (i, j), i = j included, that have a label in common.

    The pairs are counted one block of rows at a time, which bounds the memory.
    """
    relevant = sum(
        int((labels_NL[start : start + 1024] @ labels_NL.T > 0).sum().item())
        for start in range(0, len(labels_NL), 1024)
    )
    return relevant / len(labels_NL) ** 2
