"""Codes of the two towers, in turn and together, against the towers called by themselves."""

import pytest
import torch

from cmh.hashing import deep
from cmh.hashing.method import Optimizer
from tests.cmh.methods.pairs import batch, build, memory


@pytest.mark.parametrize("side", ["image", "text"])
def test_a_phase_of_one_tower_gives_and_writes_its_codes(side: str) -> None:
    """What the last layer gives goes to the loss and into the memory of this modality, and of no other."""
    method, before, after, given = build("dcmh", hidden=16), memory(), memory(), batch()
    read = method.image_tower(given.image) if side == "image" else method.text_tower(given.text_BD)
    f_BK = method.codes(side, given, after)
    assert torch.equal(f_BK, read)
    assert f_BK.abs().max() > 0
    for written in ("image", "text"):
        expected_NK = getattr(before, f"{written}_NK").clone()
        if written == side:
            expected_NK[given.index_B] = f_BK.detach()
        assert torch.equal(getattr(after, f"{written}_NK"), expected_NK)


@pytest.mark.parametrize(("name", "squashed"), [("tdh", False), ("chn", True)])
def test_both_towers_together_give_and_write_the_codes_of_both(name: str, squashed: bool) -> None:
    """(2, B, K), the images' first; squashed in training if the method says so, when encoding always."""
    method, filled, given = build(name, hidden=16), memory(), batch()
    f_2BK = torch.stack([method.image_tower(given.image), method.text_tower(given.text_BD)])
    codes = method.codes("pairs", given, filled)
    assert torch.equal(codes, f_2BK.tanh() if squashed else f_2BK)
    assert torch.equal(filled.image_NK[given.index_B], codes[0].detach())
    assert torch.equal(filled.text_NK[given.index_B], codes[1].detach())
    encoded = torch.stack([method.encode_image(given.image), method.encode_text(given.text_BD)])
    assert torch.equal(encoded, f_2BK.tanh())


def test_the_phases_move_every_tower_once_an_epoch() -> None:
    """In turn each with what it reads, together in one phase; the optimiser is the one given."""
    optimizer = Optimizer(kind="adam", lr=0.5)
    turns, (both,) = deep.in_turn(optimizer), deep.together(optimizer)
    assert [(phase.name, phase.reads) for phase in turns] == [("image", "image"), ("text", "text")]
    assert sorted(name for phase in turns for name in phase.modules) == sorted(both.modules)
    assert {phase.optimizer for phase in (*turns, both)} == {optimizer}
