"""What a person changes by the page, in a real Chromium, over a running `cmh serve --writable`."""

import re
from pathlib import Path

from tests.cmh.service.browser import NEEDS_CHROMIUM, address, browser, hits, page, playwright
from tests.cmh.service.conftest import COUNT, Drawn, draw
from tests.cmh.service.serving import end, start

__all__ = ["address", "browser", "page"]  # fixtures
pytestmark = NEEDS_CHROMIUM


def test_pictures_are_added_and_deleted(page, own: Path, drawn: Drawn, tmp_path: Path) -> None:
    """Where the service is writable: refusals say why, a picture twice is one, a delete asks."""
    broken, new = tmp_path / "broken.png", draw(tmp_path / "new.png", 99)
    broken.write_bytes(b"no picture")
    served, address = start(own, "--writable")
    try:
        page.goto(address)
        page.set_input_files("#add-files", [broken, new])
        playwright.expect(page.locator("#added")).to_contain_text("1 picture added, 1 picture refused:")
        playwright.expect(page.locator("#added li")).to_contain_text("broken.png: ")
        playwright.expect(page.locator("#status")).to_contain_text(f"{COUNT + 1} pictures")
        page.set_input_files("#add-files", [new])
        playwright.expect(page.locator("#added")).to_contain_text("0 pictures added, 1 picture was there")

        page.set_input_files("#file", new)
        mine = page.locator(".card .caption b", has_text=re.compile(r"^new-\w+-\w+\.png$"))
        playwright.expect(mine).to_have_count(1)
        page.locator("#added button").click()
        playwright.expect(page.locator("#detail-name")).to_have_text(mine.inner_text())
        page.click("#detail-delete")
        playwright.expect(page.locator("#detail-said")).to_contain_text("Press again to delete")
        page.keyboard.press("Tab")
        playwright.expect(page.locator("#detail-delete")).to_have_text("Delete")
        page.click("#detail-delete")
        page.click("#detail-delete")
        playwright.expect(page.locator("#detail")).to_be_hidden()
        playwright.expect(page.locator("#status")).to_contain_text(f"{COUNT} are left")
        playwright.expect(mine).to_have_count(0)
        page.reload()
        hits(page)
        playwright.expect(mine).to_have_count(0)
    finally:
        assert end(served)[0] == 0


def test_what_only_reads_offers_no_change(page, address: str) -> None:
    """Neither a button to add nor one to delete."""
    page.goto(address)
    page.locator(".card .open").first.click()
    playwright.expect(page.locator("#detail-like")).to_be_visible()
    for button in ("#add", "#detail-delete", "#added"):
        playwright.expect(page.locator(button)).to_be_hidden()
