"""CNN-F, the small image network of the first deep hashing papers.

Source: Chatfield et al., Return of the Devil in the Details, BMVC 2014, table 1.

Shape suffixes: B = batch, C = channels, H, W = image.
"""

from itertools import pairwise

from torch import Tensor, nn

from cmh.networks.pooling import GridPool

CHANNELS = (64, 256, 256, 4096)  # of conv1, conv2, conv5 and full7
SMALLEST = 64  # pixels a side; smaller images have no positions left after the last pooling


class CNNF(nn.Module):
    """CNN-F as four stages: the maps of conv1, conv2, conv5 and the vector of full7 as a map of 1 x 1.

    The maps have strides 4, 8 and 16.  Images of 224 pixels give 6 x 6 positions after conv5's pooling; other
    sizes are averaged to 6 x 6.  Each stage is the output of a ReLU, before normalisation and pooling.  The
    network has no dropout.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv2d(3, 64, 11, stride=4), nn.ReLU())
        self.conv2 = nn.Sequential(_normalised_pool(), nn.Conv2d(64, 256, 5, padding=2), nn.ReLU())
        self.conv5 = nn.Sequential(
            _normalised_pool(),
            *(
                layer
                for channels, out in pairwise((256, 256, 256, 256))
                for layer in (nn.Conv2d(channels, out, 3, padding=1), nn.ReLU())
            ),
        )
        self.full7 = nn.Sequential(
            nn.MaxPool2d(3, 2, ceil_mode=True),
            GridPool(6),
            nn.Conv2d(256, 4096, 6),
            nn.ReLU(),
            nn.Conv2d(4096, 4096, 1),
            nn.ReLU(),
        )

    def forward(self, image_BCHW: Tensor) -> tuple[Tensor, ...]:
        """Return the stage maps (B, C_s, H_s, W_s), with the channels of `CHANNELS`.

        Raises:
            ValueError: images with a side below `SMALLEST` pixels.
        """
        if min(image_BCHW.shape[2:]) < SMALLEST:
            raise ValueError(
                f"CNN-F reads images of {SMALLEST} pixels a side at least, got {tuple(image_BCHW.shape[2:])}"
            )
        x, stages = image_BCHW, []
        for stage in (self.conv1, self.conv2, self.conv5, self.full7):
            x = stage(x)
            stages.append(x)
        return tuple(stages)


def _normalised_pool() -> nn.Sequential:
    """Return local response normalisation followed by max pooling."""
    # AlexNet's constants.  Its alpha is 1e-4 for each of 5 channels; torch divides alpha by 5, hence 5e-4.
    return nn.Sequential(
        nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0), nn.MaxPool2d(3, 2, ceil_mode=True)
    )
