"""Train on several processes as if they were one: gather rows, average gradients, sum over workers.

Rank r of W workers holds rows r::W of the global batch.  Losses are means over the global batch, and
gradients are averaged over the workers (`mean_gradients`), so W workers compute the same as one; only the
order of the float sums differs.  Without an initialised process group, every function treats this process as
the only worker.

Shape suffixes: B = rows of this worker, W = workers, K = any width, C = channels, P = parameters.
"""

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def world_size() -> int:
    """Return the number of workers that train together; 1 outside a process group."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Return this worker's number, 0 to world_size() - 1."""
    return dist.get_rank() if dist.is_initialized() else 0


def gather(x_BK: Tensor) -> Tensor:
    """Gather the rows of all workers in the order of the global batch; differentiable.

    The gradient of a row is the sum of the gradients that all workers compute for it.  If every worker
    computes the same loss on gathered rows, the average of its gradients over the workers is the gradient on
    one worker.

    Args:
        x_BK: this worker's rows (B, ...); the shape must be the same on every worker.

    Returns:
        The rows of the global batch, (B * W, ...).
    """
    if world_size() == 1:
        return x_BK
    gathered: Tensor = _Gather.apply(x_BK)
    return gathered


def mean(x: Tensor) -> Tensor:
    """Return the average of a tensor over the workers; not differentiable."""
    if world_size() == 1:
        return x.detach()
    total = x.detach().clone()
    dist.all_reduce(total)
    return total / world_size()


def mean_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace every gradient by its average over the workers, in one all-reduce of a flat buffer.

    It takes the place of DistributedDataParallel, which needs the set of trained parameters at construction;
    here every phase trains other parameters.  A parameter without a gradient must have none on all workers,
    which holds because all workers run the same phase.
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
    """Overwrite every tensor with that of the first worker, in place."""
    if world_size() > 1:
        for tensor in tensors:
            dist.broadcast(tensor, src=0)


def sum_over_workers(x: Tensor) -> Tensor:
    """Return the sum of a tensor over the workers; differentiable."""
    total: Tensor = _Sum.apply(x)
    return total


class _Gather(torch.autograd.Function):
    """The differentiable form of all_gather behind `gather`."""

    @staticmethod
    def forward(ctx: Any, x_BK: Tensor) -> Tensor:
        parts = [torch.empty_like(x_BK, memory_format=torch.contiguous_format) for _ in range(world_size())]
        dist.all_gather(parts, x_BK.contiguous())
        # Stacking along axis 1 makes row i of rank r the row i * W + r of the global batch.
        return torch.stack(parts, dim=1).flatten(0, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total[rank() :: world_size()]


class _Sum(torch.autograd.Function):
    """The differentiable form of all_reduce behind `sum_over_workers`."""

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
