"""The application: what is asked under which address."""

from collections.abc import Sequence
from importlib import resources
from typing import Annotated, Any

from fastapi import Depends, FastAPI, File, Form, HTTPException, Query, Request, Response, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException

from cmh import __version__
from cmh.service import guard, queries, schema
from cmh.service.guard import Guard
from cmh.service.queries import Refused, UnknownItem
from cmh.service.service import Service
from cmh.service.settings import Settings
from cmh.service.snapshots import Snapshots
from cmh.service.workers import Busy
from cmh.service.writes import Full, Given, Written

_PAGE = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_REFUSALS: dict[int | str, dict[str, Any]] = {
    code: {"model": schema.Problem, "description": said}
    for code, said in (
        (401, "the token is missing or wrong"),
        (404, "no such item"),
        (413, "the request is too large"),
        (422, "what was asked cannot be answered; `error` says why"),
        (503, "too much is asked at once; `Retry-After` says when to try again"),
    )
}

Texts = Annotated[list[schema.Text], Query(max_length=schema.MOST_PARTS, examples=[["a dog in the snow"]])]
Likes = Annotated[list[schema.ItemId], Query(max_length=schema.MOST_PARTS)]


def create_app(
    snapshots: Snapshots, settings: Settings | None = None, places: Sequence[schema.Place] = ()
) -> FastAPI:
    """Return the application over an open collection; any ASGI server runs it, in one process.

    places: of all collections behind the port, where there are several.
    """
    settings = settings or Settings()
    service = Service(snapshots, settings)
    app = FastAPI(
        title="cmh",
        version=__version__,
        description="Search a collection by texts, images and items, alone or together.",
        docs_url=None,  # FastAPI's page of documentation loads its scripts from another host
        redoc_url=None,
        lifespan=service.lifespan,
        responses=_REFUSALS,
    )
    app.add_middleware(Guard, settings=settings, metrics=service.metrics)
    _add_handlers(app)
    _add_probes(app, service)
    app.state.service = service
    _add_search(app, service, places)
    _add_items(app, service)
    _add_changes(app, service)
    _add_page(app, service)
    return app


def _add_handlers(app: FastAPI) -> None:
    """Answer every refusal as {"error": ...}."""

    def problem(status: int, said: str, headers: dict[str, str] | None = None) -> JSONResponse:
        return JSONResponse({"error": said}, status, headers)

    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> JSONResponse:
        return problem(404 if isinstance(error, UnknownItem) else 422, str(error))

    @app.exception_handler(Busy)
    async def busy(_: Request, error: Busy) -> JSONResponse:
        return problem(503, str(error), {"retry-after": str(error.retry)})

    @app.exception_handler(Full)
    async def full(_: Request, error: Full) -> JSONResponse:
        return problem(507, str(error))

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        said = (f"{'.'.join(str(p) for p in one['loc'][1:])}: {one['msg']}" for one in error.errors()[:3])
        return problem(422, "; ".join(said))

    @app.exception_handler(StarletteHTTPException)
    async def other(_: Request, error: StarletteHTTPException) -> JSONResponse:
        return problem(error.status_code, str(error.detail), dict(error.headers or {}))


def _add_probes(app: FastAPI, service: Service) -> None:
    """Add what operators ask."""

    @app.get("/healthz", tags=["operation"])
    async def healthz() -> dict[str, str]:
        """Say that the process answers."""
        return {"status": "ok"}

    @app.get("/readyz", tags=["operation"])
    async def readyz(request: Request) -> dict[str, str | int | None]:
        """Say whether queries are answered; to whom may ask, also what is wrong with a newer state."""
        if not service.answers:
            raise HTTPException(503, "queries are not answered; start the service again")
        if not guard.admits(request.headers, service.settings.token):
            return {"status": "ok"}
        now = service.snapshots.current
        return {"version": now.version, "items": len(now), "problem": service.snapshots.problem}

    @app.get("/metrics", tags=["operation"], response_class=Response)
    async def metrics() -> Response:
        """Return the metrics for Prometheus."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_search(app: FastAPI, service: Service, places: Sequence[schema.Place]) -> None:
    """Add queries."""

    @app.get("/collection", tags=["search"])
    async def collection() -> schema.About:
        """Say what is searched."""
        now = service.snapshots.current
        model = now.engine.model
        return schema.About(
            name=service.snapshots.folder.resolve().name,
            what=now.engine.what,
            items=len(now),
            version=now.version,
            bits=model.bits,
            lengths=list(now.lengths),
            labels=list(model.labels[:100]),
            orders=list(now.engine.orders),
            columns=now.columns,
            writable=service.settings.writable,
            collections=list(places),
        )

    @app.get("/search", tags=["search"])
    async def search(
        text: Texts = [],  # noqa: B006 - FastAPI copies it
        like: Likes = [],  # noqa: B006
        k: schema.K = 10,
        offset: schema.Offset = 0,
        bits: schema.Bits = None,
        order: schema.Ordered = None,
        where: schema.Condition = None,
    ) -> schema.Answer:
        """Find the items nearest to texts, to items of the collection, or to all of these together."""
        asked = queries.Query(tuple(text), (), tuple(like), k, offset, bits, order, where)
        return await service.ask(asked)

    @app.post("/search", tags=["search"])
    async def search_by_images(
        image: Annotated[list[UploadFile], File(max_length=schema.MOST_PARTS)] = [],  # noqa: B006
        text: Annotated[list[schema.Text], Form(max_length=schema.MOST_PARTS)] = [],  # noqa: B006
        like: Annotated[list[schema.ItemId], Form(max_length=schema.MOST_PARTS)] = [],  # noqa: B006
        k: Annotated[schema.K, Form()] = 10,
        offset: Annotated[schema.Offset, Form()] = 0,
        bits: Annotated[schema.Bits, Form()] = None,
        order: Annotated[schema.Ordered, Form()] = None,
        where: Annotated[schema.Condition, Form()] = None,
    ) -> schema.Answer:
        """Find the items nearest to uploaded images, alone or together with texts and items."""
        size = service.snapshots.current.engine.model.facts.stored_size
        pixels = [await service.pictures.decode(one.file, one.content_type or "", size) for one in image]
        asked = queries.Query(tuple(text), tuple(pixels), tuple(like), k, offset, bits, order, where)
        return await service.ask(asked)

    @app.post("/search/batch", tags=["search"], response_model=schema.Outcomes)
    async def search_batch(questions: schema.Questions) -> Response:
        """Answer up to 64 queries together; one that cannot be answered does not keep the others."""
        asked = [
            queries.Query(
                tuple(q.text), (), tuple(q.like), q.k, q.offset, q.bits, order=q.order, where=q.where
            )
            for q in questions.queries
        ]
        return Response(await service.ask_all(asked), media_type="application/json")


def _add_items(app: FastAPI, service: Service) -> None:
    """Add the items and their images."""

    @app.get("/items", tags=["items"])
    async def items(
        k: schema.K = 10, offset: Annotated[int, Query(ge=0)] = 0, where: schema.Condition = None
    ) -> schema.Items:
        """List items in the order of the collection."""
        now = service.snapshots.current
        return await service.lists.run(lambda: schema.Items.of(now, k, offset, where))

    @app.get("/items/{item}", tags=["items"])
    async def item(item: str) -> schema.Item:
        """Describe one item."""
        return schema.Item.of(*service.find(item))

    @app.get("/items/{item}/thumbnail", tags=["items"], response_class=Response)
    async def thumbnail(item: str, request: Request) -> Response:
        """Return an item's image as the model sees it: a square JPEG."""
        return await service.picture(item, request, whole=False)

    @app.get("/items/{item}/image", tags=["items"], response_class=Response)
    async def image(item: str, request: Request) -> Response:
        """Return an item's whole image as JPEG, its longer side of at most 1600 pixels."""
        return await service.picture(item, request, whole=True)


def _add_changes(app: FastAPI, service: Service) -> None:
    """Add what changes the collection, if that is allowed."""

    def allowed() -> None:
        if not service.settings.writable:
            raise HTTPException(403, "this service only reads; start it with --writable to change items")

    may = [Depends(allowed)]
    refusals: dict[int | str, dict[str, Any]] = {
        code: {"model": schema.Problem, "description": said}
        for code, said in ((403, "the service only reads"), (507, "the disk is full; nothing was changed"))
    }

    def change(done: Written) -> schema.Change:
        return schema.Change(
            id=service.snapshots.current.key(done.name), change=done.change, version=done.version
        )

    @app.put("/items", tags=["items"], dependencies=may, responses=refusals)
    async def put_item(
        id: schema.GivenId,
        image: Annotated[UploadFile | None, File(description="an image file; not SVG")] = None,
        text: Annotated[schema.Text | None, Form()] = None,
        columns: schema.Cells = None,
    ) -> schema.Change:
        """Add an image or a text under an id, or replace the item with this id."""
        given = Given(id, None if image is None else image.file, text, columns)
        return change(await service.writes.put(given))

    @app.delete("/items/{item}", tags=["items"], dependencies=may, responses=refusals)
    async def delete_item(item: str) -> schema.Change:
        """Delete an item; a file that it was found in stays."""
        return change(await service.writes.delete(item))


def _add_page(app: FastAPI, service: Service) -> None:
    """Add the page, whose files are read once, and the trade of a token for its cookie."""
    folder = resources.files("cmh.service") / "page"
    files = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}

    def file(name: str) -> Response:
        if name not in files:
            raise HTTPException(404, "the page has no such file")
        kind = _PAGE["." + name.rpartition(".")[2]]
        return Response(files[name], media_type=kind, headers={"cache-control": "no-cache"})

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return file("index.html")

    @app.get("/page/{name}", include_in_schema=False)
    async def page_file(name: str) -> Response:
        return file(name)

    @app.post("/session", include_in_schema=False)
    async def session(given: schema.Token, request: Request) -> Response:
        token = service.settings.token
        if token is None or not guard.is_token(given.token, token):
            raise HTTPException(401, "this is not the token")
        response, secure = Response(status_code=204), request.url.scheme == "https"
        response.set_cookie(
            guard.COOKIE, guard.session(token), httponly=True, samesite="strict", secure=secure
        )
        return response
