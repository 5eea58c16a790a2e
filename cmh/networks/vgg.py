"""VGG-19's convolutions, whose last one, conv5_4, several papers read.

Source: Simonyan and Zisserman, Very Deep Convolutional Networks, ICLR 2015, configuration E.

Shape suffixes: B = batch, C = channels, H, W = image.
"""

from torch import Tensor, nn
from torchvision.models import vgg

CHANNELS = (128, 256, 512, 512)  # of conv2_2, conv3_4, conv4_4 and conv5_4


class VGG19(nn.Module):
    """Maps after conv2_2, conv3_4, conv4_4, conv5_4 and their ReLUs, at strides 2, 4, 8 and 16.

    The parameters have torchvision's names; its three fully connected layers are left out.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = vgg.make_layers(vgg.cfgs["E"])

    def forward(self, image_BCHW: Tensor) -> tuple[Tensor, ...]:
        x = image_BCHW
        stages = []
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                stages.append(x)
            x = layer(x)
        return tuple(stages[1:])
