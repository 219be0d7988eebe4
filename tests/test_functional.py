"""The functional suite: its file, how it is read and counted, `chatward evaluate --functional` by the real program."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chatward import LABELS, Detector, artifact
from chatward.data.evasion import WAYS
from chatward.data.functional import COLUMNS, read_cases
from chatward.errors import ChatwardError
from chatward.evaluation.functional import pass_rates
from chatward.schema import FunctionalCase
from chatward.text import grouping_key
from tests.conftest import ROOT, Run

CASES = ROOT / "tests" / "functional" / "cases.csv"
CLEAN, MILD, TOXIC = LABELS


@pytest.fixture(scope="module")
def cases() -> list[FunctionalCase]:
    return read_cases(CASES)[0]


def test_the_suite_is_as_large_as_promised(cases: list[FunctionalCase]) -> None:
    assert len(cases) >= 560
    sizes = Counter(case.function for case in cases)
    assert len(sizes) >= 28 and min(sizes.values()) >= 10
    assert {case.expected for case in cases} == set(LABELS)
    assert sum(bool(case.also) for case in cases) < 0.15 * len(cases)


def test_no_two_cases_are_the_same_line(cases: list[FunctionalCase]) -> None:
    texts = Counter(case.text.casefold() for case in cases)
    assert not [text for text, count in texts.items() if count > 1]
    originals = Counter(grouping_key(case.text) for case in cases if not case.twin_of)
    assert not [key for key, count in originals.items() if count > 1 or not key]


def test_every_function_that_flags_has_a_twin_in_every_way(cases: list[FunctionalCase]) -> None:
    twins = [case for case in cases if case.twin_of]
    assert len(twins) >= 160
    texts = {case.id: case.text for case in cases}
    assert all(texts[twin.twin_of] != twin.text for twin in twins)
    ways: dict[str, set[str]] = {case.function: set() for case in cases if case.expected != CLEAN}
    for twin in twins:
        ways[twin.function].add(twin.way)
    # Of acronyms of three letters, too little is left where one is dropped.
    assert ways.pop("swearing acronyms") == set(WAYS) - {"dropped"}
    assert all(found == set(WAYS) for found in ways.values()), ways


def test_the_document_says_what_each_function_expects(cases: list[FunctionalCase]) -> None:
    text = (ROOT / "docs" / "functional.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^\| ([^|`]+) \| (non-toxic|mild|toxic) \|", text, re.M))
    assert told == {case.function: case.expected.removesuffix(" toxicity") for case in cases}


def made(*rows: str) -> str:
    return "\n".join([",".join(COLUMNS), *rows]) + "\n"


GOOD = "a,ez,gg ez,non-toxic,,,"


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (made(), 13, "has a header but no case: add some"),
        ("id,text\na,gg\n", 14, "has no column 'function'; it has 'id', 'text': functional cases need id, function"),
        (made(GOOD, "b,ez,gg,non-toxic,,"), 15, "line 3: not 7 cells as in the header: quote cells"),
        (made(GOOD, "b,ez,gg, wp,non-toxic,,,"), 15, "line 3: not 7 cells as in the header: quote cells"),
        (made(GOOD, GOOD), 15, "line 3: id 'a' stands on line 2 too: give each case its own"),
        (made("a,ez, ,non-toxic,,,"), 15, "line 2: text is empty: fill it in"),
        (made(",ez,gg,non-toxic,,,"), 15, "line 2: id is empty: fill it in"),
        (made("a,,gg,non-toxic,,,"), 15, "line 2: function is empty: fill it in"),
        (made("a,ez,gg,mild,,,"), 15, "line 2: expected is 'mild': give one of non-toxic, mild toxicity, toxic"),
        (made("a,ez,gg,toxic,no,,"), 15, "line 2: also is 'no': give one of non-toxic, mild toxicity, toxic, or leave"),
        (made("a,ez,gg,toxic,non-toxic,,"), 15, "line 2: also is 'non-toxic' where 'toxic' is expected: give a level"),
        (made("a,ez,gg,toxic,toxic,,"), 15, "line 2: also is 'toxic' where 'toxic' is expected: give a level"),
        (made(GOOD, "b,ez,g g,non-toxic,,a,"), 15, "line 3: twin_of is 'a' and way is '': a twin needs both"),
        (made(GOOD, "b,ez,g g,non-toxic,,,leet"), 15, "line 3: twin_of is '' and way is 'leet': a twin needs both"),
        (made(GOOD, "b,ez,g g,non-toxic,,z,leet"), 15, "line 3: twin_of is 'z', and no case has that id"),
        (made(GOOD, "b,ez,g g,toxic,,a,leet"), 15, "line 3: expected is 'toxic', that of its original 'a' is 'non-toxic'"),
        (made(GOOD, "b,gg,g g,non-toxic,,a,leet"), 15, "line 3: function is 'gg', that of its original 'a' is 'ez'"),
        (made(GOOD, "b,ez,g g,non-toxic,mild toxicity,a,leet"), 15, "line 3: also is 'mild toxicity', that of its original"),
        (
            made(GOOD, "b,ez,g g,non-toxic,,a,spaced", "c,ez,g  g,non-toxic,,b,spaced"),
            15,
            "line 4: twin_of is 'b', itself a twin: name the original, 'a'",
        ),
        (
            made("a,ez,g g,non-toxic,,b,spaced", "b,ez,gg,non-toxic,,a,spaced"),
            15,
            "line 2: twin_of is 'b', itself a twin: an original has none",
        ),
        ("id," + made("a," + GOOD), 15, "line 1: column 'id' stands twice: take one out"),
        (made('a,ez,"gg" ez,non-toxic,,,'), 15, "line 2: "),
        ("", 13, "is empty: it needs a header"),
    ],
)  # fmt: skip
def test_a_bad_file_is_named_with_its_line(content: str, code: int, words: str, tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ChatwardError) as caught:
        read_cases(path)
    assert caught.value.exit_code == code
    assert "cases.csv" in str(caught.value) and words in str(caught.value)


def test_a_case_may_hold_commas_and_other_alphabets(tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    rows = [("x", "a, b", 'he said "спасибо", 🙏', TOXIC, MILD, "", "", "a note")]
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([(*COLUMNS, "note"), *rows])
    assert read_cases(path)[0] == [FunctionalCase("x", "a, b", 'he said "спасибо", 🙏', TOXIC, MILD)]


def test_a_header_may_end_in_a_comma(tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    path.write_text(f"{','.join(COLUMNS)},\n{GOOD},\n", encoding="utf-8")
    assert [case.id for case in read_cases(path)[0]] == ["a"]


def case(
    name: str, function: str, expected: str, also: str = "", twin_of: str = "", way: str = ""
) -> FunctionalCase:
    return FunctionalCase(name, function, f"text of {name}", expected, also, twin_of, way)  # fmt: skip


def answers(*levels: int, sure: float = 0.8) -> Any:
    return np.array([[sure if i == level else (1 - sure) / 2 for i in range(3)] for level in levels])


def test_counting_by_hand() -> None:
    some = [
        case("a", "one", TOXIC),
        case("b", "one", TOXIC, MILD),
        case("c", "two", CLEAN),
        case("d", "two", CLEAN),
        case("a1", "one", TOXIC, "", "a", "leet"),
        case("b1", "one", TOXIC, MILD, "b", "leet"),
        case("a2", "one", TOXIC, "", "a", "spaced"),
    ]
    p = answers(2, 1, 0, 1, 0, 2, 2)
    p[3] = [0.05, 0.9, 0.05]
    found = pass_rates(some, p)
    assert [(f["function"], f["cases"], f["passed"]) for f in found["functions"]] == [
        ("one", 5, 4),
        ("two", 2, 1),
    ]
    assert (found["overall"]["passed"], found["originals"]["passed"], found["twins"]["passed"]) == (5, 3, 2)
    ways = {
        one["way"]: (one["cases"], one["rate"], one["originals_rate"], one["points"]) for one in found["ways"]
    }
    assert ways == {
        "leet": (2, 0.5, 1.0, -50.0),
        "spaced": (1, 1.0, 1.0, 0.0),
        "all ways": (3, pytest.approx(2 / 3), 1.0, pytest.approx(-100 / 3)),
    }
    assert [f["id"] for f in found["failures"]] == ["d", "a1"], "worst function first"
    assert found["failures"][0] == {
        "id": "d",
        "function": "two",
        "text": "text of d",
        "expected": CLEAN,
        "also": "",
        "way": "",
        "got": MILD,
        "probability": 0.9,
    }
    # Wilson 1927 for 1 of 2, by hand: (0.5 + z2/4 ± z sqrt(1/8 + z2/16)) / (1 + z2/2), z = 1.959964.
    assert found["functions"][1]["interval"] == pytest.approx([0.09453, 0.90547], abs=1e-5)
    assert json.loads(json.dumps(found)) == found


def test_without_twins_there_is_nothing_to_compare() -> None:
    found = pass_rates([case("a", "one", TOXIC)], answers(2))
    assert found["ways"] == [] and found["failures"] == []
    assert found["twins"] == {"cases": 0, "passed": 0, "rate": None, "interval": None}


@pytest.fixture(scope="module")
def report(chatward: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any], Path]:
    """What the program said of the shipped model, report.json, and the report's folder."""
    if not artifact.default_model().exists():
        pytest.skip("no model ships with this revision yet")
    out = tmp_path_factory.mktemp("functional") / "report"
    done = chatward("evaluate", "default", "--functional", CASES, "--report", out, "--country", "PER")
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads((out / "report.json").read_text(encoding="utf-8")), out


def test_the_pass_rates_are_those_of_the_detectors_answers(
    report: tuple[str, dict[str, Any], Path], cases: list[FunctionalCase]
) -> None:
    _, found, _ = report
    got = [p.label for p in Detector.load().predict([c.text for c in cases])]
    passed = {c.id: label in (c.expected, c.also) for c, label in zip(cases, got, strict=True)}
    assert found["functional"]["overall"]["passed"] == sum(passed.values())
    assert {f["id"] for f in found["functional"]["failures"]} == {
        name for name, well in passed.items() if not well
    }
    assert sum(f["cases"] for f in found["functional"]["functions"]) == len(cases) == found["data"]["rows"]


def test_the_console_shows_functions_ways_and_failures(report: tuple[str, dict[str, Any], Path]) -> None:
    shown, found, _ = report
    for one in found["functional"]["functions"]:
        row = next(line for line in shown.splitlines() if line.startswith(f"{one['function']}  "))
        low, high = one["interval"]
        wanted = [
            one["cases"],
            one["passed"],
            f"{100 * one['rate']:.1f}",
            f"{100 * low:.1f} to {100 * high:.1f}",
        ]
        assert row.removeprefix(one["function"]).split() == " ".join(map(str, wanted)).split()
    for one in found["functional"]["ways"]:
        assert re.search(
            rf"^{one['way']} +{one['cases']} .* {re.escape(format(one['points'], '+.1f'))}$", shown, re.M
        )
    first = found["functional"]["failures"][0]
    assert first["id"][:30] in shown and f"of {len(found['functional']['failures'])}" in shown
    assert "Emissions" in shown
    assert not [c for c in shown if not c.isprintable() and c != "\n"], "what hides in a line is shown"


def test_the_reports_hold_all_failures(report: tuple[str, dict[str, Any], Path]) -> None:
    _, found, out = report
    assert {path.name for path in out.iterdir()} == {"report.html", "report.md", "report.json", "emissions.csv"}
    html, markdown = ((out / f"report.{kind}").read_text(encoding="utf-8") for kind in ("html", "md"))
    for one in [*found["functional"]["functions"], *found["functional"]["failures"]]:
        name = one.get("id", one["function"])
        assert name in html and name in markdown
    assert "<script" not in html
    assert found["command"].startswith("chatward evaluate default --functional cases.csv --report report")
    assert str(ROOT) not in html + markdown + json.dumps(found)


def test_hostile_cases_stay_text(chatward: Run, trained: Path, tmp_path: Path) -> None:
    text = "<img src=x> [red]gg[/red] \x1b[31m | `x`"
    with (tmp_path / "cases.csv").open("w", encoding="utf-8", newline="") as file:
        rows = [(f"{i}<b>", "a <i> | f", f"{text} {i}", level, "", "", "") for i, level in enumerate(LABELS)]
        csv.writer(file).writerows([COLUMNS, *rows])
    done = chatward("evaluate", trained, "--functional", "cases.csv", "--report", "report", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "\x1b[31m" not in done.stdout and "[red]gg[/red]" in done.stdout
    assert "<img" not in (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "<img" not in (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert "Twins" not in done.stdout, "no twins, no table of them"


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ((), 2, "give either --data, for labelled rows, or --functional, for functional cases"),
        (("--data", "c.csv", "--functional", "c.csv"), 2, "one of them, not both"),
        (
            ("--functional", "c.csv", "--hold-out", "1/5"),
            2,
            "--hold-out is for the rows of --data: leave it out",
        ),
        (("--functional", "c.csv", "--text-column", "text"), 2, "--text-column is for the rows of --data"),
        (("--functional", "c.csv", "--draws", "200"), 2, "--draws is for the rows of --data"),
        (("--functional", "nowhere.csv"), 11, "no file at 'nowhere.csv': give a CSV file of functional cases"),
        (("--functional", "c.csv"), 15, "'c.csv' line 2: expected is 'bad'"),
    ],
)
def test_bad_usage_is_named_and_nothing_is_left(
    options: tuple[str, ...], code: int, words: str, chatward: Run, trained: Path, tmp_path: Path
) -> None:
    (tmp_path / "c.csv").write_text(made("a,ez,gg,bad,,,"), encoding="utf-8")
    done = chatward("evaluate", trained, *options, "--report", "report", cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert words in " ".join(done.stderr.split())
    assert [path.name for path in tmp_path.iterdir()] == ["c.csv"]


def test_the_card_shows_the_rates_where_the_record_holds_them(trained: Path, tmp_path: Path) -> None:
    from chatward.training.card import write_card
    from chatward.training.config import read_recipe
    from tests.conftest import TINY_RECIPE

    record = json.loads((trained / "run.json").read_text(encoding="utf-8"))
    recipe = read_recipe(TINY_RECIPE)
    write_card(tmp_path / "plain.md", recipe, record)
    assert "What it can tell apart" not in (tmp_path / "plain.md").read_text(encoding="utf-8")
    some = [
        case("a", "banter", CLEAN),
        case("b", "threat", TOXIC),
        case("b1", "threat", TOXIC, "", "b", "leet"),
    ]
    write_card(tmp_path / "card.md", recipe, {**record, "functional": pass_rates(some, answers(0, 2, 1))})
    card = (tmp_path / "card.md").read_text(encoding="utf-8")
    assert "Of 3 invented cases, each testing one function, 66.7 (20.8 to 93.9) % get a level" in card
    assert "the worst function has 50 %" in card
    assert "| banter | 1 | 100.0 (20.7 to 100.0) |" in card
    assert "| leet | 1 | 0.0 (0.0 to 79.3) | 100.0 | -100.0 |" in card
