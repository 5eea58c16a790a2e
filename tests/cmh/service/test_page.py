"""The page in a real Chromium, over a running `cmh serve`: what a person does, and what a program may not.

Debian's chromium is used; on another system CMH_CHROMIUM names a Chromium or Chrome.
"""

import re
from pathlib import Path

from tests.cmh.service.browser import NEEDS_CHROMIUM, address, browser, hits, page, playwright
from tests.cmh.service.conftest import COUNT, Drawn
from tests.cmh.service.serving import end, start

__all__ = ["address", "browser", "page"]  # fixtures
pytestmark = NEEDS_CHROMIUM
TOKEN = "correct horse battery staple"


def test_a_person_searches_by_words_by_a_picture_and_goes_back(page, address: str, drawn: Drawn) -> None:
    """Types, opens a result, asks for more like it, gives a picture, and comes back."""
    page.goto(address)
    page.wait_for_selector(".card:not(.ghost)")
    assert page.locator(".card").count() == 24
    page.click("#more")
    playwright.expect(page.locator(".card")).to_have_count(COUNT)

    page.keyboard.press("/")
    page.keyboard.type("red circle")
    page.keyboard.press("Enter")
    words = hits(page)
    playwright.expect(page.locator("#status")).to_contain_text(f"The 24 nearest of {COUNT}, in")
    assert page.url.endswith("?text=red+circle")

    page.locator(".card .open").first.click()
    playwright.expect(page.locator("#detail")).to_be_visible()
    playwright.expect(page.locator("#detail-name")).to_have_text(words[0])
    playwright.expect(page.locator("#detail-distance")).to_contain_text("of 64 differ")
    page.keyboard.press("Escape")
    playwright.expect(page.locator("#detail")).to_be_hidden()
    playwright.expect(page.locator(".card .open").first).to_be_focused()

    page.locator(".card").first.hover()
    page.locator(".card .like").first.click()
    page.wait_for_selector("#parts li")
    playwright.expect(page.locator("#text")).to_have_value("")
    assert words[0] not in hits(page)

    photo = drawn[1].parent / "photos" / "set1" / "05.png"
    page.set_input_files("#file", photo)
    page.wait_for_url(re.compile("picture="))
    playwright.expect(page.locator("#status")).to_contain_text("nearest of")
    playwright.expect(page.locator(".card .caption b").first).to_have_text("05.png")
    page.reload()
    playwright.expect(page.locator(".card .caption b").first).to_have_text("05.png")

    page.go_back()
    page.wait_for_url(re.compile(r"\?like="))
    page.go_back()
    playwright.expect(page.locator("#text")).to_have_value("red circle")
    playwright.expect(page.locator(".card .caption b").first).to_have_text(words[0])
    page.locator(".card .open").nth(2).click()
    playwright.expect(page.locator("#detail-name")).to_have_text(words[2])
    page.go_back()
    playwright.expect(page.locator("#detail")).to_be_hidden()
    page.go_back()
    playwright.expect(page.locator("#status")).to_contain_text(f"{COUNT} pictures")


def test_a_dropped_picture_is_searched_with(page, address: str, drawn: Drawn) -> None:
    """Wherever on the page it falls; what is no picture is refused in words."""
    page.goto(address)
    page.wait_for_selector(".card:not(.ghost)")
    drop = """async ([bytes, type]) => {
        const data = new DataTransfer();
        data.items.add(new File([Uint8Array.from(bytes)], "dropped", { type }));
        const said = { dataTransfer: data, bubbles: true, cancelable: true };
        for (const kind of ["dragenter", "dragover", "drop"])
            document.body.dispatchEvent(new DragEvent(kind, said));
    }"""
    photo = drawn[1].parent / "photos" / "set0" / "06.png"
    page.evaluate(drop, [list(photo.read_bytes()), "image/png"])
    playwright.expect(page.locator("#status")).to_contain_text("nearest of")
    playwright.expect(page.locator(".card .caption b").first).to_have_text("06.png")
    page.fill("#text", "blue")
    page.evaluate(drop, [list(photo.read_bytes()), "image/png"])
    page.wait_for_url(re.compile("text=blue&picture="))
    page.evaluate(drop, [[1, 2, 3], "image/png"])
    playwright.expect(page.locator("#notice")).to_contain_text("not an image of a kind that is read")
    page.evaluate(drop, [[1, 2, 3], "application/zip"])
    playwright.expect(page.locator("#notice")).to_contain_text("This is no picture")
    photos = [drawn[1].parent / "photos" / "set0" / f"0{number}.png" for number in range(2, 8, 2)]
    page.set_input_files("#file", [*photos, *photos])
    playwright.expect(page.locator("#status")).to_contain_text("Of the 6 files, 4 are searched with")
    playwright.expect(page.locator("#parts li")).to_have_count(4)


def test_a_shorter_code_shows_what_is_lost(page, address: str) -> None:
    """By keyboard; the address holds the length."""
    page.goto(f"{address}?text=red")
    hits(page)
    page.focus("#bits")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    playwright.expect(page.locator("#bits-shown")).to_have_text("16 bits")
    page.wait_for_url(re.compile("bits=16"))
    page.wait_for_selector('#results[aria-busy="false"]')  # the answer for 32 bits may have been shown
    playwright.expect(page.locator("#lost")).to_contain_text("are among the nearest by all 64 bits")
    said = page.locator("#lost").inner_text()
    kept = int(re.findall(r"\d+", said)[0]) if "faded" in said else 24
    assert page.locator(".card.other").count() == 24 - kept


def test_what_cannot_be_searched_is_said_and_the_page_goes_on(page, address: str) -> None:
    """Unknown words, an item that is gone, and names that look like HTML."""
    page.goto(f"{address}?text=zzz")
    playwright.expect(page.locator("#notice")).to_contain_text("the model knows no word of 'zzz'")
    playwright.expect(page.locator("#status")).to_have_text("This cannot be searched for")
    page.goto(f"{address}?like=0000000000000000")
    playwright.expect(page.locator("#notice")).to_contain_text("may have been removed")
    page.goto(f"{address}?text=%3Cimg+src%3Dx+onerror%3Dalert(1)%3E")
    playwright.expect(page.locator("#notice")).to_contain_text("<img src=x")
    assert page.locator("#notice img").count() == 0
    page.fill("#text", "blue")
    page.click("button.go")
    assert hits(page)


def test_texts_have_cards_without_pictures(page, drawn: Drawn) -> None:
    """And can be opened and asked for more like them; the pictures are chosen behind the same port."""
    served, address = start(drawn[2], drawn[1])
    try:
        page.goto(f"{address}?text=red")
        page.wait_for_selector(".card .words")
        page.locator(".card .open").first.click()
        playwright.expect(page.locator("#detail-text")).to_be_visible()
        page.click("#detail-like")
        page.wait_for_selector("#parts .quote")
        page.select_option("#choice", label="images")
        page.wait_for_url(re.compile("/collections/images/$"))
        page.fill("#text", "red")
        page.keyboard.press("Enter")
        assert len(hits(page)) == 24
        assert page.url.endswith("/collections/images/?text=red")
        playwright.expect(page.locator(".card img").first).not_to_have_js_property("naturalWidth", 0)
        page.locator(".card .open").first.click()
        playwright.expect(page.locator("#detail-image")).not_to_have_js_property("naturalWidth", 0)
        page.go_back()
        page.go_back()
        playwright.expect(page.locator("#choice")).to_have_value("/collections/images/")
        page.click("#home")
        playwright.expect(page.locator("#status")).to_contain_text(f"{COUNT} pictures")
    finally:
        assert end(served)[0] == 0


def test_values_of_columns_choose_among_the_items(page, described: Path) -> None:
    """By chips, which the address holds and which can be taken away; links lead to the web only."""
    served, address = start(described)
    try:
        page.goto(address)
        page.wait_for_selector(".card:not(.ghost)")
        chip = page.locator(".filters button", has_text="it's odd")
        chip.focus()
        page.keyboard.press("Enter")
        playwright.expect(page.locator("#status")).to_have_text(f"14 of {COUNT} pictures fit the filters")
        playwright.expect(chip).to_have_attribute("aria-pressed", "true")
        playwright.expect(chip).to_be_focused()
        page.fill("#text", "red")
        page.keyboard.press("Enter")
        playwright.expect(page.locator("#status")).to_contain_text(
            "The 14 nearest of 14 that fit the filters"
        )
        page.locator(".filters button", has_text="2021").click()
        playwright.expect(page.locator("#status")).to_contain_text("The 5 nearest of 5 that fit")
        page.reload()
        playwright.expect(page.locator(".card:not(.ghost)")).to_have_count(5)
        assert page.locator('.filters [aria-pressed="true"]').count() == 2
        chip.click()
        playwright.expect(page.locator("#status")).to_contain_text("The 10 nearest of 10 that fit")
        page.go_back()
        playwright.expect(page.locator(".card:not(.ghost)")).to_have_count(5)

        page.locator(".card .open").first.click()
        details = page.locator("#detail-columns")
        playwright.expect(details.locator("time")).to_contain_text("2021-01-")
        playwright.expect(details.locator("a")).to_have_attribute("href", re.compile("^https://example.org/"))
        playwright.expect(page.locator("#detail-text")).to_contain_text("of <b>its</b> set")
        playwright.expect(page.locator("#detail-distance")).to_contain_text("Similarity")
        details.locator("button", has_text="round").click()
        playwright.expect(page.locator("#detail")).to_be_hidden()
        playwright.expect(page.locator('.filters [aria-pressed="true"]')).to_have_count(3)

        page.goto(f"{address}?where=caption+%3D%3D+%22drawing+0+of+%3Cb%3Eits%3C/b%3E+set%22")
        page.locator(".card .open").click()
        playwright.expect(details).to_contain_text("javascript:alert(1)")
        assert details.locator("a").count() == 0
        page.keyboard.press("Escape")
        page.locator(".filters button", has_text="caption ==").click()
        playwright.expect(page.locator("#status")).to_contain_text(f"{COUNT} pictures")
        page.goto(f"{address}?text=red&where=colour+%3E+1")
        playwright.expect(page.locator("#notice")).to_contain_text("there is no column 'colour'")
    finally:
        assert end(served)[0] == 0


def test_the_page_asks_for_the_token_once(browser, drawn: Drawn) -> None:
    """A wrong one is refused; with the right one pictures are shown too, which send no header of ours."""
    served, address = start(drawn[1], CMH_SERVICE_TOKEN=TOKEN)
    page = browser.new_context().new_page()
    try:
        page.goto(address)
        page.fill("#token", "wrong")
        page.keyboard.press("Enter")
        playwright.expect(page.locator("#entrance-error")).to_have_text("This is not the token.")
        page.fill("#token", TOKEN)
        page.keyboard.press("Enter")
        page.wait_for_selector(".card img")
        playwright.expect(page.locator(".card img").first).not_to_have_js_property("naturalWidth", 0)
    finally:
        assert end(served)[0] == 0
