"""Methods that draw, take statistics or choose items: one worker learns what two do together.

Sums are taken in another order, so terms are compared within float32 rounding.
"""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from cmh.training import trainer
from tests.cmh.methods.test_contract import build, pairs

NAMES = ("dchmt", "dgcpn", "djsrh", "dsph", "jdsh", "nrch", "ucch")
CONFIG = trainer.Config(epochs=3, batch_size=8, seed=1)


def terms(name: str) -> list[dict[str, float]]:
    """The loss terms of three epochs."""
    method = build(name)
    if name == "nrch":
        object.__setattr__(method.config, "select_from", 1)
    return [epoch.terms for epoch in trainer.fit(method, pairs(), pairs(), CONFIG)]


def _worker(rank: int, workers: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=workers)
    history = {name: terms(name) for name in NAMES}
    if rank == 0:
        torch.save(history, f"{folder}/terms.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_workers_learn_what_one_does(tmp_path: Path) -> None:
    """The same loss terms in each of three epochs."""
    mp.spawn(_worker, (2, str(tmp_path)), nprocs=2)
    history = torch.load(tmp_path / "terms.pt", weights_only=False)
    for name in NAMES:
        for found, expected in zip(history[name], terms(name), strict=True):
            assert found == pytest.approx(expected, rel=1e-3, abs=1e-5), name
