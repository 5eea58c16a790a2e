"""Text networks: a bag of words in, the maps of four stages out.

Source: Wang et al., SCAHN, Neurocomputing 400, 2020, section 3.

Shape suffixes: B = batch, D = text dimensions (words), C = channels, J = columns.
"""

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from cmh.multiscale import MultiScale
from cmh.word_block import WordBlock


class ResidualBlock(nn.Module):
    """conv 3, norm, ReLU, conv k, norm; shortcut conv k, norm; sum, ReLU.  Narrows the width by k - 1."""

    def __init__(self, channels: int, out: int, kernel: int) -> None:
        super().__init__()
        self.conv1 = _conv(channels, out, 3, padding=1)
        self.norm1 = nn.BatchNorm1d(out)
        self.conv2 = _conv(out, out, kernel)
        self.norm2 = nn.BatchNorm1d(out)
        self.shortcut = _conv(channels, out, kernel)
        self.norm3 = nn.BatchNorm1d(out)

    def forward(self, x_BCJ: Tensor) -> Tensor:
        y = self.conv2(functional.relu(self.norm1(self.conv1(x_BCJ))))
        return functional.relu(self.norm2(y) + self.norm3(self.shortcut(x_BCJ)))


class ResidualText(nn.Module):
    """Bag of words (B, D) to four stage maps (B, C_s, width_s).

    `channels` are the C_s, `widths` the widths of the stages: 64, 128, 256, 512 and 6, 4, 2, 1.
    """

    channels = (64, 128, 256, 512)
    widths = (6, 4, 2, 1)

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.columns = MultiScale(dim)
        self.words = WordBlock(self.columns, self.channels[0])
        self.blocks = nn.ModuleList(
            ResidualBlock(channels, out, wide - narrow + 1)
            for (channels, out), (wide, narrow) in zip(
                pairwise(self.channels), pairwise(self.widths), strict=True
            )
        )

    def forward(self, text_BD: Tensor) -> tuple[Tensor, ...]:
        stages = [self.words(self.columns(text_BD))]
        for block in self.blocks:
            stages.append(block(stages[-1]))
        return tuple(stages)


def _conv(channels: int, out: int, kernel: int, padding: int = 0) -> nn.Conv1d:
    conv = nn.Conv1d(channels, out, kernel, padding=padding, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv
