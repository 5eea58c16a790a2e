"""Heads that turn the stage maps of an image network into vectors.

Shape suffixes: B = batch, C = channels, H, W = image or stage map.
"""

from torch import Tensor, nn


class LastStage(nn.Module):
    """Global average pooling of the last stage map."""

    def forward(self, maps: tuple[Tensor, ...]) -> Tensor:
        """Return the average (B, C) over the positions of the last of the stage maps (B, C_s, H_s, W_s)."""
        return maps[-1].mean((2, 3))


def linear_head(channels: tuple[int, ...], out: int, std: float = 0.01) -> nn.Sequential:
    """Return one fully connected layer on the last stage's average, in place of the classifier.

    Args:
        channels: the C_s of the stages.
        out: number of outputs.
        std: standard deviation of the initial weights, N(0, std); biases start at 0.

    Returns:
        A module from stage maps (B, C_s, H_s, W_s) to (B, out).
    """
    linear = nn.Linear(channels[-1], out)
    nn.init.normal_(linear.weight, std=std)
    nn.init.zeros_(linear.bias)
    return nn.Sequential(LastStage(), linear)
