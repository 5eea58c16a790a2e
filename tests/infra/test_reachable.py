"""Addresses at which nobody listens are told at once; those of engines' own words are left to them."""

import socket

import pytest
import torch

from flows import preflight
from flows.experiment import Resources
from infra import reachable


@pytest.fixture
def free() -> int:
    """A port that nobody listens on."""
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return int(place.getsockname()[1])


@pytest.mark.parametrize(
    "form", ["tcp://127.0.0.1:{}", "127.0.0.1:{}", "http://me:hunter22@127.0.0.1:{}/api"]
)
def test_a_dead_address_is_named_and_its_password_is_not(form: str, free: int) -> None:
    """The option, the address and what to do."""
    with pytest.raises(ConnectionError, match=f"nobody answers at --there .*127.0.0.1:{free}") as caught:
        reachable.check_reachable("--there", form.format(free))
    assert "hunter22" not in str(caught.value)
    assert "cmh doctor" in str(caught.value)


def test_a_live_address_passes() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        reachable.check_reachable("--there", f"tcp://127.0.0.1:{server.getsockname()[1]}")


@pytest.mark.parametrize("address", [None, "auto", "local", "ucx://"])
def test_what_is_no_address_is_left_to_its_engine(address: str | None) -> None:
    reachable.check_reachable("--there", address)


@pytest.mark.parametrize("option", ["ray", "dask"])
def test_resources_are_looked_for_before_any_work(option: str, free: int) -> None:
    with pytest.raises(ConnectionError, match=f"--{option}"):
        preflight.check_resources(Resources(**{option: f"127.0.0.1:{free}"}))
    preflight.check_resources(Resources())


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray would wait for it for ever."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="leave out --gpu"):
        preflight.check_resources(Resources(gpu=True))


def test_a_dead_prefect_server_is_named(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{free}/api")
    with pytest.raises(ConnectionError, match="PREFECT_API_URL"):
        reachable.check_prefect()
