"""Heads on an image network's stage maps.

Shape suffixes: B = batch, C = channels, H, W = image or stage map.
"""

from torch import Tensor, nn


class LastStage(nn.Module):
    """Stage maps (B, C_s, H_s, W_s) to the average (B, C) of the last one."""

    def forward(self, maps: tuple[Tensor, ...]) -> Tensor:
        return maps[-1].mean((2, 3))


def linear_head(channels: tuple[int, ...], out: int, std: float = 0.01) -> nn.Sequential:
    """Return stage maps to (B, out): one fully connected layer on the last stage, in place of the classifier.

    Weights N(0, std), biases 0.
    """
    linear = nn.Linear(channels[-1], out)
    nn.init.normal_(linear.weight, std=std)
    nn.init.zeros_(linear.bias)
    return nn.Sequential(LastStage(), linear)
