"""`cmh up`, `cmh status` and `cmh down`: every server of the pipeline on this machine."""

import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil

from flows.cli.terminal import Json, say, show, size
from infra import processes, stack, stack_servers
from infra.stack import Server, Stack

PATIENCE = 240.0  # seconds for a server to answer: the first import on a cold machine takes a minute
_SHOWN = 5  # last lines of a log


def up(*, serve: Path | None = None) -> None:
    """Start all servers, deploy to them, and return when they answer.

    They go on when this command and its terminal have ended, with nohup or without.  Deployments keep what
    an operator set, artifacts and Prefect's database stay from one start to the next.

    Parameters
    ----------
    serve
        folder of a collection (`cmh index`) to search, too: `cmh serve` becomes one of the servers
    """
    from cmh.collection_files import manifest
    from flows import engines  # brings torch, which the other commands are spared

    for package in ("ray", "distributed"):
        engines.check_installed(package, "cmh up")
    if serve is not None and not manifest.is_collection(serve):
        raise ValueError(f"{serve} is no collection; make one first: cmh index photos/ --to {serve}")
    with stack.alone(_wait):
        _up(serve and serve.absolute())


def _wait() -> None:
    say("another cmh up or cmh down is at work here; waiting for it", style="dim")


def _up(serve: Path | None) -> None:
    there = stack.read()
    if there is not None and not any(map(there.goes_on, there.servers)):
        stack.end(there)  # the machine was started anew, or everything was killed
        there = None
    if there is not None:
        _show_there(there, serve)
        return
    started, ports = stack.prepare(serve)
    stack.write(started)
    try:
        for name, (command, address) in stack_servers.commands(started, ports).items():
            stack.start(started, name, command, address)
            say(f"{name}: {address}", style="dim")
        os.environ.update(stack.environment(started))  # for what this process asks and deploys
        for server in started.servers:
            _until_answers(started, server)
        _deploy()
        command = stack_servers.worker_command()
        stack.start(started, "prefect-worker", command, f"pool {stack_servers.POOL}")
        _until_answers(started, started.servers[-1])
    except BaseException:
        stack.end(started)
        raise
    _show(started, as_json=False)
    say(f"In another shell: source {stack.folder() / 'env'}")
    say("then, for example: prefect deployment run train-scahn/emoji")
    say(
        "It has the password that Prefect asks for, PREFECT_API_AUTH_STRING, and Ray's token, RAY_AUTH_TOKEN."
    )


def _show_there(there: Stack, serve: Path | None) -> None:
    """Show what is up already.  Raises ValueError if a part is silent, or another collection is searched."""
    os.environ.update(stack.environment(there))
    silent = [one.name for one in there.servers if not stack_servers.answers(there, one)]
    if silent:
        raise ValueError(
            f"the servers of `cmh up` run, but no answer comes from {', '.join(silent)}; look at the logs "
            "that `cmh status` names, then: cmh down && cmh up"
        )
    if serve not in (None, there.collection):
        searched = f"and search {there.collection}" if there.collection else "without a search service"
        raise ValueError(
            f"the servers of `cmh up` run already, {searched}; for {serve} beside them: cmh serve {serve}, "
            f"or to start anew: cmh down && cmh up --serve {serve}"
        )
    say("everything is up already")
    _show(there, as_json=False)


def _deploy() -> None:
    """Deploy everything; imported here, as Prefect reads its settings when it is imported."""
    from flows import automations
    from flows import deploy as deploying

    done = deploying.apply(deploying.everything())
    automations.apply()
    say(f"deployments: {len(done.created)} created, {len(done.renewed)} renewed", style="dim")


def _until_answers(started: Stack, server: Server) -> None:
    deadline = time.monotonic() + PATIENCE
    while not stack_servers.answers(started, server):
        if not started.goes_on(server) or time.monotonic() > deadline:
            what = "does not answer" if started.goes_on(server) else "has ended"
            lines = server.log.read_text(errors="replace").splitlines()[-_SHOWN:]
            raise ConnectionError(
                f"{server.name} {what}; everything is ended again. The end of {server.log}:\n"
                + "\n".join(lines)
            )
        time.sleep(0.5)


def status(*, as_json: Json = False) -> int:
    """Show the servers; exit status 1 unless all answer."""
    there = stack.read()
    if there is None:
        if not as_json:
            say("nothing is up; `cmh up` starts everything")
        return 1
    os.environ.update(stack.environment(there))
    return 0 if _show(there, as_json) else 1


def _show(there: Stack, as_json: bool) -> bool:
    """Print the servers; whether all answer."""
    rows = [_row(there, one) for one in there.servers]
    show(rows, as_json, f"Servers of {stack.folder()}")
    return all(row["state"] == "answers" for row in rows)


def _row(there: Stack, server: Server) -> dict[str, Any]:
    row = {"server": server.name, "address": server.address, "pid": server.pid}
    process = processes.started(server.pid, there.mark)
    if process is None:
        return row | {"state": "has ended", "up": "", "memory": "", "log": server.log}
    memory = sum(_memory(one) for one in processes.with_children(process))
    seconds = round(time.time() - process.create_time())
    state = "answers" if stack_servers.answers(there, server) else "does not answer"
    return row | {
        "state": state, "up": str(timedelta(seconds=seconds)), "memory": size(memory), "log": server.log,
    }  # fmt: skip


def _memory(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:  # it has ended meanwhile
        return 0


def down() -> None:
    """End all servers and the runs of the worker; artifacts, Prefect's database and logs stay."""
    with stack.alone(_wait):
        there = stack.read()
        if there is None:
            say("nothing is up")
            return
        stack.end(there)
        left = processes.family(there.mark)
        assert not left, left
    say(f"everything is down; data and logs stay in {stack.folder()}")
