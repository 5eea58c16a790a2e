"""`cmh serve`: collections behind a port of this machine, with a page for people."""

import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from cmh.service import queries, server, several
from cmh.service.settings import LOOPBACK, Settings
from cmh.service.snapshots import Snapshots
from flows.cli.terminal import say
from infra import stores

TOKEN = "CMH_SERVICE_TOKEN"


def serve(
    collection: Path,
    *others: Path,
    host: str = "127.0.0.1",
    port: int | None = None,
    token_file: Path | None = None,
    threads: int | None = None,
    max_body: int = 32,
    queue: int = 256,
    writable: Annotated[bool, Parameter(negative="")] = False,
    log_queries: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Answer searches of collections on a port, with a page to search them in a browser.

    Changes of the collection (`cmh index`) are taken up without a restart; Ctrl-C ends it.

    Parameters
    ----------
    collection
        folder of a collection (`cmh index`)
    others
        more of them, behind the same port; each has its page and its interface below /collections/NAME/
    host
        address to listen on; any other than this machine's own needs a token
    port
        to listen on; by default 8000, or the next that is free
    token_file
        file that holds the token which every request must send; by default `CMH_SERVICE_TOKEN`
    threads
        CPU threads of encoding and of a search
    max_body
        MiB of a request, at most
    queue
        queries that may wait; others are told to come back
    writable
        let whoever may ask add and delete items
    log_queries
        write the texts that people search for into the log
    """
    token = _token(token_file)
    local = host in LOOPBACK
    if not local and token is None:
        raise ValueError(
            f"{host} can be reached by others, so the service needs a token there: put one into a file "
            f"(`openssl rand -hex 32 > token`) for --token-file, or into {TOKEN}"
        )
    settings = Settings(
        token=token,
        hosts=LOOPBACK if local else None,
        body_bytes=max_body << 20,
        waiting=queue,
        threads=threads,
        writable=writable,
        log_queries=log_queries,
    )
    folders = dict(zip(several.names([collection, *others]), [collection, *others], strict=True))
    listening = server.bind(host, port)  # before the collection is opened, which may take a while
    with listening:
        opened = {}
        for name, folder in folders.items():
            say(f"opening {folder} ...", style="dim")
            below = several.address(name) if others else ""
            opened[name] = Snapshots(folder, threads=threads, cache=stores.graphs(), address=below)
            queries.warm_up(opened[name].current, threads)  # here a model's fault is told in a line
        address = server.address(listening)

        def ready() -> None:
            if port is None and (taken := listening.getsockname()[1]) != server.PORT:
                say(f"port {server.PORT} is taken; this is port {taken}")
            for snapshots in opened.values():
                items = f"{len(snapshots.current):,} {snapshots.current.engine.what}s"
                place = f"{snapshots.current.address.removeprefix('/')}/" if others else ""
                say(f"{snapshots.folder}, {items}: {address}{place}", style="bold")
            if writable:
                say("items can be added and deleted")
            if token is not None:
                said = "the page asks for it once" if local else "without it nobody gets an answer"
                say(f"a token is needed: {said}; programs send it as Authorization: Bearer TOKEN")
            say("Ctrl-C ends it", style="dim")

        server.serve(several.create_service(opened, settings), listening, ready)
    say("ended")


def _token(file: Path | None) -> str | None:
    """Return the token of a file or of the environment; None if there is none.

    Raises:
        ValueError: if the file cannot be read, or holds none.
    """
    if file is None:
        return os.environ.get(TOKEN) or None
    try:
        token = file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise ValueError(f"the token cannot be read from {file}: {said}") from None
    if not token:
        raise ValueError(f"{file} holds no token; write one with `openssl rand -hex 32 > {file}`")
    return token
