"""Addresses at which nobody listens are told at once; those of engines' own words are left to them."""

import socket
import subprocess
import sys
import time

import psutil
import pytest
import torch

from flows import preflight
from flows.resources import Resources
from infra import reachable

WATCHES = """
import subprocess, sys, time
from infra import logging, reachable
logging.set_up(as_json=False)
reachable.PATIENCE, reachable.LOOK_EVERY = 1.0, 0.1
child = subprocess.Popen(["sleep", "60"])
print(child.pid, flush=True)
with reachable.watched("PREFECT_API_URL", sys.argv[1]):
    time.sleep(60)
"""


def test_a_server_that_is_gone_for_good_ends_what_works_for_it() -> None:
    """In bounded time, with a line that says what to do, and with all that it started."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"http://127.0.0.1:{listening.getsockname()[1]}/api"
        command = [sys.executable, "-c", WATCHES, address]
        run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert run.stdout is not None
        child = psutil.Process(int(run.stdout.readline()))
        time.sleep(0.5)
        assert run.poll() is None
    _, said = run.communicate(timeout=30)
    assert run.returncode == 1
    assert "so this run ends; what is finished stays: start the server" in said.splitlines()[-1]
    assert len(said.splitlines()) == 2
    psutil.wait_procs([child], timeout=5)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


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
