"""`chatward audit`: the real program on data with known faults."""

import csv
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rapidfuzz import fuzz

from chatward.data.prepare import Corpus
from chatward.lab.audit.duplicates import ALIKE, near_duplicates, sides
from chatward.lab.audit.labels import rank
from chatward.lab.audit.rows import read_audited
from chatward.schema import LABELS
from chatward.text import letters
from tests.conftest import ROOT, TINY_RECIPE, Run

SAMPLE = ROOT / "src" / "chatward" / "data" / "sample"
FILES = ("dota3/train.csv", "gosu/train.csv")


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def flip(folder: Path, share: float, seed: int) -> set[tuple[str, str]]:
    """Write the sample's rows to *folder*, a random *share* of them with another level; return set and line of those."""
    sets = {file.split("/")[0]: read(SAMPLE / file) for file in FILES}
    rows = [(name, place) for name in sets for place in range(len(sets[name]))]
    rng = np.random.default_rng(seed)
    flipped = set()
    for i in rng.choice(len(rows), round(len(rows) * share), replace=False):
        name, place = rows[i]
        row = sets[name][place]
        row["target"] = str((int(row["target"]) + int(rng.integers(1, 3))) % 3)
        flipped.add((name, str(place + 2)))  # every row of the sample is one line, after the header
    for name, content in sets.items():
        write(folder / name / "train.csv", content)
    return flipped


@pytest.mark.parametrize(("share", "seed"), [(0.1, 0), (0.1, 1), (0.075, 2), (0.075, 3), (0.05, 4)])
def test_flipped_labels_come_first(chatward: Run, tmp_path: Path, share: float, seed: int) -> None:
    """80 % of them among the first rows, of which there are twice as many as labels flipped."""
    flipped = flip(tmp_path / "data", share, seed)
    done = chatward("audit", tmp_path / "data", "--out", tmp_path / "found")
    assert done.returncode == 0, done.stderr
    rows = read(tmp_path / "found" / "labels.csv")
    assert len(rows) == 548
    found = {(row["set"], row["line"]) for row in rows[: 2 * len(flipped)]} & flipped
    print(f"recall at {share} flipped, seed {seed}: {len(found) / len(flipped):.3f}")
    assert len(found) >= 0.8 * len(flipped), f"only {len(found)} of {len(flipped)}"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample with faults: one text with two labels, a near-duplicate in the test rows, a word of many pieces."""
    folder = tmp_path_factory.mktemp("data")
    dota, gosu = (read(SAMPLE / file) for file in FILES)
    dota += [{"message": "Get A  Life LOSER", "target": "0"}]
    dota += [{"message": f"zxqvwkjy {word}", "target": "0"} for word in ("mid", "top", "bot")]
    dota += [{"message": "=1+1 <script>alert('x')</script>", "target": "0"}]
    write(folder / FILES[0], dota)
    write(folder / FILES[1], gosu)
    write(
        folder / "test.csv",
        [{"text": "abaddon save me next time pleas", "label": "0"}, {"text": "qq", "label": "0"}],
    )
    write(
        folder / "lexicon.csv",
        [
            {"Unnamed: 0": "0", "D": "roshan", "T": "Idiot", "P": ""},
            {"Unnamed: 0": "1", "D": "zzroshan", "T": "get a life", "P": ""},
            {"Unnamed: 0": "2", "D": "", "T": "get a death", "P": "thou"},
        ],
    )
    return folder


@pytest.fixture(scope="module")
def found(chatward: Run, data: Path) -> Path:
    before = {p: p.read_bytes() for p in data.rglob("*.csv")}
    out = data / "found"
    given = ("--lexicon", data / "lexicon.csv", "--against", data / "test.csv", "--folds", "4")
    done = chatward("audit", data, "--out", out, *given)
    assert done.returncode == 0, done.stderr
    assert "Audit of 553 rows (dota3, gosu)" in done.stdout
    assert "lexicon words never seen" in done.stdout
    assert f"{out}/labels.csv" in done.stderr
    assert before == {p: p.read_bytes() for p in before}
    return out


def test_what_it_writes(found: Path, data: Path) -> None:
    names = ["audit.html", "audit.json", "duplicates.csv", "labels.csv", "lexicon.csv", "slang.csv"]
    assert sorted(p.name for p in found.iterdir()) == names
    record = json.loads((found / "audit.json").read_text())
    assert record["settings"]["folds"] == 4
    assert record["counts"]["rows"] == 553
    assert record["data"]["dota3"]["sha256"] == hashlib.sha256((data / FILES[0]).read_bytes()).hexdigest()
    assert (
        record["files"]["lexicon"]["sha256"] == hashlib.sha256((data / "lexicon.csv").read_bytes()).hexdigest()
    )
    assert list(record["against"]) == ["test.csv"]
    assert {"cleanlab", "rapidfuzz", "scikit-learn"} <= set(record["versions"])
    assert len(record["witnesses"]) == 2
    assert record["not_asked"] == []
    for path in found.iterdir():
        assert str(data) not in path.read_text(encoding="utf-8")


def test_labels_are_ranked_for_a_person(found: Path) -> None:
    assert (found / "labels.csv").read_bytes().startswith(b"\xef\xbb\xbf")
    rows = read(found / "labels.csv")
    assert list(rows[0]) == [
        *("rank", "set", "line", "text", "label", "suggested", "p_non_toxic", "p_mild_toxicity", "p_toxic"),
        *("reason", "corrected"),
    ]
    assert [row["rank"] for row in rows] == [str(i) for i in range(1, 554)]
    own = []
    for row in rows:
        p = dict(
            zip(LABELS, (float(row[c]) for c in ("p_non_toxic", "p_mild_toxicity", "p_toxic")), strict=True)
        )
        assert sum(p.values()) == pytest.approx(1, abs=2e-4)
        assert p[row["suggested"]] == max(p.values())
        assert row["corrected"] == ""
        own.append(p[row["label"]])
    assert own == sorted(own)
    contradicted = next(row for row in rows if row["text"] == "Get A  Life LOSER")
    assert int(contradicted["rank"]) <= 10
    assert contradicted["suggested"] == "toxic"
    assert "same text labelled otherwise: toxic (1)" in contradicted["reason"]
    formula = next(row for row in rows if row["line"] == "408" and row["set"] == "dota3")
    assert formula["text"] == "=1+1 <script>alert('x')</script>", "what is matched later must stay as it is"


def test_contradictions_and_near_duplicates(found: Path) -> None:
    rows = read(found / "duplicates.csv")
    contradicted = [row for row in rows if row["across"] == "labels"]
    assert [(row["text_a"], row["labels_a"], row["labels_b"]) for row in contradicted] == [
        ("get a life loser", "toxic", "non-toxic")
    ] or contradicted[0]["text_b"] == "get a life loser"
    files = [row for row in rows if "files" in row["across"]]
    assert [(row["set_a"], row["set_b"]) for row in files] == [("test.csv", "dota3")]
    assert {files[0]["text_a"], files[0]["text_b"]} == {
        "abaddon save me next time pleas",
        "abaddon save me next time please",
    }
    assert float(files[0]["similarity"]) == pytest.approx(100 * 2 * 31 / 63, abs=0.05)
    counts = json.loads((found / "audit.json").read_text())["counts"]
    assert counts["conflicts"] == {"texts": 1, "rows": 2}
    assert counts["near_duplicates"]["files"] == {"pairs": 1, "rows": 1}
    for kind in ("sets", "folds"):
        assert counts["near_duplicates"][kind]["pairs"] == sum(
            kind in row["across"].split("; ") for row in rows
        )


def test_words(found: Path) -> None:
    broken = {row["word"]: row for row in read(found / "slang.csv")}
    assert broken["zxqvwkjy"]["texts"] == "3"
    pieces = broken["zxqvwkjy"]["pieces"].split()
    assert len(pieces) == int(broken["zxqvwkjy"]["count"]) >= 3
    assert "".join(pieces) == "zxqvwkjy"
    assert not {"mid", "gg"} & set(broken)
    unseen = [(row["slot"], row["word"]) for row in read(found / "lexicon.csv")]
    assert unseen == [("D", "zzroshan"), ("P", "thou"), ("T", "get a death")]


def text_rows(texts: list[str], sets: list[str]) -> Corpus:
    return Corpus(
        texts, [0] * len(texts), texts, [f"{s}:text={t}" for s, t in zip(sets, texts, strict=True)], sets
    )


def test_near_duplicates_are_all_there_are() -> None:
    """Chunks and lengths leave out no pair: compared with every pair of some thousand made-up texts."""
    rng = np.random.default_rng(0)
    words = ["mid", "noob", "noobs", "feeder", "feed", "report", "why", "whyy", "gg", "please", "pleas"]
    texts = sorted({" ".join(rng.choice(words, rng.integers(1, 6))) for _ in range(1500)})
    rows = text_rows(texts, ["a"] * len(texts))
    against = text_rows(["gg"], ["b"])
    seen = sides(rows, against, 2, 0)
    pairs = near_duplicates(seen)
    found = {(seen.wordings[p.rows_a[0]], seen.wordings[p.rows_b[0]]) for p in pairs if "folds" in p.across}
    wordings = [letters(text) for text in texts]
    expected = {
        frozenset((wordings[i], wordings[j]))
        for i in range(len(texts))
        for j in range(i)
        if seen.folds[i] != seen.folds[j] and fuzz.ratio(wordings[i], wordings[j]) >= ALIKE
    }
    assert len(expected) > 100
    assert {frozenset(pair) for pair in found} == expected
    assert sum("files" in p.across for p in pairs) == ("gg" in texts)


def test_copies_never_count_across_folds_but_across_sets() -> None:
    rows = Corpus(
        ["gg", "gg", "gg!"], [0, 0, 0], ["gg", "gg", "gg!"], ["a:m=1", "b:m=2", "b:m=2"], ["a", "b", "b"]
    )
    for seed in range(20):
        seen = sides(rows, Corpus(), 2, seed)
        across = [kind for pair in near_duplicates(seen) for kind in pair.across]
        assert across == (["sets", "folds"] if seen.folds[0] != seen.folds[1] else ["sets"])
    copies = Corpus(rows.texts[:2], [0, 0], rows.keys[:2], rows.groups[:2], rows.sets[:2])
    assert {
        k for seed in range(20) for p in near_duplicates(sides(copies, Corpus(), 2, seed)) for k in p.across
    } == {"sets"}


def test_ranking_by_hand() -> None:
    corpus = Corpus(["a", "b", "c", "c"], [0, 1, 2, 0], ["a", "b", "c", "c"], ["a", "b", "c", "c"], ["s"] * 4)
    said = np.array([[0.5, 0.3, 0.2], [0.1, 0.3, 0.6], [0.1, 0.1, 0.8], [0.1, 0.1, 0.8]])
    ranking = rank(corpus, said)
    # The copies: (0.1, 0.1, 0.8) and one vote each for the other's label.
    assert ranking.scores == pytest.approx([0.5, 0.3, 0.8 / 2, 0.1 / 2])
    assert ranking.order == [3, 1, 2, 0]
    assert ranking.reasons[0] == ""
    assert ranking.reasons[3].startswith("same text labelled otherwise: toxic (1); toxic is likelier (80 %)")


def test_the_users_own_probabilities(chatward: Run, tmp_path: Path) -> None:
    rows = [{"text": f"text {i}", "label": i % 3} for i in range(30)]
    path = write(tmp_path / "mine.csv", rows)
    names = ("p_non_toxic", "p_mild_toxicity", "p_toxic")
    own = [
        {"set": "mine", "line": i + 2}
        | {n: 0.9 if j == (1 if i == 7 else i % 3) + (i == 3) else 0.05 for j, n in enumerate(names)}
        for i in range(30)
    ]
    given = write(tmp_path / "p.csv", own)
    done = chatward("audit", path, "--out", tmp_path / "found", "--probabilities", given)
    assert done.returncode == 0, done.stderr
    assert "Judged by probabilities from p.csv." in done.stdout
    worst = read(tmp_path / "found" / "labels.csv")
    assert [row["line"] for row in worst[:2]] == ["5", "2"]


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"DATA": "nowhere.csv"}, 11, "no file at 'nowhere.csv'"),
        ({"DATA": "empty"}, 11, "'empty' holds neither dota3/train.csv nor gosu/train.csv: say with --recipe"),
        ({"DATA": "bad.csv"}, 15, "line 3: label 'spam' isn't one of '0', '1', '2', 'non-toxic'"),
        ({"--text-column": "words"}, 14, "no column 'words'"),
        ({"DATA": "sample", "--text-column": "x"}, 2, "--text-column and --label-column are for a CSV file"),
        ({"--recipe": TINY_RECIPE}, 2, "--recipe says what to read in a folder, and 'few.csv' isn't one"),
        ({"--folds": 1}, 2, "--folds is 1: give 2 or more"),
        ({}, 13, "fold 1 of 5 has"),
        ({"--model": "none"}, 31, "no model folder at 'none'"),
        ({"--against": "bad.csv"}, 15, "'bad.csv' line 3: label 'spam'"),
        ({"--lexicon": "few.csv"}, 14, "has none of the columns C, D, P, S, T; it has 'message', 'target'"),
        ({"--probabilities": "few.csv"}, 14, "has no column 'set': it needs set, line, p_non_toxic"),
        (
            {"--probabilities": "lacking.csv"},
            15,
            "says nothing of 1 of 2 rows, the first being line 3 of 'few'",
        ),
        (
            {"--probabilities": "other.csv"},
            15,
            "no row of the audited data is on line '9' of set 'few'; the sets are few",
        ),
        (
            {"--probabilities": "sums.csv"},
            15,
            "['0.5', '0.5', '0.5'] aren't three probabilities from 0 to 1 that sum to 1",
        ),
    ],
)
def test_bad_input_is_named(
    chatward: Run, tmp_path: Path, change: dict[str, Any], code: int, words: str
) -> None:
    (tmp_path / "empty").mkdir()
    header = "set,line,p_non_toxic,p_mild_toxicity,p_toxic\n"
    for name, content in {
        "few.csv": "message,target\ngg,0\nez,1\n",
        "bad.csv": "message,target\ngg,0\nez,spam\n",
        "lacking.csv": f"{header}few,2,1,0,0\n",
        "other.csv": f"{header}few,9,1,0,0\n",
        "sums.csv": f"{header}few,2,0.5,0.5,0.5\n",
    }.items():
        (tmp_path / name).write_text(content)
    before = sorted(tmp_path.iterdir())
    options = [x for name, value in change.items() if name != "DATA" for x in (name, value)]
    done = chatward("audit", change.get("DATA", "few.csv"), "--out", "found", *options, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert sorted(tmp_path.iterdir()) == before


def test_a_folder_that_exists_is_left_alone(chatward: Run, tmp_path: Path) -> None:
    (tmp_path / "found").mkdir()
    done = chatward("audit", "sample", "--out", tmp_path / "found")
    assert done.returncode == 50
    assert "is there already: give another --out" in done.stderr
    assert list((tmp_path / "found").iterdir()) == []


def test_a_recipe_says_what_is_read(tmp_path: Path) -> None:
    shutil.copytree(SAMPLE / "dota3", tmp_path / "dota3")
    corpus, seed = read_audited("sample", TINY_RECIPE, None, None)
    assert (list(corpus.facts), seed) == (["dota3", "gosu"], 3)
    assert list(read_audited(str(tmp_path), None, None, None)[0].facts) == ["dota3"]


def test_a_model_isnt_asked_about_what_it_was_trained_on(chatward: Run, trained: Path, tmp_path: Path) -> None:
    done = chatward("audit", "sample", "--out", tmp_path / "found", "--model", trained)
    assert done.returncode == 0, done.stderr
    assert "Note: the model 'tiny' wasn't asked: it was trained on dota3, gosu." in done.stdout
    record = json.loads((tmp_path / "found" / "audit.json").read_text())
    assert len(record["witnesses"]) == len(record["not_asked"]) == 1
    assert record["model"]["name"] == "tiny"
    assert "trained on dota3, gosu" in (tmp_path / "found" / "audit.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    binary = next((p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if p), None)
    if not binary and os.environ.get("CI") != "true":
        pytest.skip("no Chromium")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=binary, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_in_chromium(browser: Any, found: Path, width: int, scheme: str) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    asked: list[str] = []
    faults: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: faults.append(message.text))
    page.on("dialog", lambda dialog: faults.append(dialog.message))
    page.goto((found / "audit.html").as_uri())
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert faults == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("#worst tbody tr").count() <= 100
    assert page.get_by_role("heading", name="Likely wrong labels").is_visible()
    first = read(found / "labels.csv")[0]
    top = page.locator("#worst tbody tr").first
    assert top.locator("bdi").inner_text().split() == first["text"].split()
    assert first["suggested"] in top.inner_text()
    assert page.locator("#conflicts tbody tr").count() == 1
    assert page.locator("#lexicon").is_visible()
    page.close()
