"""Several collections behind one port: each below /collections/NAME/ as it is alone at /."""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import quote

from fastapi import FastAPI, HTTPException
from fastapi.responses import RedirectResponse, Response
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp

from cmh import __version__
from cmh.service.app import create_app
from cmh.service.guard import Guard
from cmh.service.metrics import Metrics
from cmh.service.schema import Place
from cmh.service.settings import Settings
from cmh.service.snapshots import Snapshots


def names(folders: Sequence[Path]) -> list[str]:
    """Return what each collection is called: its folder, with - for what does not belong into an address.

    Raises:
        ValueError: two are called the same.
    """
    found = [re.sub(r"[^\w.-]+", "-", folder.resolve().name) for folder in folders]
    for name in found:
        if found.count(name) > 1:
            raise ValueError(f"two collections are called {name!r}; rename the folder of one")
    return found


def address(name: str) -> str:
    """Return the path below which a collection is asked for, one of several."""
    return f"/collections/{quote(name)}"


def create_service(opened: Mapping[str, Snapshots], settings: Settings) -> ASGIApp:
    """Return the application over collections by their names; of one alone, its own."""
    if len(opened) == 1:
        return create_app(next(iter(opened.values())), settings)
    places = [Place(name=name, address=f"{address(name)}/") for name in opened]
    apps = {name: create_app(snapshots, settings, places) for name, snapshots in opened.items()}

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for app in apps.values():
                await stack.enter_async_context(app.router.lifespan_context(app))
            yield

    mounted = [Mount(f"/collections/{name}", app) for name, app in apps.items()]
    return Starlette(routes=[*mounted, Mount("/", _front(apps, places, settings))], lifespan=lifespan)


def _front(apps: Mapping[str, FastAPI], places: Sequence[Place], settings: Settings) -> FastAPI:
    """Return what is asked of the whole: the list of collections, and whether all answer."""
    front = FastAPI(title="cmh", version=__version__, docs_url=None, redoc_url=None)
    front.add_middleware(Guard, settings=settings, metrics=Metrics())

    @front.get("/", include_in_schema=False)
    async def page() -> Response:
        return RedirectResponse(places[0].address)

    @front.get("/collections", tags=["search"])
    async def collections() -> list[Place]:
        """List the collections."""
        return list(places)

    @front.get("/healthz", tags=["operation"])
    async def healthz() -> dict[str, str]:
        """Say that the process answers."""
        return {"status": "ok"}

    @front.get("/readyz", tags=["operation"])
    async def readyz() -> dict[str, str]:
        """Say whether queries of all collections are answered; each says more at its own address."""
        if not all(app.state.service.answers for app in apps.values()):
            raise HTTPException(503, "queries are not answered; start the service again")
        return {"status": "ok"}

    return front
