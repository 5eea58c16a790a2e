"""SCAHN's first residual block, which reads all words of a multi-scale text, in a form that saves memory.

Source: Wang et al., SCAHN, Neurocomputing 400, 2020, section 3.  The largest activations of the published
form are never built; `WordBlock` explains why the numbers are the same.

Shape suffixes: B = batch, D = text dimensions (words), J = columns (the words and their scales),
C, O = channels, T = 3 taps of a convolution over columns, F = fine segments of the words, S = coarse ones,
N = words of all texts of the batch.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from cmh import distributed
from cmh.networks.multiscale import MultiScale

TAPS = 3
MOMENTUM = 0.1  # of the running statistics, torch's default
COARSE = 3  # output columns 0 to 2 see only the scales 50, 30, 15, which have longer segments than the others
WORDS_AT_ONCE = 4096  # words whose weights, 16 KiB per word, are gathered in one step


class WordBlock(nn.Module):
    """The first residual block over columns (B, J, D), in which each output channel reads all words.

    The published block: conv (1, 3) to C channels, batch norm, ReLU, conv (D, 1), batch norm; shortcut conv
    (D, 1), batch norm; sum, ReLU.  This one computes the same numbers without the (B, C, J, D) activations:

    - The convolution is linear, so the mean and variance of the first norm follow from the first and second
      moments of the 3-column windows.  Convolution and norm are merged into one linear function.
    - The (D, 1) convolution is a matrix product over (word, channel).  A window over pooled columns only has
      the same value for all words of a segment, so the weights of these words are added up beforehand.
    - The column of the words themselves is zero except at the few words of a text.  The block first treats it
      as all zero, then adds the difference that each word makes.
    """

    fine_starts: Tensor  # first word of each fine segment
    fine_D: Tensor  # fine segment of each word
    coarse_starts: Tensor  # first word of each coarse segment
    coarse_F: Tensor  # coarse segment of each fine one

    def __init__(self, columns: MultiScale, channels: int) -> None:
        super().__init__()
        dim = columns.dim
        self.window_CT = nn.Parameter(_kaiming(torch.empty(channels, TAPS), fan_out=channels * TAPS))
        self.norm1 = nn.BatchNorm2d(channels, momentum=MOMENTUM)  # its parameters; its forward is not used
        self.words_DCO = nn.Parameter(_kaiming(torch.empty(dim, channels, channels), fan_out=dim * channels))
        self.norm2 = nn.BatchNorm1d(channels)
        self.shortcut_DO = nn.Parameter(_kaiming(torch.empty(dim, channels), fan_out=dim * channels))
        self.norm3 = nn.BatchNorm1d(channels)
        self._register_segments(columns)

    def forward(self, columns_BJD: Tensor) -> Tensor:
        """Return maps (B, O, J) of columns (B, J, D); in training, update the running statistics."""
        window_CT, shift_C = self._normalised_window(columns_BJD)
        mixed = self._mixed(functional.pad(columns_BJD, (0, 0, 1, 1)), window_CT, shift_C)
        shortcut = (columns_BJD @ self.shortcut_DO).transpose(1, 2)
        return functional.relu(self.norm2(mixed) + self.norm3(shortcut))

    def _mixed(self, padded: Tensor, window_CT: Tensor, shift_C: Tensor) -> Tensor:
        """Return the (D, 1) convolution of relu(norm1(conv(columns))).

        Args:
            padded: columns with one column of zeros at each end, (B, J + 2, D).
            window_CT: taps of convolution and norm as one.
            shift_C: shift of convolution and norm as one.

        Returns:
            (B, O, J).
        """
        if torch.onnx.is_in_onnx_export():
            return self._as_published(padded, window_CT, shift_C)

        def activations(windows: Tensor) -> Tensor:
            return functional.linear(windows, window_CT, shift_C).relu_()

        wordless = torch.cat([torch.zeros_like(padded[:, :2]), padded[:, 2:]], dim=1)
        windows_BJTD = wordless.unfold(1, TAPS, 1).transpose(2, 3)
        coarse, fine = (
            activations(windows.index_select(3, starts).permute(1, 0, 3, 2)).flatten(0, 1).flatten(1)
            for windows, starts in (
                (windows_BJTD[:, :COARSE], self.coarse_starts),
                (windows_BJTD[:, COARSE:], self.fine_starts),
            )
        )
        # Of all windows, only those of the output columns 0 and 1 contain the column of the words.
        rows_N, words_N = padded[:, 1].nonzero(as_tuple=True)
        difference_NC = torch.cat(
            [
                activations(padded[rows_N, j : j + TAPS, words_N])
                - activations(wordless[rows_N, j : j + TAPS, words_N])
                for j in (0, 1)
            ]
        )
        batch = len(padded)
        mixed: Tensor = _WordProduct.apply(
            coarse,
            fine,
            difference_NC,
            self.words_DCO,
            self.coarse_F,
            self.fine_D,
            torch.cat([rows_N, rows_N + batch]),
            words_N.repeat(2),
        )
        return mixed.view(-1, batch, mixed.shape[1]).permute(1, 2, 0)

    def _as_published(self, padded: Tensor, window_CT: Tensor, shift_C: Tensor) -> Tensor:
        """Return what `_mixed` does, in the paper's form, whose operations all engines have."""
        width = padded.shape[1] - TAPS + 1
        windows_BJDT = torch.stack([padded[:, tap : tap + width] for tap in range(TAPS)], dim=3)
        x_BJDC = functional.relu(functional.linear(windows_BJDT, window_CT, shift_C))
        mixed_BJO = x_BJDC.flatten(2) @ self.words_DCO.flatten(0, 1)
        return mixed_BJO.transpose(1, 2)

    def _normalised_window(self, columns_BJD: Tensor) -> tuple[Tensor, Tensor]:
        """Return the first convolution and its norm as one: taps (C, T) and shift (C,).

        In training, the statistics are those of the global batch, and the running statistics are updated.
        """
        norm = self.norm1
        assert norm.running_mean is not None
        assert norm.running_var is not None
        assert norm.num_batches_tracked is not None
        mean_C, variance_C = norm.running_mean, norm.running_var
        if self.training:
            count, mean_T, covariance_TT = _window_moments(columns_BJD)
            taps_CT = self.window_CT.double()
            mean_C = (taps_CT @ mean_T).to(self.window_CT.dtype)
            variance_C = ((taps_CT @ covariance_TT) * taps_CT).sum(1).clamp(min=0).to(self.window_CT.dtype)
            norm.num_batches_tracked += 1
            norm.running_mean.lerp_(mean_C.detach(), MOMENTUM)
            norm.running_var.lerp_(variance_C.detach() * (count / (count - 1)), MOMENTUM)
        scale_C = norm.weight * (variance_C + norm.eps).rsqrt()
        return self.window_CT * scale_C[:, None], norm.bias - mean_C * scale_C

    def _register_segments(self, columns: MultiScale) -> None:
        """Register fine and coarse segments of the words as buffers.

        On a fine segment, all pooled columns are constant.  A coarse segment is a union of fine ones; on it,
        those pooled columns are constant that the first `COARSE` output columns see.
        """
        changes = torch.ones(len(columns.kernels), columns.dim, dtype=torch.bool)
        for scale, change_D in enumerate(changes):
            change_D[1:] = columns.segments(scale).diff() != 0
        fine_D, coarse_D = changes.any(0), changes[:COARSE].any(0)
        for name, buffer in {
            "fine_starts": fine_D.nonzero()[:, 0],
            "fine_D": fine_D.cumsum(0) - 1,
            "coarse_starts": coarse_D.nonzero()[:, 0],
            "coarse_F": (coarse_D.cumsum(0) - 1)[fine_D],
        }.items():
            self.register_buffer(name, buffer, persistent=False)


def _window_moments(columns_BJD: Tensor) -> tuple[float, Tensor, Tensor]:
    """Return the moments of all windows of 3 columns over the global batch, with zeros beyond the ends.

    Returns:
        Number of windows, their mean (T,) and covariance (T, T), in float64 because the covariance is a
        difference of moments.
    """
    columns = columns_BJD.double()
    width = columns.shape[1]
    sums_J = functional.pad(columns.sum((0, 2)), (1, 1))
    products_JJ = functional.pad((columns @ columns.transpose(1, 2)).sum(0), (1, 1, 1, 1))
    moments = distributed.gather(torch.cat([sums_J, products_JJ.flatten()])[None]).sum(0)
    sums_J, products_JJ = moments[: width + 2], moments[width + 2 :].view(width + 2, width + 2)
    count = float(columns.numel() * distributed.world_size())
    taps = range(TAPS)
    mean_T = torch.stack([sums_J[t : t + width].sum() for t in taps]) / count
    second_TT = torch.stack(
        [products_JJ[t : t + width, s : s + width].diagonal().sum() for t in taps for s in taps]
    ).view(TAPS, TAPS)
    return count, mean_T, second_TT / count - torch.outer(mean_T, mean_T)


class _WordProduct(torch.autograd.Function):
    """The sums over (word, channel) of activations times weights, (J * B, O), of activations per segment.

    The gradient is written by hand, so that memory holds one tensor of the size of the weights' gradient.
    """

    @staticmethod
    def forward(
        ctx: Any,
        coarse: Tensor,  # (rows, coarse segments * C)
        fine: Tensor,  # (rows, F * C)
        difference_NC: Tensor,  # added at row rows_N for word words_N
        words_DCO: Tensor,
        coarse_F: Tensor,
        fine_D: Tensor,
        rows_N: Tensor,
        words_N: Tensor,
    ) -> Tensor:
        fine_FCO = _add_up(words_DCO, fine_D)
        coarse_SCO = _add_up(fine_FCO, coarse_F)
        products = torch.cat([coarse @ coarse_SCO.flatten(0, 1), fine @ fine_FCO.flatten(0, 1)])
        for part in _parts(rows_N):
            product = difference_NC[part, None] @ words_DCO[words_N[part]]
            products.index_add_(0, rows_N[part], product[:, 0])
        ctx.save_for_backward(
            coarse, fine, difference_NC, words_DCO, coarse_F, fine_D, rows_N, words_N, coarse_SCO, fine_FCO
        )
        return products

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        coarse, fine, difference_NC, words_DCO, coarse_F, fine_D, rows_N, words_N, coarse_SCO, fine_FCO = (
            saved
        )
        of_coarse, of_fine = torch.split(gradients[0], [len(coarse), len(fine)])
        of_coarse_SCO = (coarse.T @ of_coarse).view_as(coarse_SCO)
        of_fine_FCO = (fine.T @ of_fine).view_as(fine_FCO).add_(of_coarse_SCO.index_select(0, coarse_F))
        of_words_DCO = of_fine_FCO.index_select(0, fine_D)
        of_difference_NC = torch.empty_like(difference_NC)
        for part in _parts(rows_N):
            of_product = gradients[0][rows_N[part]]
            of_difference_NC[part] = (words_DCO[words_N[part]] @ of_product[..., None])[..., 0]
            outer = difference_NC[part, :, None] * of_product[:, None]
            of_words_DCO.index_add_(0, words_N[part], outer)
        of_activations = (
            of_coarse @ coarse_SCO.flatten(0, 1).T,
            of_fine @ fine_FCO.flatten(0, 1).T,
            of_difference_NC,
        )
        return *of_activations, of_words_DCO, None, None, None, None


def _parts(rows_N: Tensor) -> tuple[Tensor, ...]:
    """Return the positions 0 to N - 1 in parts of at most `WORDS_AT_ONCE`."""
    return torch.arange(len(rows_N), device=rows_N.device).tensor_split(-(-len(rows_N) // WORDS_AT_ONCE) or 1)


def _add_up(x: Tensor, group: Tensor) -> Tensor:
    """Return the sum of the rows of each group; `group` holds a group number per row, ascending from 0."""
    return x.new_zeros(int(group[-1]) + 1, *x.shape[1:]).index_add_(0, group, x)


def _kaiming(weight: Tensor, fan_out: int) -> Tensor:
    """Fill a weight with N(0, sqrt(2 / fan_out)), and return it."""
    return nn.init.normal_(weight, std=(2 / fan_out) ** 0.5)
