"""Reports in a real Chromium, opened as a file: nothing asked for, pictures to be seen, chat as text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chatward.evaluation.report import comparison_html, evaluation_html
from tests.browser.conftest import CONTRAST
from tests.made_reports import HOSTILE, comparison, evaluation, undefined

pytestmark = pytest.mark.browser

PAGES: dict[str, Callable[[], str]] = {
    "evaluation": lambda: evaluation_html(evaluation()),
    "undefined": lambda: evaluation_html(undefined()),
    "comparison": lambda: comparison_html(comparison()),
}
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("reports")
    for name, write in PAGES.items():
        (folder / f"{name}.html").write_text(write(), encoding="utf-8")
    return {name: folder / f"{name}.html" for name in PAGES}


@pytest.fixture
def open_report(browser: Any, files: dict[str, Path]) -> Iterator[Any]:
    """Open a report; afterwards: its own file was all that was asked for, and the console is empty."""
    contexts: list[Any] = []
    asked: list[str] = []
    said: list[str] = []

    def open_it(name: str, **options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(files[name].as_uri())
        return page

    yield open_it
    for context in contexts:
        context.close()
    own = {file.as_uri() for file in files.values()}
    assert asked
    assert [url for url in asked if url not in own and not url.startswith("data:")] == []
    assert said == []


@pytest.mark.parametrize("options", [{}, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize(
    ("name", "pictures", "words"),
    [
        ("evaluation", 3, ["119", "84 %", "how sure it says it is", "AP 0.812", "mild or toxic"]),
        ("undefined", 3, ["no rows", "how sure it says it is"]),
        ("comparison", 4, ["tfidf (baseline)", "minilm", "0.808", "time per message, ms", "size, MB"]),
    ],
)
def test_pictures_are_seen(open_report: Any, name: str, pictures: int, words: list[str], options: Any) -> None:
    page = open_report(name, **options)
    shown = page.get_by_role("img")
    assert shown.count() == pictures
    for one in shown.all():
        assert len(one.get_attribute("aria-label")) > 25
        box = one.bounding_box()
        assert box["width"] > 200
        assert box["height"] > 150
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= page.viewport_size["width"]
        size = one.locator("text").first.evaluate("e => e.getBoundingClientRect().height")
        assert size >= 9, "the type of a picture is too small to read"
    for word in words:
        assert page.locator("svg.picture text", has_text=word).first.is_visible(), word


def test_the_words_of_a_picture_stay_inside_it_and_apart(open_report: Any) -> None:
    page = open_report("evaluation")
    for name in ("confusion", "calibration", "curves"):
        boxes = page.locator(f"#{name} svg text").evaluate_all(
            "all => all.map(e => [e.textContent, e.getBoundingClientRect()]).map(([t, b]) => [t, b.x, b.y, b.right, b.bottom])"
        )
        whole = page.locator(f"#{name} svg").bounding_box()
        for text, left, top, right, bottom in boxes:
            assert left >= whole["x"] - 3, (name, text)
            assert right <= whole["x"] + whole["width"] + 12, (name, text)
            assert top >= whole["y"] - 3, (name, text)
            assert bottom <= whole["y"] + whole["height"] + 3, (name, text)
        for i, (text, left, top, right, bottom) in enumerate(boxes):
            for other, x, y, far, low in boxes[i + 1 :]:
                meet = min(right, far) - max(left, x) > 1 and min(bottom, low) - max(top, y) > 6
                assert not meet, (name, text, other)


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_no_sideways_scrolling(open_report: Any, name: str, width: int) -> None:
    page = open_report(name, viewport={"width": width, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for section in page.locator("section").all():
        assert section.evaluate("e => e.scrollWidth - e.clientWidth") <= 0, section.inner_text()[:40]


def test_chat_is_shown_as_text(open_report: Any) -> None:
    page = open_report("evaluation")
    assert page.locator("#wrong bdi").first.inner_text() == HOSTILE
    assert page.locator("#wrong img").count() == 0
    assert page.title() == "dota2 <b>$x$</b> on train.csv · chatward"
    assert page.locator("h1").inner_text() == "How well does dota2 <b>$x$</b> judge chat?"
    # What turns text round in one line leaves the next cell alone.
    cells = page.locator("#wrong tbody tr").nth(1).locator("td").all()
    lefts = [cell.bounding_box()["x"] for cell in cells]
    assert lefts == sorted(lefts)
    assert max(row.bounding_box()["height"] for row in page.locator("#wrong tbody tr").all()) < 130


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["evaluation", "comparison"])
def test_text_stands_out_from_its_ground(open_report: Any, name: str, scheme: str) -> None:
    page = open_report(name, color_scheme=scheme)
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(245, 246, 248)", "dark": "rgb(15, 18, 22)"}[scheme]
    places = ["header p", "h2", ".says small", ".soft", "figcaption, .aside", "td small", ".chip", "dt", "code"]
    places += [".tag", ".warning", ".meaning"] if name == "evaluation" else [".verdict", ".notes li"]
    for place in [*places, "svg.picture text"]:
        found = page.locator(place)
        assert found.count(), place
        for one in found.all():
            assert one.evaluate(CONTRAST) >= 4.5, (place, one.text_content())


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_on_the_strongest_shade(open_report: Any, scheme: str) -> None:
    """A shaded cell is colour at an opacity over the card, which the style of no element says."""
    page = open_report("evaluation", color_scheme=scheme)
    worst = page.locator("#confusion path[style*=opacity]").evaluate_all(
        """all => { const parse = c => c.match(/[\\d.]+/g).map(Number).slice(0, 3);
          const light = c => c.map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
            .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
          const card = parse(getComputedStyle(document.querySelector('#plain')).backgroundColor);
          const ink = light(parse(getComputedStyle(document.body).color));
          return Math.min(...all.map(e => { const s = getComputedStyle(e), o = Number(s.opacity) * Number(s.fillOpacity);
            const mixed = light(parse(s.fill).map((v, i) => o * v + (1 - o) * card[i]));
            return (Math.max(ink, mixed) + .05) / (Math.min(ink, mixed) + .05); })); }"""
    )
    assert 4.5 <= worst < 21


def test_paper_is_light(open_report: Any) -> None:
    page = open_report("evaluation", color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(22, 26, 32)"
