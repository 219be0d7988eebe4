"""The review page without a browser: who may see what, what a form must be, and what is said where something is wrong."""

from __future__ import annotations

import csv
import io
import json
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from chatward import artifact
from tests.api.program import Program, serving
from tests.api.reviewing import DELETED, FLAGGED, HELD, Page, Visitor, make_key, opened, record

if not artifact.default_model().exists():
    pytest.skip("no model ships with this revision yet", allow_module_level=True)

POLICY = "default-src 'none'; style-src 'self'; script-src 'self'; img-src data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"


@dataclass
class Guarded:
    """A service with keys. ids: of alpha's decisions."""

    program: Program
    ledger: Path
    keys: Path
    secrets: dict[str, str]
    ids: list[str]

    def visitor(self, name: str = "") -> Visitor:
        """Return somebody who signed in with the key called *name*; who didn't, if it is empty."""
        visitor = Visitor(self.program.port)
        if name:
            assert visitor.sign_in(self.secrets[name]).status == 303
        return visitor


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    ledger, keys = folder / "ledger.db", folder / "keys.json"
    secrets = {
        "alpha": make_key(keys, "alpha"),
        "second": make_key(keys, "second", "--space", "alpha"),
        "beta": make_key(keys, "beta"),
        "bot": make_key(keys, "bot", "--space", "alpha", "--scope", "moderate"),
        "leaving": make_key(keys, "leaving", "--space", "alpha"),
    }
    with opened(ledger) as made:
        ids = record(made, "alpha", ("you donkey", HELD), ("buy wards, donkey", HELD), ("lag again", FLAGGED))
        record(made, "beta", ("a beta donkey", HELD))
    with serving("--policy", "community", "--ledger", ledger, "--keys", keys) as program:
        yield Guarded(program, ledger, keys, secrets, ids)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Visitor, Path]]:
    """A service without keys, and its ledger."""
    ledger = tmp_path_factory.mktemp("local") / "ledger.db"
    with opened(ledger):
        pass
    with serving("--policy", "community", "--ledger", ledger) as program:
        yield Visitor(program.port), ledger


def verdicts(ledger: Path, space: str, id: str) -> list[tuple[str, str | None, str, str]]:
    with opened(ledger) as record:
        return [(v.verdict, v.label, v.by, v.note) for v in record.get(space, id).verdicts]


def test_without_keys_nobody_signs_in_and_forms_are_still_checked(local: tuple[Visitor, Path]) -> None:
    visitor, ledger = local
    with opened(ledger) as made:
        (id,) = record(made, "default", ("you donkey", HELD))
    assert visitor.get("/review/login").headers["location"] == "/review"
    page = visitor.get("/review")
    assert (page.status, page.ids) == (200, [id])
    assert "Sign out" not in page.text
    form = {"id": id, "verdict": "overturn", "token": page.token}
    for wrong in ({"token": ""}, {"token": "0" * 64}, {"token": "é"}):
        refused = visitor.post("/review/verdict", form | wrong)
        assert (refused.status, refused.problem) == (403, "form")
    assert visitor.post("/review/verdict", {k: v for k, v in form.items() if k != "token"}).problem == "form"
    for told in ({"origin": "https://elsewhere.example"}, {"origin": "null"}):
        assert visitor.post("/review/verdict", form, told).status == 403
    assert visitor.post("/review/verdict", form, {"sec-fetch-site": "cross-site"}).problem == "form"
    assert visitor.get("/review", {"host": "elsewhere.example"}).status == 421
    assert verdicts(ledger, "default", id) == []
    done = visitor.post(
        "/review/verdict", form, {"origin": f"http://127.0.0.1:{visitor.port}", "sec-fetch-site": "same-origin"}
    )
    assert (done.status, done.headers["location"]) == (303, f"/review?done={id}")
    assert verdicts(ledger, "default", id) == [("overturn", None, "local", "")]


def test_every_answer_carries_the_headers(guarded: Guarded) -> None:
    visitor = guarded.visitor("alpha")
    answers = [
        visitor.get(path)
        for path in (
            "/review",
            f"/review/decision/{guarded.ids[0]}",
            "/review/decision/none",
            "/review/nothing",
        )
    ]
    answers += [guarded.visitor().get("/review/login"), guarded.visitor().post("/review/verdict", {})]
    for page in answers:
        assert page.headers["content-security-policy"] == POLICY
        assert page.headers["x-content-type-options"] == "nosniff"
        assert page.headers["referrer-policy"] == "same-origin"
        assert page.headers["cache-control"] == "no-store"
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert not re.search(r"<style|\son\w+=|\sstyle=|javascript:", page.text)
    for path, kind in (("style.css", "text/css"), ("script.js", "text/javascript")):
        assert visitor.get(f"/review/{path}").headers["content-type"] == f"{kind}; charset=utf-8"
    address = re.search(r'href="(/review/style\.css\?v=\w+)"', answers[0].text)
    assert address and "immutable" in guarded.visitor().get(address[1]).headers["cache-control"]


def test_who_isnt_signed_in_is_sent_to_the_door(guarded: Guarded) -> None:
    stranger = guarded.visitor()
    for path in (
        "/review",
        f"/review/decision/{guarded.ids[0]}",
        "/review/export",
        "/review/",
        "/review/script.js",
    ):
        page = stranger.get(path)
        assert (page.status, page.headers["location"]) == (303, "/review/login"), path
        assert "donkey" not in page.text
    # What is sent without a session, or after it ended, isn't lost in silence.
    page = stranger.post("/review/verdict", {"id": guarded.ids[0], "verdict": "keep"})
    assert (page.status, page.problem) == (401, "session_missing")
    assert "nothing was recorded" in page.text and 'href="/review/login"' in page.text
    assert verdicts(guarded.ledger, "alpha", guarded.ids[0]) == []
    # The API's own way to show a key doesn't open the page, nor the page's cookie the API.
    shown = {"authorization": f"Bearer {guarded.secrets['alpha']}"}
    assert stranger.get("/review", shown).status == 303
    cookie = guarded.visitor("alpha").cookie
    assert guarded.program.ask("/v1/review", headers={"cookie": cookie}).status == 401


def test_signing_in_and_out(guarded: Guarded) -> None:
    visitor = guarded.visitor()
    for wrong in ("", "x", "cw_" + "A" * 43, guarded.secrets["alpha"][:-1], "\0' OR 1=1"):
        page = visitor.sign_in(wrong)
        assert page.status == 401
        assert "No such key. Check that it is whole" in page.text
        assert "set-cookie" not in page.headers
    page = visitor.sign_in(guarded.secrets["bot"])
    assert page.status == 403 and "set-cookie" not in page.headers
    assert "This key may not review" in page.text
    assert "chatward keys add NAME --space COMMUNITY --scope review" in page.text
    page = visitor.sign_in(f" {guarded.secrets['alpha']}\n")
    assert (page.status, page.headers["location"]) == (303, "/review")
    value, *flags = page.headers["set-cookie"].split("; ")
    assert re.fullmatch(r"chatward_session=[\w-]{43}", value)
    assert sorted(flag.lower() for flag in flags) == [
        "httponly",
        "max-age=28800",
        "path=/review",
        "samesite=strict",
    ]
    safe = guarded.visitor().post(
        "/review/login", {"secret": guarded.secrets["alpha"]}, {"x-forwarded-proto": "https"}
    )
    assert "; Secure" in safe.headers["set-cookie"]
    elsewhere = {"sec-fetch-site": "cross-site"}
    assert (
        "set-cookie"
        not in visitor.post("/review/login", {"secret": guarded.secrets["beta"]}, elsewhere).headers
    )
    for page in (visitor.get("/review"), visitor.sign_in(guarded.secrets["alpha"])):
        assert guarded.secrets["alpha"] not in page.text

    before = visitor.cookie
    token = visitor.get("/review").token
    assert visitor.post("/review/logout", {"token": "no"}).problem == "form"
    out = visitor.post("/review/logout", {"token": token})
    assert (out.status, out.headers["location"]) == (303, "/review/login?out=1")
    assert "Max-Age=0" in out.headers["set-cookie"]
    assert Visitor(guarded.program.port, before).get("/review").status == 303


def test_signing_in_again_ends_the_session_before(guarded: Guarded) -> None:
    visitor = guarded.visitor("alpha")
    before = visitor.cookie
    visitor.sign_in(guarded.secrets["alpha"])
    assert visitor.cookie != before
    assert Visitor(guarded.program.port, before).get("/review").status == 303
    assert visitor.get("/review").status == 200


def test_a_revoked_key_is_out(guarded: Guarded) -> None:
    visitor = guarded.visitor("leaving")
    assert visitor.get("/review").status == 200
    rows = json.loads(guarded.keys.read_text())
    rows["keys"] = [key for key in rows["keys"] if key["name"] != "leaving"]
    guarded.keys.write_text(json.dumps(rows))
    for _ in range(40):
        if visitor.get("/review").status == 303:
            return
        time.sleep(0.1)
    raise AssertionError("still in after 4 s")


def test_one_space_shows_nothing_of_another(guarded: Guarded) -> None:
    alpha, beta = guarded.visitor("alpha"), guarded.visitor("beta")
    mine, theirs = guarded.ids[0], beta.get("/review").ids
    assert len(theirs) == 1 and mine not in theirs
    own = beta.get("/review")
    unknown = beta.get("/review/decision/" + "0" * 32)
    page = beta.get(f"/review/decision/{mine}")
    assert (page.status, page.problem) == (404, "record_not_found")
    strip = lambda page, id: page.text.replace(id, "")  # noqa: E731
    assert strip(page, mine) == strip(unknown, "0" * 32)
    for query in (f"?done={mine}", f"?after={mine}", f"?after={mine}&done={mine}", "?after=%00&done=%27--"):
        seen = beta.get(f"/review{query}")
        assert seen.status == 200 and seen.ids == theirs
        assert "you donkey" not in seen.text and "cw-done" not in seen.text
    refused = beta.judge(mine, verdict="overturn")
    assert (refused.status, refused.problem) == (404, "record_not_found")
    assert verdicts(guarded.ledger, "alpha", mine) == []
    # A token is of its own session.
    token = alpha.get("/review").token
    assert beta.post("/review/verdict", {"token": token, "id": theirs[0], "verdict": "keep"}).problem == "form"
    assert own.token != token
    alpha.judge(mine, label="mild toxicity")
    assert "you donkey" in alpha.get("/review/export").text
    assert "you donkey" not in beta.get("/review/export").text


def test_verdicts_stand_in_the_ledger_and_in_the_export(guarded: Guarded) -> None:
    visitor = guarded.visitor("alpha")
    with opened(guarded.ledger) as made:
        kept, fine, other, both = record(
            made,
            "alpha",
            ("one donkey", HELD),
            ("=two donkeys", HELD),
            ("three donkeys", DELETED),
            ("four donkeys", HELD),
        )
    visitor.judge(kept, verdict="keep", note="  their joke\r\nreally  ")
    visitor.judge(fine, verdict="overturn", label="toxic")
    visitor.judge(other, label="mild toxicity")
    answer = visitor.judge(both, verdict="relabel", label="toxic", after=kept, next=other, lang="es")
    assert answer.headers["location"] == f"/review?after={kept}&done={both}&lang=es#d-{other}"
    assert verdicts(guarded.ledger, "alpha", kept) == [("keep", None, "alpha", "their joke\nreally")]
    assert verdicts(guarded.ledger, "alpha", fine) == [("overturn", None, "alpha", "")]
    assert verdicts(guarded.ledger, "alpha", other) == [("relabel", "mild toxicity", "alpha", "")]
    rows = {row["text"]: row for row in csv.DictReader(io.StringIO(visitor.get("/review/export").text))}
    assert {text: (row["target"], row["label"]) for text, row in rows.items() if "donkeys" in text} == {
        "=two donkeys": ("0", "non-toxic"),
        "three donkeys": ("1", "mild toxicity"),
        "four donkeys": ("2", "toxic"),
    }
    assert "one donkey" not in rows
    page = visitor.get(f"/review?done={fine}")
    assert re.search(r'role="status".*Overturned.*=two donkeys', page.text, re.S)
    assert fine not in page.ids
    # Changed one's mind: the last verdict stands, the first stays to be seen.
    visitor.judge(fine, verdict="keep")
    page = visitor.get(f"/review/decision/{fine}")
    assert (
        page.text.index("Overturned</strong>") < page.text.index("Kept</strong>") < page.text.index(">stands<")
    )
    assert "=two donkeys" not in visitor.get("/review/export").text


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"verdict": "burn"}, 400, "give keep, overturn, relabel"),
        ({}, 400, "give keep, overturn, relabel"),
        ({"verdict": "relabel"}, 400, "give non-toxic, mild toxicity, toxic"),
        ({"label": "<b>bad</b>"}, 400, "&lt;b&gt;bad"),
        ({"verdict": "keep", "note": "x" * 2001}, 400, "give 0 to 2,000"),
        ({"verdict": "keep", "seen": "1" * 5000}, 409, "cw-card"),
    ],
)
def test_a_wrong_verdict_is_refused(guarded: Guarded, fields: dict[str, str], status: int, words: str) -> None:
    page = guarded.visitor("alpha").judge(guarded.ids[1], **fields)
    assert page.status == status
    assert words in page.text
    assert verdicts(guarded.ledger, "alpha", guarded.ids[1]) == []


@pytest.mark.parametrize("body", [b"\xff\xfe", b"token=%ff", b"a=1&" * 21])
def test_what_isnt_a_form_is_refused(guarded: Guarded, body: bytes) -> None:
    page = guarded.visitor("alpha").post("/review/verdict", body)
    assert (page.status, page.problem) == (400, "invalid")
    json_sent = guarded.visitor("alpha").post("/review/verdict", b"{}", {"content-type": "application/json"})
    assert json_sent.status == 415 and "<h2>" in json_sent.text


def test_two_moderators_dont_overrule_each_other_unseen(guarded: Guarded) -> None:
    with opened(guarded.ledger) as made:
        (id,) = record(made, "alpha", ("a quick donkey", HELD))
    first, second = guarded.visitor("alpha"), guarded.visitor("second")
    assert first.judge(id, verdict="keep", seen="0").status == 303
    assert first.judge(id, verdict="keep", seen="0").status == 303  # sent twice, recorded once
    late = second.judge(id, verdict="overturn", seen="0", note="he <i>said</i> sorry")
    assert late.status == 409
    assert "alpha was quicker: “Kept”. Yours wasn" in late.text
    assert "he &lt;i&gt;said&lt;/i&gt; sorry</textarea>" in late.text
    assert verdicts(guarded.ledger, "alpha", id) == [("keep", None, "alpha", "")]
    assert second.judge(id, verdict="overturn", seen="1").status == 303
    assert [v[2] for v in verdicts(guarded.ledger, "alpha", id)] == ["alpha", "second"]
    assert guarded.visitor("alpha").get("/review?after=" + id).status == 200


def test_the_queue_in_parts_and_in_order(local: tuple[Visitor, Path]) -> None:
    visitor, ledger = local
    with opened(ledger) as made:
        for entry in made.queue("default", 500):
            made.verdict("default", entry.id, "keep", None, "x", "", entry.decision.decided_at)
        flags = record(made, "default", *((f"lag {n}", FLAGGED) for n in range(20)), days_ago=1)
        held = record(made, "default", *((f"donkey {n}", HELD) for n in range(30)))
        (deleted,) = record(made, "default", ("you donkey", DELETED), sender="ana")
        made.appeal("default", deleted, "it's our courier", made.get("default", deleted).decision.decided_at)
    first = visitor.get("/review")
    assert first.ids == [deleted, *held[:24]]
    assert "51 messages wait" in first.text and "<title>(51) Review" in first.text
    more = re.search(r'href="(/review\?after=\w+)"', first.text)
    assert more
    second = visitor.get(more[1])
    assert second.ids == [*held[24:], *flags[:19]]
    # A verdict leads back to where it was given.
    assert f'name="after" value="{held[23]}"' in second.text
    third = visitor.get(f"/review?after={flags[18]}")
    assert third.ids == flags[19:] and "Back to the first" in third.text
    assert visitor.get(f"/review?after={flags[19]}").ids == first.ids
    assert [text in first.text for text in ("Appeals", "Held messages", "Flags")] == [True, True, False]


def test_the_languages(local: tuple[Visitor, Path]) -> None:
    visitor, _ = local
    for headers, query, code in (
        ({}, "", "en"),
        ({"accept-language": "es-PE,es;q=0.9,en;q=0.8"}, "", "es"),
        ({"accept-language": "de,en;q=0.5,es;q=0.9"}, "", "es"),
        ({"accept-language": "es;q=0,;;q=x"}, "", "en"),
        ({"accept-language": "es"}, "?lang=en", "en"),
        ({}, "?lang=es", "es"),
        ({}, "?lang=%3Cb%3E", "en"),
    ):
        page = visitor.get(f"/review{query}", headers)
        assert f'<html lang="{code}">' in page.text
        assert ("Revisión" in page.text) == (code == "es")
        assert ("/review/decision/" in page.text) and (f"?lang={code}" in page.text)


def test_a_record_that_is_busy_is_said_and_the_verdict_can_be_sent_again(local: tuple[Visitor, Path]) -> None:
    visitor, ledger = local
    with opened(ledger) as made:
        (id,) = record(made, "default", ("a patient donkey", HELD), sender="iva")
    with closing(sqlite3.connect(ledger, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        page = visitor.judge(id, label="toxic", note="<keep> this", seen="0")
    assert (page.status, page.problem, page.headers["retry-after"]) == (503, "ledger_unavailable", "2")
    assert "nothing was recorded just now" in page.text
    fields = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page.text))
    assert fields["note"] == "&lt;keep&gt; this"
    assert visitor.post("/review/verdict", fields | {"note": "<keep> this"}).status == 303
    assert verdicts(ledger, "default", id) == [("relabel", "toxic", "local", "<keep> this")]


def test_without_a_policy_the_page_says_how_to_start_it() -> None:
    with serving() as program:
        page = Visitor(program.port).get("/review")
    assert (page.status, page.problem) == (501, "no_policy")
    assert "chatward serve --policy community" in page.text


def test_the_pages_arent_part_of_the_api(local: tuple[Visitor, Path]) -> None:
    visitor, _ = local
    assert not [
        path
        for path in json.loads(visitor.get("/openapi.json").text)["paths"]
        if "review" in path and "v1" not in path
    ]


def test_nothing_here_is_a_page(local: tuple[Visitor, Path]) -> None:
    visitor, _ = local
    page: Page = visitor.get("/review/elsewhere")
    assert (page.status, page.problem) == (404, "not_found")
    assert visitor.get("/review/").headers["location"] == "/review"
