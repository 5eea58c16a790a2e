"""What a person changes by the page, in a real Chromium, over a running `cmh serve --writable`."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cmh.service.browser import NEEDS_CHROMIUM, address, browser, hits, page, playwright
from tests.cmh.service.conftest import COUNT, draw
from tests.cmh.service.serving import end, start

__all__ = ["address", "browser", "page"]  # fixtures
pytestmark = NEEDS_CHROMIUM


@pytest.fixture
def writable(own: Path) -> Iterator[str]:
    """A service over drawings that may be changed; it ends cleanly."""
    served, address = start(own, "--writable")
    yield address
    assert end(served)[0] == 0


def test_pictures_are_added_and_found(page, writable: str, tmp_path: Path) -> None:
    """Of a broken one is said why, in the service's words; a picture twice is one."""
    broken, new = tmp_path / "broken.png", draw(tmp_path / "new.png", 99)
    broken.write_bytes(b"no picture")
    page.goto(writable)
    page.set_input_files("#add-files", [broken, new])
    playwright.expect(page.locator("#added-said")).to_have_text("1 picture added, 1 picture refused:")
    playwright.expect(page.locator("#added-refused li")).to_contain_text(
        "broken.png: the uploaded image cannot be used: not an image of a kind that is read"
    )
    playwright.expect(page.locator("#added-run")).to_be_hidden()
    playwright.expect(page.locator("#status")).to_contain_text(f"{COUNT + 1} pictures")
    page.set_input_files("#add-files", [new])
    playwright.expect(page.locator("#added-said")).to_have_text(
        "0 pictures added, 1 picture was there already"
    )
    playwright.expect(page.locator("#added-refused li")).to_have_count(0)
    playwright.expect(page.locator("#add-files")).to_be_focused()

    page.set_input_files("#file", new)
    mine = page.locator(".card .caption b", has_text=re.compile(r"^new-\w+-\w+\.png$"))
    playwright.expect(mine).to_have_count(1)
    page.click("#added-look")
    playwright.expect(page.locator("#detail-name")).to_have_text(mine.inner_text())
    page.keyboard.press("Escape")
    playwright.expect(page.locator("#detail")).to_be_hidden()
    page.click("#added-close")
    playwright.expect(page.locator("#added")).to_be_hidden()


def test_adding_stops_where_going_on_is_of_no_use(page, writable: str, tmp_path: Path) -> None:
    """By a person, whose typing keeps the focus; or if the next picture would be refused as well."""
    pictures = [draw(tmp_path / f"{n}.png", 100 + n) for n in range(3)]
    held: list[Any] = []

    def sent() -> Any:
        while not held:
            page.wait_for_timeout(20)
        return held.pop()

    page.route("**/items?id=*", lambda route: held.append(route))  # Playwright marks the function
    page.goto(writable)
    page.wait_for_selector(".card img")
    page.set_input_files("#add-files", pictures)
    playwright.expect(page.locator("#added-said")).to_have_text("Adding 3 pictures …")
    playwright.expect(page.locator("#added-count")).to_have_text("1 of 3")
    first = sent()
    page.click("#added-stop")
    page.focus("#text")
    first.continue_()
    playwright.expect(page.locator("#added-said")).to_have_text("1 picture added, 2 pictures not tried")
    playwright.expect(page.locator("#status")).to_contain_text(f"{COUNT + 1} pictures")
    playwright.expect(page.locator("#text")).to_be_focused()

    page.set_input_files("#add-files", pictures)
    page.focus("#added-stop")
    sent().fulfill(status=507, json={"error": "the disk is full"})
    playwright.expect(page.locator("#added-said")).to_have_text(
        "0 pictures added, 2 pictures not tried, 1 picture refused:"
    )
    playwright.expect(page.locator("#added-refused")).to_have_text("0.png: the disk is full")
    playwright.expect(page.locator("#added-look")).to_be_hidden()
    playwright.expect(page.locator("#add-files")).to_be_focused()


def test_a_result_is_deleted_by_keyboard(page, writable: str) -> None:
    """It asks, with the harmless answer first; grid, a new search and the next page are without it."""
    page.goto(f"{writable}?text=red")
    first, second = hits(page)[:2]
    page.locator(".card .bin").first.focus()
    page.keyboard.press("Enter")
    playwright.expect(page.get_by_role("dialog", name=f"Delete “{first}”?")).to_be_visible()
    playwright.expect(page.locator("#sure-no")).to_be_focused()
    page.keyboard.press("Enter")
    playwright.expect(page.locator("#sure")).to_be_hidden()
    playwright.expect(page.locator(".card .bin").first).to_be_focused()
    playwright.expect(page.locator(".card")).to_have_count(24)

    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    playwright.expect(page.locator("#status")).to_have_text(f"“{first}” is deleted; {COUNT - 1} are left")
    playwright.expect(page.locator(".card")).to_have_count(23)
    playwright.expect(page.locator(".card .caption b").first).to_have_text(second)
    playwright.expect(page.locator(".card .open").first).to_be_focused()
    page.click("#more")
    playwright.expect(page.locator(".card")).to_have_count(COUNT - 1)
    assert len(set(hits(page))) == COUNT - 1
    page.reload()
    assert first not in hits(page)


def test_an_item_is_deleted_in_its_details(page, writable: str) -> None:
    """Unless the service refuses, which is said where it was asked."""
    page.goto(writable)
    page.wait_for_selector(".card img")
    card = page.locator(".card").nth(1)
    item, name = card.get_attribute("data-item"), card.locator("b").inner_text()
    card.locator(".open").click()
    page.click("#detail-delete")
    page.click("#sure-yes")
    playwright.expect(page.locator("#detail")).to_be_hidden()
    playwright.expect(page.locator("#status")).to_have_text(f"“{name}” is deleted; {COUNT - 1} are left")
    playwright.expect(page.locator(f'.card[data-item="{item}"]')).to_have_count(0)
    playwright.expect(page.locator(".card .open").nth(1)).to_be_focused()

    gone = page.locator(".card").nth(3)
    page.request.delete(f"{writable}items/{gone.get_attribute('data-item')}")
    gone.hover()
    gone.locator(".bin").click()
    page.click("#sure-yes")
    playwright.expect(page.locator("#sure-said")).to_contain_text("it may have been removed")
    page.click("#sure-no")
    playwright.expect(page.locator("#sure")).to_be_hidden()
    playwright.expect(page.locator(".card")).to_have_count(23)


def test_what_only_reads_offers_no_change(page, address: str) -> None:
    """Neither a button to add nor one to delete."""
    page.goto(address)
    page.locator(".card .open").first.click()
    playwright.expect(page.locator("#detail-like")).to_be_visible()
    for button in ("#add", "#detail-delete", "#added"):
        playwright.expect(page.locator(button)).to_be_hidden()
    playwright.expect(page.locator(".card .bin")).to_have_count(0)
