"""CodeMemory against its definition: random start, writes by row, consensus with sign(0) = +1."""

import pytest
import torch

from cmh.hashing.code_memory import CodeMemory


@pytest.fixture
def memory() -> CodeMemory:
    return CodeMemory(torch.eye(6)[:, :3], bits=4, seed=3)


def test_starts_from_the_seed(memory):
    """The same seed gives the same codes, another seed other codes, and both sides differ."""
    again = CodeMemory(torch.eye(6)[:, :3], bits=4, seed=3)
    other = CodeMemory(torch.eye(6)[:, :3], bits=4, seed=4)
    assert torch.equal(memory.image_NK, again.image_NK)
    assert not torch.equal(memory.image_NK, other.image_NK)
    assert not torch.equal(memory.image_NK, memory.text_NK)


def test_write_touches_only_its_rows_and_keeps_no_graph(memory):
    """Written rows hold the new codes, the others the old, and no gradient hangs on them."""
    before = memory.text_NK.clone()
    u = torch.full((2, 4), 0.5, requires_grad=True)
    memory.write("text", torch.tensor([4, 1]), u)
    assert torch.equal(memory.text_NK[[1, 4]], torch.full((2, 4), 0.5))
    assert torch.equal(memory.text_NK[[0, 2, 3, 5]], before[[0, 2, 3, 5]])
    assert not memory.text_NK.requires_grad


def test_consensus_is_kept_until_refresh(memory):
    """sign(F + G) with sign(0) = +1; writing does not move the stored consensus, refresh does."""
    stored = memory.consensus_NK.clone()
    memory.write("image", torch.arange(6), torch.full((6, 4), 0.25))
    memory.write("text", torch.arange(6), torch.tensor([-0.25, -0.5, 0.5, -0.2]).expand(6, 4))
    assert torch.equal(memory.consensus_NK, stored)
    memory.refresh()
    assert torch.equal(memory.consensus_NK, torch.tensor([1.0, -1.0, 1.0, 1.0]).expand(6, 4))


def test_state_restores_and_refuses_other_shapes(memory):
    """A restored memory equals the saved one; a memory of another size is refused by name."""
    state = {key: value.clone() for key, value in memory.state_dict().items()}
    other = CodeMemory(torch.eye(6)[:, :3], bits=4, seed=9)
    other.load_state_dict(state)
    assert all(torch.equal(other.state_dict()[key], state[key]) for key in ("image", "text", "consensus"))
    with pytest.raises(ValueError, match=r"stored image codes have shape \(6, 4\).*\(6, 8\)"):
        CodeMemory(torch.eye(6)[:, :3], bits=8, seed=0).load_state_dict(state)


def test_balanced_weight_evens_relevant_and_other_pairs(memory):
    """3 of 36 pairs share a label: 33 / 3; a number is taken as it is."""
    assert memory.weight_of_relevant("balanced") == pytest.approx(11)
    assert memory.weight_of_relevant(2.5) == 2.5
    with pytest.raises(ValueError, match="no training item has a label"):
        CodeMemory(torch.zeros(6, 3), bits=8, seed=0).weight_of_relevant("balanced")
    with pytest.raises(ValueError, match="every two training items share a label"):
        CodeMemory(torch.ones(6, 1), bits=8, seed=0).weight_of_relevant("balanced")
