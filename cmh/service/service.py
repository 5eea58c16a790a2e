"""What runs behind the routes: the batcher, the watch over the collection, the answers."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI, Request, Response

from cmh.service import queries, schema
from cmh.service.batcher import Batcher
from cmh.service.metrics import Metrics
from cmh.service.pictures import Pictures
from cmh.service.queries import Nearest, UnknownItem
from cmh.service.settings import Settings
from cmh.service.snapshots import Snapshot, Snapshots
from cmh.service.workers import Workers
from cmh.service.writes import Writes

log = logging.getLogger(__name__)

_LISTS = 2  # that are made at the same time; a condition may look at all items


class Service:
    """An open collection, and what answers questions about it."""

    def __init__(self, snapshots: Snapshots, settings: Settings) -> None:
        self.snapshots, self.settings, self.metrics = snapshots, settings, Metrics()
        self.batcher = Batcher(snapshots, settings, self.metrics)
        self.pictures = Pictures(settings)
        self.writes = Writes(snapshots, settings)
        self.lists = Workers(settings, _LISTS, "lists of items")
        self.metrics.items.set_function(lambda: len(snapshots.current))
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def answers(self) -> bool:
        """Whether queries are answered."""
        return bool(self._tasks) and not any(task.done() for task in self._tasks)

    @asynccontextmanager
    async def lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        """Run the batcher and the watch over the collection beside the routes."""
        await asyncio.to_thread(self.warm_up, self.snapshots.current)
        self._tasks = [asyncio.create_task(self.batcher.run()), asyncio.create_task(self.watch())]
        yield
        for task in self._tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def warm_up(self, snapshot: Snapshot) -> None:
        """Let the first person not wait for what is compiled or loaded at first use."""
        queries.warm_up(snapshot, self.settings.threads)

    async def watch(self) -> None:
        """Take up changes of the collection."""
        while True:
            await asyncio.sleep(self.settings.poll)
            if self.snapshots.changed():
                renewed = await asyncio.to_thread(self.snapshots.renew, self.warm_up)
                self.metrics.reloads.labels("taken" if renewed else "failed").inc()

    async def ask(self, asked: queries.Query) -> schema.Answer:
        """Answer one query."""
        began = time.perf_counter()
        (found,) = await self._nearest([asked])
        return schema.Answer.of(asked, found, time.perf_counter() - began)

    async def ask_all(self, asked: Sequence[queries.Query]) -> str:
        """Answer queries together, as JSON: thousands of hits are described, which others do not wait for."""
        began = time.perf_counter()
        found = await self._nearest(asked)
        return await asyncio.to_thread(schema.Outcomes.json_of, asked, found, time.perf_counter() - began)

    async def _nearest(self, asked: Sequence[queries.Query]) -> list[Nearest | BaseException]:
        for one in asked:
            schema.check_query(one, self.snapshots.current)
        if self.settings.log_queries:
            for one in asked:
                fields = {
                    "texts": one.texts,
                    "images": len(one.images),
                    "likes": one.likes,
                    "where": one.where,
                }
                log.info("query", extra={"fields": fields})
        return await self.batcher.ask(asked)

    def find(self, item: str) -> tuple[Snapshot, int]:
        """Return where an item is."""
        now = self.snapshots.current
        row = now.row(item)
        if row is None:
            raise UnknownItem(f"the collection has no item {item[:40]!r}; it may have been removed")
        return now, row

    async def picture(self, item: str, request: Request, *, whole: bool) -> Response:
        """Answer with an item's image, or that the reader of this answer has it already."""
        now, row = self.find(item)
        if now.engine.what != "image":
            raise UnknownItem("the items of this collection are texts, and have no images")
        headers = {"etag": f'"{now.version}"', "cache-control": "private, max-age=300"}
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(status_code=304, headers=headers)
        draw = self.pictures.whole if whole else self.pictures.thumbnail
        try:
            return Response(await draw(now, row), media_type="image/jpeg", headers=headers)
        except (OSError, ValueError) as error:  # a path in the message is nobody's business
            log.warning("an image cannot be shown", extra={"fields": {"item": item, "reason": str(error)}})
            raise UnknownItem("the image's file is gone or cannot be read any more") from error
