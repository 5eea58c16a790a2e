"""Text networks that read a bag of words, and one that reads words in their order.

- `ResidualText`: four convolutional stages.  Source: Wang et al., SCAHN, Neurocomputing 400, 2020, section 3.
- `ResidualWords`: four fully connected stages.
- `mlp`: the two-layer network of the field's first deep methods.
- `WordLinear`, `MultiScaleLinear`: first layers of text towers.
- `WordSequence`: an LSTM over words in their order.

Shape suffixes: B = batch, D = text dimensions (words), C = channels, J = columns, O = outputs, N = words of
all texts of the batch, T = words of a sequence, H = hidden units.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from cmh.networks.multiscale import SCALES, MultiScale, scale_weights
from cmh.networks.word_block import WordBlock


class ResidualBlock(nn.Module):
    """A residual block over columns: conv 3, norm, ReLU, conv k, norm; shortcut conv k, norm; sum, ReLU.

    The block reduces the width by k - 1, k being `kernel`.
    """

    def __init__(self, channels: int, out: int, kernel: int) -> None:
        super().__init__()
        self.conv1 = _conv(channels, out, 3, padding=1)
        self.norm1 = nn.BatchNorm1d(out)
        self.conv2 = _conv(out, out, kernel)
        self.norm2 = nn.BatchNorm1d(out)
        self.shortcut = _conv(channels, out, kernel)
        self.norm3 = nn.BatchNorm1d(out)

    def forward(self, x_BCJ: Tensor) -> Tensor:
        """Return the block's output (B, out, J - k + 1)."""
        y = self.conv2(functional.relu(self.norm1(self.conv1(x_BCJ))))
        return functional.relu(self.norm2(y) + self.norm3(self.shortcut(x_BCJ)))


class ResidualText(nn.Module):
    """SCAHN's text network, from a bag of words (B, D) to four stage maps (B, C_s, width_s).

    Attributes:
        channels: the C_s of the stages: 64, 128, 256, 512.
        widths: the widths of the stages: 6, 4, 2, 1.
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
        """Return the four stage maps (B, C_s, width_s)."""
        stages = [self.words(self.columns(text_BD))]
        for block in self.blocks:
            stages.append(block(stages[-1]))
        return tuple(stages)


class ResidualWords(nn.Module):
    """A text network of four fully connected residual stages, from a bag of words (B, D) to (B, C, 1) each.

    x_1 = ReLU(BN(W_1 x)), x_s = x_{s-1} + ReLU(BN(W_s x_{s-1})).  This network is ours, an alternative to
    `ResidualText`: that one pools neighbours in the vocabulary, which is in alphabetical order, and such
    neighbours have little in common.

    Attributes:
        channels: C of each stage.
        widths: widths of the stages, 1 each.
    """

    channels = (512, 512, 512, 512)
    widths = (1, 1, 1, 1)

    def __init__(self, dim: int) -> None:
        super().__init__()
        hidden = self.channels[0]
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(size, hidden), nn.BatchNorm1d(hidden), nn.ReLU())
            for size in (dim, hidden, hidden, hidden)
        )

    def forward(self, text_BD: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs (B, C, 1) of the four stages."""
        stages: list[Tensor] = []
        for layer in self.layers:
            x_BC = layer(text_BD) if not stages else stages[-1] + layer(stages[-1])
            stages.append(x_BC)
        return tuple(x_BC[:, :, None] for x_BC in stages)


class WordLinear(nn.Module):
    """`nn.Linear` over a bag of words, whose cost grows with the words that occur, not with all D words.

    The initial weights are N(0, std), the biases 0.
    """

    def __init__(self, dim: int, out: int, std: float = 0.01, *, bias: bool = True) -> None:
        super().__init__()
        self.weight_DO = nn.Parameter(torch.empty(dim, out).normal_(0, std))
        self.bias = nn.Parameter(torch.zeros(out)) if bias else None

    def forward(self, text_BD: Tensor) -> Tensor:
        """Return (B, O) of bags of words (B, D)."""
        if torch.onnx.is_in_onnx_export():  # ONNX has no sum over bags
            return functional.linear(text_BD, self.weight_DO.T, self.bias)
        rows_N, words_N = text_BD.nonzero(as_tuple=True)
        starts_B = torch.searchsorted(rows_N, torch.arange(len(text_BD), device=text_BD.device))
        sums_BO = functional.embedding_bag(
            words_N,
            self.weight_DO,
            starts_B,
            mode="sum",
            per_sample_weights=text_BD[rows_N, words_N].to(self.weight_DO.dtype),
        )
        return sums_BO if self.bias is None else sums_BO + self.bias


class MultiScaleLinear(nn.Module):
    """A fully connected layer over a bag of words and its averages at several scales, (B, D) to (B, O).

    Source: Li et al., SSAH, CVPR 2018.  In the paper the averages of each scale, after a 1x1 convolution and
    ReLU, are resized to D and stacked with the words, and a fully connected layer reads all 6 D numbers.
    Resizing only repeats each average, so this layer reads each average once: it represents the same
    functions with a third of the weights.  The initial weights are N(0, std); the weight of an average is
    distributed as the sum of the weights of its copies would be; biases are 0, and those of the convolutions
    positive (`cmh.networks.multiscale.scale_weights`).
    """

    def __init__(
        self,
        dim: int,
        out: int,
        scales: Sequence[int] = SCALES,
        std: float = 0.01,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.kernels = tuple(min(scale, dim) for scale in scales)
        self.words = WordLinear(dim, out, std, bias=bias)
        self.convolution = nn.Parameter(scale_weights(len(scales)))
        self.shift = nn.Parameter(torch.zeros(len(scales), 1))
        self.averages = nn.ModuleList(nn.Linear(dim // k, out, bias=False) for k in self.kernels)
        for kernel, linear in zip(self.kernels, self.averages, strict=True):
            assert isinstance(linear, nn.Linear)
            nn.init.normal_(linear.weight, std=std * kernel**0.5)

    def forward(self, text_BD: Tensor) -> Tensor:
        """Return (B, O) of bags of words (B, D)."""
        sums_BO: Tensor = self.words(text_BD)
        for kernel, linear, weight, bias in zip(
            self.kernels, self.averages, self.convolution, self.shift, strict=True
        ):
            averages = functional.avg_pool1d(text_BD[:, None], kernel)[:, 0]
            sums_BO = sums_BO + linear(functional.relu(averages * weight + bias))
        return sums_BO


class WordSequence(nn.Module):
    """An LSTM over the words of a text, in their order.

    Source: Hochreiter and Schmidhuber, Long Short-Term Memory, Neural Computation 9, 1997.  The initial
    weights are torch's, the word vectors N(0, std).
    """

    def __init__(self, dim: int, hidden: int, std: float = 0.1) -> None:
        super().__init__()
        self.embedding = nn.Embedding(dim + 1, hidden, padding_idx=0)
        with torch.no_grad():
            self.embedding.weight[1:].normal_(0, std)
        self.lstm = nn.LSTM(hidden, hidden, batch_first=True)

    def forward(self, tokens_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Return the LSTM's state after each word, and a mask of the words.

        Args:
            tokens_BT: word numbers (B, T) int32, from 1; 0 pads texts after their last word.

        Returns:
            The states (B, T', H) and a mask (B, T') bool that is true where a text has a word.  T' is the
            number of words of the longest text of the batch.  The first position of a text without words
            counts as a word, so that averages over words are defined.
        """
        mask_BT = tokens_BT > 0
        mask_BT[:, 0] = True
        longest = int(mask_BT.sum(1).max())
        state_BTH, _ = self.lstm(self.embedding(tokens_BT[:, :longest]))
        return state_BTH, mask_BT[:, :longest]


def mean_over_words(x_BTO: Tensor, there_BT: Tensor) -> Tensor:
    """Return the average (B, O) over the words of each text.

    Args:
        x_BTO: one vector per word, float (B, T, O).
        there_BT: bool, true where a text has a word; at least one per text.
    """
    weight_BT1 = there_BT[:, :, None].to(x_BTO.dtype)
    return (x_BTO * weight_BT1).sum(1) / weight_BT1.sum(1)


def mlp(dim: int, hidden: int, out: int, std: float = 0.01) -> nn.Sequential:
    """Return a network from a bag of words (B, D) to (B, out): fully connected, ReLU, fully connected.

    Source: Jiang and Li, Deep Cross-Modal Hashing, CVPR 2017, table 2 (8192 hidden units).

    Args:
        dim: D, the number of words.
        hidden: number of hidden units.
        out: number of outputs.
        std: standard deviation of the initial weights, N(0, std); biases start at 0.
    """
    last = nn.Linear(hidden, out)
    nn.init.normal_(last.weight, std=std)
    nn.init.zeros_(last.bias)
    return nn.Sequential(WordLinear(dim, hidden, std), nn.ReLU(), last)


def _conv(channels: int, out: int, kernel: int, padding: int = 0) -> nn.Conv1d:
    """Return a convolution over columns without bias, with Kaiming's initial weights."""
    conv = nn.Conv1d(channels, out, kernel, padding=padding, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv
