"""Averages over the cells of a grid, in a form that every engine can run.

Shape suffixes: B = batch, C = channels, H, W = map, G = grid, N = positions of a side.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d


class GridPool(nn.Module):
    """torch's adaptive average pooling, from maps (B, C, H, W) to (B, C, G, G).

    ONNX has no such operation for sides that G does not divide.  An exported network averages by a matrix
    product per axis instead, over the same cells.
    """

    def __init__(self, grid: int) -> None:
        super().__init__()
        self.grid = grid

    def forward(self, map_BCHW: Tensor) -> Tensor:
        """Return the average of each cell."""
        if not torch.onnx.is_in_onnx_export():
            return adaptive_avg_pool2d(map_BCHW, self.grid)
        if self.grid == 1:
            return map_BCHW.mean((2, 3), keepdim=True)
        rows_GH, columns_GW = (self._cells(int(side)) for side in map_BCHW.shape[2:])
        return rows_GH @ map_BCHW @ columns_GW.T

    def _cells(self, side: int) -> Tensor:
        """Return the weights (G, N) of the positions in the cells of one axis; cells may share positions."""
        weight_GN = torch.zeros(self.grid, side)
        for cell in range(self.grid):
            start, stop = cell * side // self.grid, -(-(cell + 1) * side // self.grid)
            weight_GN[cell, start:stop] = 1 / (stop - start)
        return weight_GN
