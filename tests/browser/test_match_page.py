"""The pages in a real Chromium, opened as files: nothing asked for, nothing run, usable on a phone and with thousands of lines."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chatward import Detector
from chatward.faces.match.history import Entry, History
from chatward.faces.match.opendota import read_match
from chatward.faces.match.page import LONGEST, history_page, match_page
from chatward.faces.match.report import Report, judge
from tests.browser.conftest import CONTRAST
from tests.match.made import HOSTILE, many, match

pytestmark = pytest.mark.browser

PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}


def hostile() -> dict[str, Any]:
    value = match(
        chat=(
            (1, 0, HOSTILE),
            (2, 5, "x" * 5000),
            (3, 3, "\u202egnissim dim"),
            (4, 1, f"uninstall idiot {HOSTILE}"),
        )
    )
    value["players"][0]["personaname"] = HOSTILE
    value["players"][5]["personaname"] = "W" * 200
    return value


@pytest.fixture(scope="module")
def reports() -> dict[str, Report]:
    detector = Detector.load(threads=1)
    values = {
        "match": match(),
        "hostile": hostile(),
        "many": many(),
        "quiet": match(chat=()),
        "wheel": match(chat=((5, 0, 75),)),
    }
    return {name: judge(read_match(value, "it"), detector) for name, value in values.items()}


@pytest.fixture(scope="module")
def files(reports: dict[str, Report], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("matches")
    pages = {name: match_page(report) for name, report in reports.items()}
    found = reports["match"]
    flagged = tuple(j for j in found.lines if j.flagged and j.line.speaker == 8)
    entries = [
        Entry(7100000001, found.match.started, "Earthshaker", False, found.players[8], found, flagged),
        Entry(7100000009, None, "Axe", None, None, None),
    ]
    pages["history"] = history_page(History(1008, HOSTILE, False, tuple(entries), found.model))
    twice = [entries[0], Entry(7100000005, None, "", None, found.players[8], found, flagged)]
    pages["hidden"] = history_page(History(1008, "salt merchant", True, tuple(twice), found.model))
    for name, page in pages.items():
        (folder / f"{name}.html").write_text(page, encoding="utf-8")
    return {name: folder / f"{name}.html" for name in pages}


@pytest.fixture
def show(browser: Any, files: dict[str, Path]) -> Iterator[Any]:
    """Open a page; afterwards: its own file was all that was asked for, and the console is empty."""
    contexts: list[Any] = []
    asked: list[str] = []
    said: list[str] = []

    def it(name: str, **options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(files[name].as_uri())
        return page

    yield it
    for context in contexts:
        context.close()
    own = {file.as_uri() for file in files.values()}
    assert asked
    assert [url for url in asked if url.partition("#")[0] not in own and not url.startswith("data:")] == []
    assert said == []


def test_it_tells_the_match(show: Any) -> None:
    page = show("match")
    assert page.locator(".means").inner_text() == (
        "Flagged: sure enough that this model wrongly flags about 10 of 1,000 clean lines; a label alone is wrong more often."
    )
    assert page.title() == "Match 7100000001: who said what when · chatward"
    assert page.locator("h1").inner_text() == "Radiant victory"
    assert page.locator(".tiles").inner_text().split("\n")[0] == "27"
    first = page.locator(".first").inner_text()
    assert "6:01" in first
    assert "uninstall the game you noob" in first
    assert page.locator(".lines > li").count() == 32
    line = page.locator("#l10")
    assert "salt merchant" in line.inner_text()
    assert "toxic" in line.inner_text()
    assert "flagged" in line.inner_text()
    assert {mark.inner_text() for mark in line.locator("mark").all()} == {"uninstall", "noob"}
    assert page.locator("#l11 .answers").inner_text() == "↩ after salt merchant 6:01"
    assert "by time, not by meaning" in page.locator("#l11 .answers").get_attribute("title")
    assert page.locator("#l3").inner_text().split("\n")[-1] == "Good luck, have fun"
    assert page.locator("#l3 .says").count() == 0, "the chat wheel isn't judged"
    assert page.locator("table.dire tfoot").inner_text().split() == ["Together", "10", "5", "–", "3", "3"]


def test_lines_can_be_sought(show: Any) -> None:
    page = show("match")
    shown = page.locator(".lines > li:visible")
    page.get_by_role("button", name="Flagged").click()
    assert shown.count() == 5
    assert page.locator("output").inner_text() == "5 of 32"
    assert page.get_by_role("button", name="Flagged").get_attribute("aria-pressed") == "true"
    page.get_by_label("Who").select_option(label="salt merchant (Earthshaker)")
    assert shown.count() == 3
    page.get_by_role("button", name="All").click()
    assert shown.count() == 6
    page.get_by_label("Who").select_option("")
    page.get_by_label("Chat wheel").uncheck()
    assert shown.count() == 27
    page.get_by_role("button", name="Toxic").click()
    assert shown.count() == 6
    page.locator("#l11 .answers").click()
    assert page.url.endswith("#l10")
    page.locator("a.worst").first.click()
    assert page.locator("#l11").is_visible()


def test_a_link_to_a_hidden_line_shows_it(show: Any) -> None:
    page = show("match")
    page.get_by_role("button", name="Mild").click()
    assert not page.locator("#l10").is_visible()
    page.locator(".first a.at").click()
    page.wait_for_function("!document.querySelector('#l10').hidden")
    assert page.locator("#l10").is_visible()


def test_it_works_without_scripts(show: Any) -> None:
    page = show("match", java_script_enabled=False)
    assert page.locator(".lines > li:visible").count() == 32
    assert not page.locator(".filters").is_visible()


@pytest.mark.parametrize("name", ["match", "hostile", "quiet", "history"])
def test_no_sideways_scrolling(show: Any, name: str) -> None:
    page = show(name)
    for width in (320, 390, 768, 1280):
        page.set_viewport_size({"width": width, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        over = page.locator("section, header").evaluate_all(
            "all => all.map(e => e.scrollWidth - e.clientWidth)"
        )
        assert max(over) <= 0, width


def test_names_and_text_are_text(show: Any) -> None:
    page = show("hostile")
    assert "hacked" not in page.title()
    assert page.locator("script").count() == 1
    assert page.locator("img").count() == 0
    assert page.locator("#l1 p").inner_text() == HOSTILE
    assert page.locator("#l1 .who").inner_text() == HOSTILE
    assert "only its beginning was read" in page.locator("#l2 .says").inner_text()
    assert page.locator("#l2 p").inner_text() == "x" * LONGEST + " … cut here"
    # What turns text round stays inside its own line.
    assert page.locator("#l3 p bdi").evaluate("e => getComputedStyle(e).unicodeBidi") == "isolate"
    assert page.locator("#l3 .says").inner_text().startswith("●")
    assert "hacked" in show("history").title(), "a name may be anything, and is only that"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["match", "history"])
def test_text_stands_out_from_its_ground(show: Any, name: str, scheme: str) -> None:
    page = show(name, color_scheme=scheme)
    places = [
        ".brand, .brand span, .facts span",
        ".tiles b, .tiles li",
        "h2, h3",
        "th, td:not(.nil)",
        "footer p, footer b",
    ]
    places += [".lines p, .who, .channel, .lines .at", ".chip, .flag", "mark"]
    places += [".side b, .side bdi", ".answers", ".key span", "button, label"] if name == "match" else [".note"]
    for place in places:
        found = page.locator(place)
        assert found.count(), place
        contrasts = found.evaluate_all(f"all => all.map({CONTRAST})")
        assert min(contrasts) >= 4.5, (place, found.nth(contrasts.index(min(contrasts))).text_content())


@pytest.mark.parametrize(("options", "kind"), [({}, "wide"), (PHONE, "narrow")], ids=["desk", "phone"])
def test_the_timeline_is_seen(show: Any, options: Any, kind: str) -> None:
    page = show("match", **options)
    chart = page.locator(f"svg.timeline.{kind}")
    assert page.locator("svg.timeline:visible").count() == 1
    assert chart.get_attribute("aria-label") == (
        "Timeline of 27 typed lines from -1:02 to 29:23: 1 mild, 6 toxic, 5 flagged."
    )
    assert chart.locator("a").count() == 7
    assert chart.locator("a title").first.text_content() == "6:01 salt merchant (Earthshaker): toxic, flagged"
    box = chart.bounding_box()
    for mark in chart.locator("a path").all():
        place = mark.bounding_box()
        assert box["x"] <= place["x"] <= box["x"] + box["width"]
        assert place["width"] > 6
    assert chart.locator("text").first.evaluate("e => e.getBoundingClientRect().height") >= 10
    texts = chart.locator("text:not(.minute)").all_text_contents()
    assert texts == [
        *("Radiant", "Axe", "Pudge", "Crystal Maiden", "Juggernaut", "Invoker"),
        *("Dire", "Anti-Mage", "Shadow Fiend", "Lion", "Earthshaker", "Mars"),
    ]
    # Nothing is drawn through who it is.
    edges = chart.locator("text:not(.minute)").evaluate_all(
        "all => all.map(e => e.getBoundingClientRect().right)"
    )
    lines = chart.locator("path").evaluate_all("all => all.map(e => e.getBoundingClientRect().left)")
    assert max(edges) < min(lines)
    chart.locator("a").first.click()
    assert page.url.endswith("#l10")


def test_three_thousand_lines_stay_usable(show: Any, files: dict[str, Path]) -> None:
    assert files["many"].stat().st_size < 2_000_000
    page = show("many", **PHONE)
    assert page.locator(".lines > li").count() == 3000
    began = time.monotonic()
    page.get_by_role("button", name="Flagged").click()
    page.wait_for_function(
        "document.querySelector('output').textContent.endsWith(' of 3000') && !document.querySelector('output').textContent.startsWith('3000')"
    )
    assert time.monotonic() - began < 5
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_match_without_chat(show: Any) -> None:
    page = show("quiet")
    assert page.locator(".calm").inner_text() == "Nobody typed anything in this match."
    assert page.locator("h2").all_inner_texts() == ["RADIANT", "DIRE", "In short", "Who"]
    assert page.locator("script, svg.timeline, .filters, .means").count() == 0


def test_a_match_of_the_chat_wheel_alone(show: Any) -> None:
    page = show("wheel")
    assert page.locator(".lines > li").count() == 1
    assert page.locator("svg.timeline:visible").count() == 1


def test_a_players_matches(show: Any) -> None:
    page = show("history")
    rows = page.locator(".by-match tbody tr")
    assert rows.nth(0).inner_text().split()[-5:] == ["6", "–", "–", "3", "3"]
    assert "not parsed" in rows.nth(1).inner_text()
    assert page.locator(".note").inner_text() == (
        "OpenDota hasn't read the replays of 1 match of 2, so its chat isn't known and isn't counted."
    )
    assert page.locator(".lines > li").count() == 3
    assert {at.inner_text() for at in page.locator(".channel").all()} == {"match 7100000001"}
    assert "10 of 1,000 clean lines" in page.locator(".means").inner_text()


def test_matches_are_told_apart_with_hidden_names(show: Any) -> None:
    page = show("hidden")
    rows = page.locator(".by-match tbody th").all_inner_texts()
    assert [row.split("match ")[1] for row in rows] == ["1", "2"]
    assert sorted(page.locator(".lines .channel").all_inner_texts()) == ["match 1"] * 3 + ["match 2"] * 3
    assert "71000" not in page.content()
