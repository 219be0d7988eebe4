"""The page in a real Chromium, served by the real program."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chatward import LABELS, artifact
from tests.browser.conftest import CONTRAST
from tests.browser.program import Page as Running
from tests.browser.program import running_page

pytestmark = pytest.mark.browser

ATTACK = "<img src=x onerror=\"document.title='hacked'\"> {{7*7}} ${7*7} </bdi></script>"


@pytest.fixture(scope="module")
def running(tiny_model: Path) -> Iterator[Running]:
    with running_page(tiny_model) as page:
        yield page


@pytest.fixture
def open_page(browser: Any, running: Running) -> Iterator[Any]:
    """Open the page; afterwards: nothing was asked of another origin and nothing went wrong in it."""
    contexts: list[Any] = []
    asked: list[str] = []
    wrong: list[str] = []

    def open_it(path: str = "/", **options: Any) -> Any:
        context = browser.new_context(
            **{"locale": "en-US", "viewport": {"width": 1280, "height": 800}, **options}
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("request", lambda request: asked.append(request.url))
        page.on("websocket", lambda socket: asked.append(socket.url))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(running.url + path)
        page.locator("#cw-result[aria-live=polite]").wait_for(state="attached")
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert asked
    assert [url for url in asked if not url.startswith((running.url + "/", "data:", "blob:"))] == []
    assert wrong == []


def message(page: Any) -> Any:
    return page.locator("#cw-message textarea")


def bars(page: Any) -> list[str | None]:
    page.locator(".cw-bars").wait_for()
    return [bar.get_attribute("data-label") for bar in page.locator(".cw-bars li").all()]


def test_type_and_press_enter(open_page: Any) -> None:
    page = open_page()
    message(page).fill("gg wp")
    message(page).press("Enter")
    assert bars(page) == list(LABELS)
    meters = page.get_by_role("meter")
    assert meters.count() == 3
    values = [float(meter.get_attribute("aria-valuenow")) for meter in meters.all()]
    assert sum(values) == pytest.approx(100, abs=0.2)
    assert page.locator(".cw-verdict").get_attribute("data-label") == LABELS[values.index(max(values))]
    assert message(page).input_value() == "gg wp"


def test_the_button_does_the_same_and_nothing_gives_a_hint(open_page: Any) -> None:
    page = open_page()
    page.get_by_role("button", name="Check").click()
    page.get_by_text("Type a message first").wait_for()
    message(page).fill("gg")
    page.get_by_role("button", name="Check").click()
    assert bars(page) == list(LABELS)


def test_shift_enter_makes_lines_and_lines_make_a_table(open_page: Any) -> None:
    page = open_page()
    message(page).press_sequentially("gg")
    message(page).press("Shift+Enter")
    message(page).press("Shift+Enter")
    message(page).press_sequentially("you donkey")
    assert message(page).input_value() == "gg\n\nyou donkey"
    message(page).press("Enter")
    table = page.get_by_role("table")
    table.wait_for()
    assert table.get_by_role("columnheader").all_inner_texts() == ["Message", "Label", *LABELS]
    assert page.locator(".cw-text").all_inner_texts() == ["gg", "you donkey"]


def test_the_language_changes_everything(open_page: Any) -> None:
    page = open_page()
    message(page).fill("gg wp")
    message(page).press("Enter")
    bars(page)
    page.get_by_role("radio", name="Español").check()
    page.get_by_text("toxicidad leve").first.wait_for()
    assert page.locator(".cw-name").all_text_contents() == ["no tóxico", "toxicidad leve", "tóxico"]
    assert page.get_by_role("button", name="Analizar").is_visible()
    assert "pega" in (message(page).get_attribute("placeholder") or "")
    assert page.evaluate("document.documentElement.lang") == "es"
    visible = page.locator("body").inner_text()
    for english in (
        "Check",
        "How toxic",
        "Enter checks",
        "Or try",
        "Several",
        "Nothing you",
        "A model",
        "Model:",
    ):
        assert english not in visible, english
    assert "Most" not in visible
    assert re.search(r"\d,\d\s%", visible)
    assert message(page).input_value() == "gg wp"
    page.get_by_role("radio", name="English").check()
    page.get_by_text("mild toxicity").first.wait_for()
    assert "Nada" not in page.locator("body").inner_text()


@pytest.mark.parametrize(("path", "locale"), [("/", "es-PE"), ("/?lang=es", "en-US")])
def test_spanish_is_offered_to_those_who_read_it(open_page: Any, path: str, locale: str) -> None:
    page = open_page(path, locale=locale)
    page.get_by_role("button", name="Analizar").wait_for()
    assert page.get_by_role("radio", name="Español").is_checked()


def test_examples_are_one_click(open_page: Any) -> None:
    page = open_page()
    page.get_by_role("button", name="fuck this lag").click()
    assert bars(page) == list(LABELS)
    assert message(page).input_value() == "fuck this lag"
    page.get_by_role("button", name="Several lines").click()
    page.get_by_role("table").wait_for()
    assert page.locator(".cw-text").count() == message(page).input_value().count("\n") + 1


def test_html_is_shown_as_text(open_page: Any) -> None:
    page = open_page()
    for text, place in ((ATTACK, ".cw-said"), (f"{ATTACK}\n{ATTACK}", ".cw-text bdi")):
        message(page).fill(text)
        message(page).press("Enter")
        page.locator(place).first.wait_for()
        assert page.locator(place).first.inner_text() == ATTACK
    page.wait_for_timeout(200)
    assert page.locator("#cw-result img").count() == 0
    assert page.title() == "chatward"


@pytest.fixture(scope="module")
def shipped() -> Iterator[Running]:
    """The page with the model that ships with chatward, whose reasons make sense."""
    if not artifact.default_model().exists():
        pytest.skip("no model ships with this revision yet")
    with running_page(artifact.default_model()) as page:
        yield page


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_words_that_did_it_are_marked(browser: Any, shipped: Running, scheme: str, width: int) -> None:
    context = browser.new_context(locale="en-US", color_scheme=scheme, viewport={"width": width, "height": 844})
    page = context.new_page()
    page.goto(shipped.url)
    page.locator("#cw-result[aria-live=polite]").wait_for(state="attached")
    said = "gg wp, you noob <b onmouseover=alert(1)> 🔥"
    message(page).fill(said)
    message(page).press("Enter")
    page.locator(".cw-because").wait_for()
    assert page.locator(".cw-said").inner_text() == said
    mark = page.locator(".cw-said mark").filter(has_text="noob")
    assert mark.inner_text() == "noob"
    assert re.fullmatch(r"raises the risk by \d\d points", mark.get_attribute("title") or "")
    assert page.locator(".cw-because").inner_text().startswith("Because of noob")
    assert page.locator("#cw-result b").count() == 0
    message(page).fill("nice ward\nfuck this lag\nyou idiot\nwhat a clown, uninstall")
    message(page).press("Enter")
    page.get_by_role("table").wait_for()
    rows = page.locator(".cw-text")
    assert rows.nth(0).locator("mark").count() == 0
    assert rows.nth(1).locator("mark").first.inner_text() == "fuck"
    assert rows.nth(2).locator("mark").last.inner_text() == "idiot"
    for mark in page.locator("mark").all():
        assert mark.evaluate(CONTRAST) >= 4.5
        ground = mark.evaluate("e => getComputedStyle(e).backgroundColor")
        assert ground != mark.evaluate("e => getComputedStyle(e.closest('.cw-card')).backgroundColor")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    context.close()


@pytest.mark.parametrize("language", ["en", "es"])
def test_a_phone_needs_no_sideways_scrolling(open_page: Any, language: str) -> None:
    size = {"width": 390, "height": 844}
    page = open_page(f"/?lang={language}", viewport=size, is_mobile=True, has_touch=True)
    for text in ("g" * 400, "gg wp\n" + "w" * 300 + "\nuninstall, you donkey " * 3):
        message(page).fill(text)
        page.locator("#cw-check").tap()
        page.locator(".cw-many" if "\n" in text else ".cw-one").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for target in page.locator("button:visible, #cw-language label:visible").all():
        box = target.bounding_box()
        assert box is not None
        assert box["height"] >= 43.5, target.inner_text()


def test_the_keyboard_is_enough(open_page: Any) -> None:
    page = open_page()
    page.keyboard.type("gg")  # the text box has the focus from the start
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "cw-check"
    page.keyboard.press("Enter")
    assert bars(page) == list(LABELS)
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.get_by_text("gg wp everyone").nth(1).wait_for()
    for _ in range(3):
        page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.value") == "es"
    page.keyboard.press("Space")
    page.get_by_role("button", name="Analizar").wait_for()


def test_the_browser_keeps_nothing(open_page: Any) -> None:
    page = open_page()
    message(page).fill("remember the donkey")
    message(page).press("Enter")
    bars(page)
    page.wait_for_timeout(300)
    kept = page.evaluate(
        """async () => JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie,
             (await indexedDB.databases()).map(d => d.name)])"""
    )
    assert "donkey" not in kept
    assert kept.endswith("[]]"), kept
    page.reload()
    page.locator("#cw-result[aria-live=polite]").wait_for(state="attached")
    assert message(page).input_value() == ""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(open_page: Any, scheme: str) -> None:
    page = open_page(color_scheme=scheme)
    page.get_by_role("button", name="Several lines").click()
    page.get_by_role("table").wait_for()
    for place in (".cw-tagline", ".cw-keys", ".cw-footer p", ".cw-many td.cw-number", ".cw-chip", "#cw-check"):
        assert page.locator(place).first.evaluate(CONTRAST) >= 4.5, place
