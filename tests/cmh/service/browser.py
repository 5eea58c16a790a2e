"""A real Chromium, and a running `cmh serve` for it, for the tests of the page.

Debian's chromium is used; on another system CMH_CHROMIUM names a Chromium or Chrome.
"""

import os
import shutil
from collections.abc import Iterator

import pytest

from tests.cmh.service.conftest import Drawn
from tests.cmh.service.serving import end, start

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = os.environ.get("CMH_CHROMIUM") or shutil.which("chromium")
NEEDS_CHROMIUM = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def address(drawn: Drawn) -> Iterator[str]:
    """A service over the drawings; it ends cleanly, however often it was asked."""
    served, address = start(drawn[1])
    yield address
    status, said = end(served)
    assert (status, said.splitlines()[-1]) == (0, "ended")
    assert "Traceback" not in said


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser):
    """A page of its own, in which no script fails and nothing is refused by the content policy."""
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    page, said = context.new_page(), []
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("console", lambda message: said.append(message.text) if "Policy" in message.text else None)
    page.set_default_timeout(15_000)
    yield page
    assert not said
    context.close()


def hits(page) -> list[str]:
    """Names of the cards that have a distance."""
    page.wait_for_selector("#grid:not(.loading) .caption span")
    return page.locator(".card .caption b").all_inner_texts()
