"""W gloo processes against one process, in float64: losses, gradients, batch-norm statistics, memory.

Sums over workers are taken in another order than on one, so equality is to 1e-12, far below any real mistake.
"""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from cmh import distributed
from cmh.hashing.code_memory import CodeMemory
from cmh.networks import batchnorm

ROWS = 8


class Net(nn.Module):
    """Both kinds of batch norm, each followed by something that makes its scale matter."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3)
        self.norm2 = nn.BatchNorm2d(3)
        self.linear = nn.Linear(3 * 2 * 2, 4)
        self.norm1 = nn.BatchNorm1d(4, momentum=None)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm1(self.linear(self.norm2(self.conv(x)).relu().flatten(1))).tanh()


def _step(rank: int = 0, workers: int = 1) -> dict[str, Tensor]:
    """Two training steps on this worker's slice of the same two batches; all that must not depend on W."""
    torch.manual_seed(0)
    net = Net().double()
    data = torch.randn(2, ROWS, 2, 4, 4, dtype=torch.float64)
    target = torch.randn(ROWS, 4, dtype=torch.float64)
    memory = CodeMemory(torch.ones(ROWS, 1), bits=4, seed=0)
    if workers > 1:
        net = batchnorm.sync_batchnorm(net)
    index = torch.randperm(ROWS)[rank::workers]
    out = {}
    for step in range(2):
        net.zero_grad()
        u = net(data[step][index])
        everyone = distributed.gather(u)
        pairs = (everyone @ everyone.T / 4).exp().mean() * everyone[0, 0]  # depends on the order of rows
        items = (u - target[index]).square().mean()
        (pairs + items).backward()
        distributed.mean_gradients(net.parameters())
        memory.write("image", index, u)
        out |= {f"pairs{step}": pairs.detach(), f"items{step}": distributed.mean(items)}
        out |= {f"{name}.grad{step}": p.grad.clone() for name, p in net.named_parameters()}
    return out | net.state_dict() | {"memory": memory.image_NK}


def _worker(rank: int, workers: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=workers)
    torch.save(_step(rank, workers), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("workers", [2, 4])
def test_workers_do_what_one_does(tmp_path: Path, workers):
    """Losses, gradients, running statistics and memory of every worker equal those of a single process."""
    mp.spawn(_worker, (workers, str(tmp_path)), nprocs=workers)
    expected = _step()
    for rank in range(workers):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=0, atol=1e-12, msg=f"{name} of rank {rank}")


def test_one_process_is_its_own_world():
    """Without a process group nothing is exchanged and nothing is copied into another graph."""
    x = torch.ones(2, 3, requires_grad=True)
    assert (distributed.world_size(), distributed.rank()) == (1, 0)
    assert distributed.gather(x) is x
    assert not distributed.mean(x).requires_grad


def test_sync_batchnorm_keeps_keys_values_and_parameters():
    """The exchanged module has the same state dict and the optimiser's parameters are still its own."""
    net = Net()
    before, parameters = {k: v.clone() for k, v in net.state_dict().items()}, list(net.parameters())
    after = batchnorm.sync_batchnorm(net)
    assert isinstance(after.norm2, batchnorm.BatchNorm)
    assert {k: v.tolist() for k, v in after.state_dict().items()} == {
        k: v.tolist() for k, v in before.items()
    }
    assert all(a is b for a, b in zip(after.parameters(), parameters, strict=True))
