"""The convolutions of VGG-19; several papers use the last one, conv5_4, as image features.

Source: Simonyan and Zisserman, Very Deep Convolutional Networks, ICLR 2015, configuration E.

Shape suffixes: B = batch, C = channels, H, W = image.
"""

from torch import Tensor, nn

CHANNELS = (128, 256, 512, 512)  # of conv2_2, conv3_4, conv4_4 and conv5_4


class VGG19(nn.Module):
    """VGG-19 as four stages: the maps after the ReLUs of conv2_2, conv3_4, conv4_4 and conv5_4.

    Their strides are 2, 4, 8 and 16.  The parameters have torchvision's names; its three fully connected
    layers are left out.
    """

    def __init__(self) -> None:
        super().__init__()
        from torchvision.models import vgg  # as in `resnet.py`

        self.features = vgg.make_layers(vgg.cfgs["E"])

    def forward(self, image_BCHW: Tensor) -> tuple[Tensor, ...]:
        """Return the stage maps (B, C_s, H_s, W_s) of normalised images (B, 3, H, W)."""
        x = image_BCHW
        stages = []
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                stages.append(x)
            x = layer(x)
        return tuple(stages[1:])
