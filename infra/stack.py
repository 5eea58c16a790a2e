"""Every server of the pipeline on this machine, without containers: S3, Prefect and a worker, Ray, Dask.

`infra.stack_servers` says what each of them is.  They listen on 127.0.0.1, but for Ray's own ports, which
its token guards.  Secrets are made once, readable by their owner alone.  Ports are the usual ones, or the
next that are free.

    {CMH_HOME}/local/env          what clients need: `source` it
    {CMH_HOME}/local/stack.json   what runs
    {CMH_HOME}/local/logs/        one log for each server; those of Ray's parts in ray/, once it has ended
    {CMH_HOME}/local/s3/          the artifacts; {CMH_HOME}/prefect holds Prefect's database
"""

import fcntl
import json
import os
import secrets
import shlex
import shutil
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, ValidationError

from infra import processes, stack_ports
from infra.stack_ports import Ports
from infra.stores import home, open_store

STORE = "s3://cmh/store"  # of the S3 server that is started here
_QUIET = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}
_COMMAND_LINE = ("PREFECT_LOGGING_LEVEL", "PREFECT_LOGGING_INTERNAL_LEVEL", "DASK_LOGGING__DISTRIBUTED")
"""What `cmh` sets to keep its terminal quiet; servers and runs log to their files."""


class Server(BaseModel, frozen=True):
    """A server that was started."""

    name: str
    pid: int
    address: str  # for people
    log: Path


class Stack(BaseModel):
    """What runs, as stack.json keeps it."""

    mark: Annotated[str, Field(min_length=16)]
    environment: dict[str, str]  # of clients; no secrets
    ray_folder: Path
    collection: Path | None = None  # of `cmh index`, that is searched, too
    servers: list[Server] = []

    def goes_on(self, server: Server) -> bool:
        """Return whether the process of a server is there."""
        return processes.goes_on(server.pid, self.mark)


def folder() -> Path:
    """Return where the state of the servers is kept."""
    return home() / "local"


def read() -> Stack | None:
    """Return what was started and not ended; None if nothing was.

    Raises:
        ValueError: stack.json is damaged.
    """
    path = folder() / "stack.json"
    try:
        return Stack.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise ValueError(
            f"{path} is damaged, so what was started is not known; end it by hand: its processes have "
            f"{processes.MARK} in their environment; delete the file, then: cmh up"
        ) from error


@contextmanager
def alone(wait: Callable[[], None]) -> Iterator[None]:
    """Let no other process start or end servers of this folder within the block; a killed one lets go.

    wait: called once, if another one is at it.
    """
    folder().mkdir(parents=True, exist_ok=True)
    with (folder() / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            wait()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write(stack: Stack) -> None:
    """Keep what runs, so that another command can end it."""
    _write(folder() / "stack.json", stack.model_dump_json(indent=1))


def prepare(collection: Path | None = None) -> tuple[Stack, Ports]:
    """Choose ports, make secrets, and write what clients need to `env`; nothing is started yet.

    collection: a folder of `cmh index` that is to be searched, too.
    """
    (folder() / "logs").mkdir(parents=True, exist_ok=True)
    ports = stack_ports.choose()
    environment = {
        "CMH_HOME": str(home()),
        "CMH_STORE": STORE if starts_s3() else open_store().url,  # a whole path
        "PREFECT_HOME": str(home() / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{ports.prefect}/api",
        "RAY_ADDRESS": f"127.0.0.1:{ports.ray}",
        "RAY_AUTH_MODE": "token",
        "DASK_SCHEDULER_ADDRESS": f"tcp://127.0.0.1:{ports.dask}",
    }
    if starts_s3():
        environment |= {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{ports.s3}", "AWS_REGION": "us-east-1"}
    for private in (folder(), Path(environment["PREFECT_HOME"])):  # logs, parameters, names of files
        private.mkdir(parents=True, exist_ok=True)
        private.chmod(0o700)
    stack = Stack(
        mark=uuid.uuid4().hex,
        environment=environment,
        ray_folder=Path(tempfile.mkdtemp(prefix="cmh-ray-")),  # short: it holds sockets
        collection=collection,
    )
    exports = {**_QUIET, **environment, **_secrets(stack)}
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in exports.items()]
    _write(folder() / "env", "".join(lines))
    return stack, ports


def environment(stack: Stack) -> dict[str, str]:
    """Return the environment of servers and clients, with the secrets."""
    beside = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return {**os.environ, **_QUIET, **stack.environment, **_secrets(stack), "PATH": beside}


def weed() -> str | None:
    """Return the program of SeaweedFS, if it is installed."""
    return shutil.which("weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")


def starts_s3() -> bool:
    """Return whether a server of S3 belongs to the stack: unless artifacts are kept elsewhere."""
    return weed() is not None and os.environ.get("CMH_STORE") in (None, "", STORE)


def start(stack: Stack, name: str, command: list[str], address: str) -> None:
    """Start a server; stack.json has it at once."""
    log = folder() / "logs" / f"{name}.log"
    log.unlink(missing_ok=True)
    more = environment(stack)
    for quiet in _COMMAND_LINE:
        more.pop(quiet, None)
    if name == "ray":
        del more["RAY_ADDRESS"]  # it is the cluster, and joins none
    if name == "dask-worker":
        more["OMP_NUM_THREADS"] = "1"  # each has one core
    if name == "prefect":
        more["PREFECT_SERVER_API_AUTH_STRING"] = more["PREFECT_API_AUTH_STRING"]
    pid = processes.start(command, more, log, stack.mark)
    stack.servers.append(Server(name=name, pid=pid, address=address, log=log))
    write(stack)


def end(stack: Stack) -> None:
    """End everything: first the worker, so that its runs can say that they end, then the servers."""
    for server in stack.servers:
        if server.name == "prefect-worker":
            processes.end(server.pid, stack.mark)
    processes.end(None, stack.mark)
    logs = folder() / "logs" / "ray"
    shutil.rmtree(logs, ignore_errors=True)
    if (session := stack.ray_folder / "session_latest").exists():
        shutil.copytree(session / "logs", logs, ignore_dangling_symlinks=True, dirs_exist_ok=True)
    shutil.rmtree(stack.ray_folder, ignore_errors=True)
    (folder() / "stack.json").unlink(missing_ok=True)


def _secrets(stack: Stack) -> dict[str, str]:
    """Return the secrets of this machine, made at first; an account of S3 elsewhere is the user's own."""
    path = folder() / "secrets.json"
    if not path.exists():
        made = {name: secrets.token_hex(32) for name in ("s3", "ray", "prefect")}
        _write(path, json.dumps(made))
    known = json.loads(path.read_bytes())
    found = {"RAY_AUTH_TOKEN": known["ray"], "PREFECT_API_AUTH_STRING": f"cmh:{known['prefect']}"}
    if "AWS_ENDPOINT_URL" in stack.environment:  # its own server, whatever CMH_STORE is in this shell
        found |= {"AWS_ACCESS_KEY_ID": "cmh", "AWS_SECRET_ACCESS_KEY": known["s3"]}
    return found


def _write(path: Path, text: str) -> None:
    """Write a file whole, readable by its owner alone."""
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    partial.unlink(missing_ok=True)
    with open(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        file.write(text)
    partial.replace(path)
