"""The queue before the model: together, bounded, in time; and pictures likewise."""

import asyncio
import io
import threading
import time
from collections.abc import Sequence

import pytest
from PIL import Image

from cmh.data import images
from cmh.service import batcher, queries, schema
from cmh.service.batcher import Batcher
from cmh.service.metrics import Metrics
from cmh.service.pictures import Pictures
from cmh.service.queries import Nearest, Query, Refused
from cmh.service.settings import Settings
from cmh.service.snapshots import Snapshot, Snapshots
from cmh.service.workers import Busy, Workers
from tests.cmh.service.conftest import open_client


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, list[int]]:
    """Answers wait until the event is set; the sizes of the batches so far."""
    opened, sizes = threading.Event(), []

    def answer(snapshot: Snapshot, asked: Sequence[Query], threads: int | None = None) -> list:
        sizes.append(len(asked))
        opened.wait(10)
        return queries.answer(snapshot, asked, threads)

    monkeypatch.setattr(batcher, "answer", answer)
    return opened, sizes


def run(snapshots: Snapshots, settings: Settings, scenario) -> None:
    async def main() -> None:
        queries.warm_up(snapshots.current)
        made = Batcher(snapshots, settings, Metrics())
        task = asyncio.create_task(made.run())
        try:
            await scenario(made)
        finally:
            task.cancel()

    asyncio.run(main())


def test_queries_that_wait_together_are_encoded_together(snapshots: Snapshots, gate) -> None:
    """One, which found the model idle, then all those that came meanwhile, up to a batch."""
    opened, sizes = gate

    async def scenario(made: Batcher) -> None:
        asked = [asyncio.create_task(made.ask([Query(("red",), k=k)])) for k in range(1, 13)]
        await asyncio.sleep(0.1)
        opened.set()
        for k, task in enumerate(asked, 1):
            (result,) = await task
            assert isinstance(result, Nearest)
            assert len(result.rows) == k

    run(snapshots, Settings(batch=8), scenario)
    assert sizes == [8, 4]


def test_a_full_queue_says_when_to_come_back(snapshots: Snapshots, gate) -> None:
    """At once; what waits is answered, and a batch for which there is no room is not taken in part."""
    opened, _ = gate

    async def scenario(made: Batcher) -> None:
        first = asyncio.create_task(made.ask([Query(("red",))]))
        await asyncio.sleep(0.05)
        rest = asyncio.create_task(made.ask([Query(("blue",))] * 3))
        await asyncio.sleep(0.05)
        with pytest.raises(Busy, match="3 queries wait already"):
            await made.ask([Query(("red",))] * 2)
        opened.set()
        assert all(isinstance(one, Nearest) for one in [*await first, *await rest])

    run(snapshots, Settings(waiting=4), scenario)


def test_an_answer_that_takes_too_long_is_given_up(snapshots: Snapshots, gate) -> None:
    """The queries after it are answered."""
    opened, _ = gate

    async def scenario(made: Batcher) -> None:
        with pytest.raises(Busy, match=r"no answer within 0\.1 s"):
            await made.ask([Query(("red",))])
        opened.set()
        (result,) = await made.ask([Query(("red",))])
        assert isinstance(result, Nearest)

    run(snapshots, Settings(seconds=0.1), scenario)


def test_a_busy_service_answers_503_with_retry_after(snapshots: Snapshots, gate) -> None:
    """And 200 when there is room again."""
    opened, _ = gate
    with open_client(snapshots, waiting=1, seconds=0.3) as client:
        slow = client.get("/search?text=red")
        assert (slow.status_code, slow.headers["retry-after"]) == (503, "5")
        never = client.post("/search/batch", json={"queries": [{"text": ["red"]}] * 2})
        assert never.status_code == 422
        assert "at most 1 queries at once" in never.json()["error"]
        opened.set()
        time.sleep(0.1)
        assert client.get("/search?text=red").status_code == 200


def test_images_wait_in_a_bounded_queue_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two are decoded, two wait, the fifth is sent away; none of them is lost."""
    opened, real = threading.Event(), images.decode_image
    monkeypatch.setattr(images, "decode_image", lambda *a: opened.wait(10) and real(*a))
    data = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(data, "PNG")

    async def scenario() -> None:
        made = Pictures(Settings(waiting=4, decoders=2))
        files = [io.BytesIO(data.getvalue()) for _ in range(5)]
        tasks = [asyncio.create_task(made.decode(file, "image/png", 4)) for file in files[:4]]
        await asyncio.sleep(0.05)
        with pytest.raises(Busy, match="4 images wait"):
            await made.decode(files[4], "image/png", 4)
        opened.set()
        assert [image.shape for image in await asyncio.gather(*tasks)] == [(4, 4, 3)] * 4
        assert (await made.decode(files[4], "image/png", 4)).shape == (4, 4, 3)

    asyncio.run(scenario())


def test_a_list_of_items_is_not_waited_for_without_end(
    snapshots: Snapshots, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A condition may look at all items, and takes its time."""
    opened, real = threading.Event(), schema.Items.of
    monkeypatch.setattr(schema.Items, "of", lambda *a: opened.wait(10) and real(*a))
    with open_client(snapshots, seconds=0.1) as client:
        slow = client.get("/items")
        opened.set()
        assert (slow.status_code, slow.headers["retry-after"]) == (503, "5")
        assert client.get("/items").status_code == 200


def test_more_queries_than_the_queue_holds_are_refused(snapshots: Snapshots) -> None:
    """They would be told for ever to come back."""

    async def scenario(made: Batcher) -> None:
        with pytest.raises(Refused, match="at most 3 queries at once"):
            await made.ask([Query(("red",), k=1)] * 4)
        assert len(await made.ask([Query(("red",), k=1)] * 3)) == 3

    run(snapshots, Settings(waiting=3), scenario)


@pytest.mark.parametrize("to_the_end", [False, True])
def test_work_that_has_begun_is_told_to_the_end_where_it_changes_something(to_the_end: bool) -> None:
    """Without, nobody learns that it was done; what has not begun in time never does."""
    done: list[str] = []

    def slow(name: str) -> str:
        time.sleep(0.4)
        done.append(name)
        return name

    async def scenario() -> None:
        workers = Workers(Settings(seconds=0.1), 1, "changes", to_the_end=to_the_end)
        first = asyncio.create_task(workers.run(lambda: slow("first")))
        await asyncio.sleep(0)
        second = asyncio.create_task(workers.run(lambda: slow("second")))
        with pytest.raises(Busy, match="no answer within"):
            await second
        if to_the_end:
            assert await first == "first"
        else:
            with pytest.raises(Busy):
                await first

    asyncio.run(scenario())
    time.sleep(0.6)
    assert done == ["first"]
