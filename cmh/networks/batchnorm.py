"""Batch normalisation over the global batch, with the same statistics on any number of workers."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cmh.distributed import sum_over_workers, world_size


def sync_batchnorm(module: nn.Module) -> nn.Module:
    """Replace every batch norm in a module by one over the global batch, and return the module.

    Parameters and the keys of the state dict stay the same.  torch's own SyncBatchNorm rejects CPU tensors;
    this one works on CPU and GPU.

    Args:
        module: changed in place, unless it is a batch norm itself.

    Returns:
        `module`, or its replacement where it is a batch norm itself.
    """
    if isinstance(module, _BatchNorm):
        return BatchNorm.like(module)
    for name, child in module.named_children():
        setattr(module, name, sync_batchnorm(child))
    return module


class BatchNorm(_BatchNorm):
    """Batch normalisation (Ioffe and Szegedy 2015) with the mean and variance of the global batch.

    In evaluation mode it is torch's own.  In training, one all-reduce gives the mean and a second one the
    squared differences from it, because E[x²] - E[x]² loses digits in float32.
    """

    @classmethod
    def like(cls, other: _BatchNorm) -> "BatchNorm":
        """Return a batch norm that shares `other`'s parameters and running statistics."""
        new = cls(other.num_features, other.eps, other.momentum, other.affine, other.track_running_stats)
        new._parameters, new._buffers = other._parameters, other._buffers
        new.train(other.training)
        return new

    def forward(self, input: Tensor) -> Tensor:
        """Return `input` (B, C, ...) normalised per channel, in its own dtype."""
        if not self.training or world_size() == 1:
            return super().forward(input)
        x = input.float() if input.dtype in (torch.bfloat16, torch.float16) else input
        axes = [d for d in range(x.dim()) if d != 1]
        shape = [1, -1] + [1] * (x.dim() - 2)
        sums = sum_over_workers(torch.cat([x.sum(axes), x.new_tensor([x.numel() / x.shape[1]])]))
        count = sums[-1].detach()
        mean_C = sums[:-1] / count
        centred = x - mean_C.view(shape)
        variance_C = sum_over_workers(centred.square().sum(axes)) / count
        self._track(mean_C.detach(), variance_C.detach() * count / (count - 1))
        y = centred * (variance_C + self.eps).rsqrt().view(shape)
        if self.affine:
            y = y * self.weight.view(shape) + self.bias.view(shape)
        return y.to(input.dtype)

    def _track(self, mean_C: Tensor, variance_C: Tensor) -> None:
        """Update the running mean and variance; `variance_C` is the unbiased estimate, as in torch."""
        if not self.track_running_stats:
            return
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        factor = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean_C.to(self.running_mean.dtype), factor)
        self.running_var.lerp_(variance_C.to(self.running_var.dtype), factor)

    def _check_input_dim(self, input: Tensor) -> None:
        """Refuse input that is not (B, C, ...), as torch's forward asks of each subclass."""
        if input.dim() < 2:
            raise ValueError(f"batch norm takes (B, C, ...), got shape {tuple(input.shape)}")
