"""The review page in a real Chromium, served by the real program over a real record."""

from __future__ import annotations

import csv
import re
from typing import Any

import pytest

from tests.browser.conftest import CONTRAST
from tests.browser.review.conftest import Service

pytestmark = pytest.mark.browser


def card(page: Any, id: str) -> Any:
    return page.locator(f"#d-{id}")


def test_a_verdict_by_click_lands_in_the_ledger(visit: Any, service: Service) -> None:
    kept, fine, other = service.new("clicks", "go away donkey", "our emote donkey", "meh donkey")
    page = visit("clicks")
    assert page.title().startswith("(3) ")
    assert page.get_by_role("heading", level=2).all_inner_texts() == ["Held messages"]
    card(page, kept).get_by_role("button", name="Keep", exact=True).click()
    page.get_by_role("status").get_by_text("Kept").wait_for()
    assert page.locator(".cw-done bdi").inner_text() == "go away donkey"
    card(page, fine).locator(".cw-note summary").click()
    card(page, fine).get_by_label("For other moderators").fill("asked them\nit's a joke")
    card(page, fine).get_by_role("button", name="Overturn").click()
    page.get_by_role("status").get_by_text("Overturned").wait_for()
    card(page, other).get_by_role("button", name="Relabel as mild toxicity").click()
    page.get_by_role("status").get_by_text("Relabelled as mild toxicity").wait_for()
    assert service.verdicts("clicks", kept) == [("keep", None, "clicks", "")]
    assert service.verdicts("clicks", fine) == [("overturn", None, "clicks", "asked them\nit's a joke")]
    assert service.verdicts("clicks", other) == [("relabel", "mild toxicity", "clicks", "")]
    page.get_by_role("heading", name="All done").wait_for()
    with page.expect_download() as downloading:
        page.get_by_role("link", name="Download corrections").click()
    lines = downloading.value.path().read_text(encoding="utf-8").splitlines()
    rows = {row["text"]: row["target"] for row in csv.DictReader(lines)}
    assert rows == {"our emote donkey": "0", "meh donkey": "1"}
    # A verdict can be changed: the last one stands.
    page.locator(".cw-done").get_by_role("link", name="Change").click()
    page.get_by_role("button", name="Keep", exact=True).click()
    page.get_by_role("status").get_by_text("Kept").wait_for()
    assert [v[0] for v in service.verdicts("clicks", other)] == ["relabel", "keep"]


def test_a_message_of_20_000_characters_is_clamped(visit: Any, service: Service) -> None:
    text = "donkey <b>\u0301\u0302" * 1538 + "the end"
    (id,) = service.new("long", text.ljust(20_000, "!"))
    page = visit("long")
    said = card(page, id).locator(".cw-said")
    assert said.bounding_box()["height"] < 400
    assert "the end" not in said.inner_text()
    said.get_by_text("Show all").click()
    assert said.locator("details bdi").inner_text() == text.ljust(20_000, "!")
    assert said.bounding_box()["height"] < 800
    card(page, id).locator(".cw-keep").click()
    page.locator(".cw-done").wait_for()


def test_somebody_was_quicker(visit: Any, service: Service) -> None:
    (id,) = service.new("expiry", "a quick donkey")
    first, second = visit("expiry"), visit("expiry")
    card(first, id).locator(".cw-keep").click()
    first.locator(".cw-done").wait_for()
    card(second, id).locator(".cw-note summary").click()
    card(second, id).locator("textarea").fill("their joke")
    card(second, id).locator(".cw-overturn").click()
    second.get_by_role("alert").get_by_text("expiry was quicker: “Kept”").wait_for()
    assert second.locator("textarea").input_value() == "their joke"
    assert [v[0] for v in service.verdicts("expiry", id)] == ["keep"]
    second.locator(".cw-overturn").click()
    second.get_by_role("status").get_by_text("Overturned").wait_for()
    assert service.verdicts("expiry", id)[1:] == [("overturn", None, "expiry", "their joke")]


def test_a_session_that_ended_is_told(visit: Any, service: Service) -> None:
    (id,) = service.new("expiry", "a slow donkey")
    page = visit("expiry")
    page.context.clear_cookies()
    card(page, id).locator(".cw-overturn").click()
    page.get_by_role("heading", name="You are signed out").wait_for()
    assert "nothing was recorded" in page.locator("main").inner_text()
    page.get_by_role("link", name="Sign in").click()
    page.locator("#secret").fill(service.secrets["expiry"])
    page.get_by_role("button", name="Sign in").click()
    card(page, id).wait_for()
    assert service.verdicts("expiry", id) == []


def test_the_keyboard_is_enough(visit: Any, service: Service) -> None:
    ids = service.new("keyboard", "donkey one", "donkey two", "donkey three", "donkey four")
    page = visit("keyboard")
    page.get_by_text("on a message").wait_for()
    page.keyboard.press("k")  # no message has the focus, so none is judged
    for _ in range(2):
        page.keyboard.press("n")
    focus = "document.activeElement.id"
    assert page.evaluate(focus) == f"d-{ids[1]}"
    page.keyboard.press("k")
    page.locator(".cw-done").wait_for()
    page.locator(f"#d-{ids[2]}:focus").wait_for()
    page.locator("#said[aria-live=polite]").filter(has_text="Kept").wait_for(state="attached")
    page.keyboard.press("p")
    assert page.evaluate(focus) == f"d-{ids[0]}"
    page.keyboard.press("2")
    page.get_by_role("status").get_by_text("Relabelled as mild toxicity").wait_for()
    # Written in a note they are letters.
    page.locator(".cw-note summary").first.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.type("k o 1")
    for _ in range(20):
        page.keyboard.press("Shift+Tab")
        if "cw-overturn" in page.evaluate("document.activeElement.className"):
            break
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
    assert outline == "3px"
    page.keyboard.press("Enter")
    page.get_by_role("status").get_by_text("Overturned").wait_for()
    assert [service.verdicts("keyboard", id) for id in ids] == [
        [("relabel", "mild toxicity", "keyboard", "")],
        [("keep", None, "keyboard", "")],
        [("overturn", None, "keyboard", "k o 1")],
        [],
    ]


def test_it_works_without_scripts(visit: Any, service: Service) -> None:
    ids = service.new("plain", "no script donkey", "nor here, donkey", "or here, donkey")
    page = visit("plain", java_script_enabled=False)
    assert page.locator(".cw-keys").is_hidden()
    card(page, ids[1]).get_by_role("button", name="Relabel as toxic").click()
    page.get_by_role("status").get_by_text("Relabelled as toxic").wait_for()
    assert page.url.endswith(f"#d-{ids[2]}")
    card(page, ids[0]).locator(".cw-keep").click()
    page.get_by_role("status").get_by_text("Kept").wait_for()
    assert page.evaluate("document.activeElement.className") == "cw-done"
    assert service.verdicts("plain", ids[1]) == [("relabel", "toxic", "plain", "")]
    page.get_by_role("button", name="Sign out").click()
    page.get_by_text("You are signed out.").wait_for()
    page.go_back()
    page.locator("#secret").wait_for()


def test_everything_is_said_in_spanish(visit: Any) -> None:
    page = visit("phone", locale="es-PE")
    assert page.evaluate("document.documentElement.lang") == "es"
    for path in ("queue", "decision"):
        if path == "decision":
            page.get_by_role("link", name="Detalles").first.click()
            page.get_by_role("heading", name="Veredictos").wait_for()
        page.evaluate("document.querySelectorAll('main [lang=en], code, bdi').forEach(e => e.remove())")
        text = page.locator("body").inner_text()
        english = r"\b(review|keep|overturn|relabel|note|why|details|wait|held|deleted|flagged|toxicity|ago|sign|player|in|by|rule|show)\b"
        assert not re.findall(english, text, re.I)
        assert re.search(r"\d,\d\s%", text)
    page.get_by_role("link", name="English").click()
    page.get_by_role("heading", name="Verdicts").wait_for()
    page.get_by_role("link", name="Back to the queue").click()
    page.get_by_role("heading", name="Appeals").wait_for()  # the language stays


@pytest.mark.parametrize("language", ["en-US", "es-PE"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_needs_no_sideways_scrolling(visit: Any, language: str, scheme: str) -> None:
    size = {"width": 390, "height": 844}
    page = visit("phone", locale=language, color_scheme=scheme, viewport=size, is_mobile=True, has_touch=True)
    for _ in ("queue", "decision"):
        for summary in page.locator("summary:visible").all():
            summary.tap()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        for target in page.locator(
            "button:visible, header a:visible, .cw-whole:visible, .cw-note summary:visible"
        ).all():
            box = target.bounding_box()
            assert box is not None and box["height"] >= 43.5, target.inner_text()
            assert box["x"] >= 0 and box["x"] + box["width"] <= 390, target.inner_text()
        texts = ".cw-chip, .cw-when, .cw-who, .cw-why, .cw-rule, .cw-bars span, button, .cw-tagline, .cw-appeal strong, .cw-appeal p, .cw-all dt, .cw-footer p, a, summary, label"
        contrasts = page.locator(texts).locator("visible=true").evaluate_all(f"all => all.map({CONTRAST})")
        assert len(contrasts) > 20 and min(contrasts) >= 4.5
        if page.locator(".cw-whole").count():
            page.locator(".cw-whole").first.tap()
            page.locator(".cw-all").wait_for()
