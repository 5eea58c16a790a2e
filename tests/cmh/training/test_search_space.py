"""Where tuning looks: ranges that every method accepts, and points that a longer search keeps."""

from dataclasses import asdict

import pytest

from cmh import methods
from cmh.training import search_space


@pytest.mark.parametrize("method", methods.available())
def test_both_ends_of_every_range_are_settings_of_the_method(method: str) -> None:
    """All at once, over the short recipe; whole numbers and words stay as they are."""
    short = methods.load(method).SHORT
    config = methods.config(method, bits=32, **short)
    found = search_space.ranges(config)
    for end in ("low", "high"):
        changed = {name: getattr(one, end) for name, one in found.items()}
        tried = asdict(methods.config(method, bits=32, **{**short, **changed}))
        assert {name: tried[name] for name in changed} == changed
        assert {type(asdict(config)[name]) for name in changed} <= {float}
    assert all(one.low < getattr(config, name) <= one.high for name, one in found.items())


def test_a_share_stays_a_share() -> None:
    """What is below 1 stays below; what is above may grow fivefold."""
    found = search_space.ranges(methods.config("joint", bits=64, dropout=0.9, pairs=0.1))
    assert found["dropout"].high == pytest.approx(0.95)
    assert found["pairs"] == pytest.approx((0.02, 0.5))
    assert search_space.ranges(methods.config("cmfh", bits=16))["mu"] == pytest.approx((20, 500))


def test_a_longer_search_begins_as_a_shorter_one() -> None:
    """So that it finds the trials of that one in the store; another seed looks elsewhere."""
    config = methods.config("joint", bits=64)
    five, nine = (search_space.trials(config, {"lr": 0.5}, 64, count, seed=0) for count in (5, 9))
    assert five == nine[:5]
    assert five[0] == ({"lr": 0.5}, 64)
    assert all(one.settings["lr"] == 0.5 for one in nine)
    assert {one.batch_size for one in nine} <= {32, 64, 128}
    assert len({tuple(one.settings.items()) for one in nine}) == 9
    assert (
        search_space.trials(config, {}, 64, 5, seed=1)[1] != search_space.trials(config, {}, 64, 5, seed=0)[1]
    )
    assert {one.batch_size for one in search_space.trials(config, {}, None, 5, seed=0)} == {1}


def test_points_lie_within_the_ranges_on_both_sides_of_the_recipe() -> None:
    """Each setting is tried below and above; one of 1 only below."""
    config = methods.config("joint", bits=64)
    tried = search_space.trials(config, {}, 64, 20, seed=0)[1:]
    for name, one in search_space.ranges(config).items():
        values = [trial.settings[name] for trial in tried]
        before = getattr(config, name)
        assert one.low * 0.99 <= min(values) < before
        assert min(before, 0.9) < max(values) <= one.high * 1.01
