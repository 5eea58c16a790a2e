"""Dropout that leaves out the same units on any number of workers.

Shape suffixes: B = batch rows of this worker, J = units.
"""

import torch
from torch import Tensor, nn

from cmh import distributed


class Dropout(nn.Module):
    """Dropout (Srivastava et al., JMLR 2014) whose mask is drawn for the global batch.

    torch's own draws for the rows of each worker; with generators that are seeded alike, as the trainer seeds
    them, rows of different workers would share masks, and a run would depend on the number of workers.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        if not 0 <= share < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, got {share}")
        self.share = share

    def forward(self, x_BJ: Tensor) -> Tensor:
        """Return x with a share of the units at 0 and the others divided by 1 - share; in evaluation, x."""
        if not self.training or self.share == 0:
            return x_BJ
        rank, workers = distributed.rank(), distributed.world_size()
        drawn = torch.rand(len(x_BJ) * workers, x_BJ.shape[1], device=x_BJ.device)[rank::workers]
        return x_BJ * (drawn >= self.share) / (1 - self.share)
