"""Training on several processes as if it were one: gather, averages and batch normalisation.

Rank r of W workers holds rows r::W of the global batch.  Losses are means over the global batch and gradients
are averaged over the workers (`mean_gradients`), so W workers do the arithmetic of one; only the order of the
float sums differs.  Without an initialised process group every function is the identity of one worker.

Shape suffixes: B = rows of this worker, W = workers, K = any width, C = channels, P = parameters.
"""

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def world_size() -> int:
    """Return number of workers that train together; 1 outside a process group."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Return this worker's number, 0 to world_size() - 1."""
    return dist.get_rank() if dist.is_initialized() else 0


def gather(x_BK: Tensor) -> Tensor:
    """Gather all workers' rows (B * W, ...) in the order of the global batch; differentiable.

    The gradient of a row is the sum of what all workers ask of it.  A loss that every worker computes on
    gathered rows has, after averaging over workers, the gradient it has on one worker.
    Every worker must pass the same shape.
    """
    if world_size() == 1:
        return x_BK
    gathered: Tensor = _Gather.apply(x_BK)
    return gathered


def mean(x: Tensor) -> Tensor:
    """Average over the workers; not differentiable."""
    if world_size() == 1:
        return x.detach()
    total = x.detach().clone()
    dist.all_reduce(total)
    return total / world_size()


def mean_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace every gradient by its average over the workers, in one all-reduce of a flat buffer.

    Used in place of DistributedDataParallel, which fixes at construction which parameters move; here every
    phase moves its own.  A parameter without a gradient must be without one on all workers, which holds
    because all run the same phase.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    if world_size() == 1 or not gradients:
        return
    flat_P = torch.cat([g.flatten() for g in gradients])
    dist.all_reduce(flat_P)
    flat_P /= world_size()
    for gradient, part in zip(gradients, torch.split(flat_P, [g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def broadcast(tensors: Iterable[Tensor]) -> None:
    """Overwrite every tensor with the first worker's."""
    if world_size() > 1:
        for tensor in tensors:
            dist.broadcast(tensor, src=0)


def sum_over_workers(x: Tensor) -> Tensor:
    """Sum over the workers; differentiable."""
    total: Tensor = _Sum.apply(x)
    return total


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_BK: Tensor) -> Tensor:
        parts = [torch.empty_like(x_BK, memory_format=torch.contiguous_format) for _ in range(world_size())]
        dist.all_gather(parts, x_BK.contiguous())
        # stacked behind the rows: row i of rank r is row i * W + r of the global batch
        return torch.stack(parts, dim=1).flatten(0, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total[rank() :: world_size()]


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total
