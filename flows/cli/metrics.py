"""`cmh metrics`: what the runs of this machine have done, in numbers for Prometheus."""

from typing import Annotated

from cyclopts import Parameter
from prometheus_client import start_http_server

from flows.cli.terminal import say
from infra import metrics as kept
from infra.processes import HERE


def metrics(*, port: Annotated[int | None, Parameter(negative="")] = None) -> None:
    """Print what the runs of this machine have done, for Prometheus, or serve it until Ctrl-C.

    Parameters
    ----------
    port
        to listen on, for this machine only; `cmh up` takes 9464
    """
    if port is None:
        print(kept.text().decode(), end="")
        return
    server, thread = start_http_server(port, HERE, kept.registry())
    say(f"http://{HERE}:{port}/metrics")
    with server:
        thread.join()
