"""`POST /v1/moderate` and the record over HTTP."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chatward.faces.api.keys import add_key
from tests.api.program import Program, serving

# The shipped model: a toy's thresholds would have to be made up.
POLICY = """
name = "test"
summary = "Acts at once."
quiet_days = 0
exempt_roles = ["moderator"]

[strikes]
half_life_days = 7.0

[[rules]]
name = "toxic"
labels = ["toxic"]
wrong_flags_per_1000 = 10
action = "delete"
strikes = 1.0

[[rules]]
name = "mild"
labels = ["mild toxicity"]
action = "hold"

[[escalation]]
strikes = 3.0
action = "timeout"
seconds = 600

[[escalation]]
strikes = 5.0
action = "ban"
"""
BAD = "uninstall you stupid donkey"
MILD = "fuck this game"


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("policy") / "test.toml"
    path.write_text(POLICY, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    file = tmp_path_factory.mktemp("keys") / "keys.json"
    made = {name: add_key(file, name)[1] for name in ("alpha", "beta")}
    made["alpha-mod"] = add_key(file, "alpha-mod", space="alpha", scopes=("review",))[1]
    return file, made


@pytest.fixture(scope="module")
def service(
    policy: Path, keys: tuple[Path, dict[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Program]:
    ledger = tmp_path_factory.mktemp("ledger") / "ledger.db"
    with serving("--policy", policy, "--ledger", ledger, "--keys", keys[0], key=keys[1]["alpha"]) as program:
        yield program


def decided(answer: Any) -> list[dict[str, Any]]:
    assert answer.status == 200, answer.body
    found: list[dict[str, Any]] = answer.body["decisions"]
    return found


def test_strikes_count_one_after_another_and_escalate(service: Program) -> None:
    found = decided(service.moderate(*({"text": BAD, "sender": "u-1", "id": f"s{n}"} for n in range(6))))
    assert [(d["action"], d["seconds"]) for d in found] == [
        ("delete", None),
        ("delete", None),
        ("timeout", 600),
        ("timeout", 600),
        ("ban", None),
        ("ban", None),
    ]
    assert [round(d["strikes_before"]) for d in found] == [0, 1, 2, 3, 4, 5]
    (other,) = decided(service.moderate({"text": BAD, "sender": "u-2"}))
    assert (other["action"], other["strikes_before"]) == ("delete", 0)
    assert all(d["enforced"] and d["rule"] == "toxic" for d in found)
    assert BAD not in "".join(d["reason"] for d in found)


def test_who_is_exempt_and_what_is_clean_is_allowed(service: Program) -> None:
    exempt, clean = decided(
        service.moderate(
            {"text": BAD, "sender": "m", "roles": ["moderator"]}, {"text": "gg wp", "sender": "u-3"}
        )
    )
    assert exempt["action"] == clean["action"] == "allow"


def test_the_same_id_is_decided_once(service: Program) -> None:
    (first,) = decided(service.moderate({"text": BAD, "sender": "u-4", "id": "once"}))
    (again,) = decided(service.moderate({"text": BAD, "sender": "u-4", "id": "once"}))
    assert (first["repeated"], again["repeated"]) == (False, True)
    assert {**again, "repeated": False, "prediction": None} == {**first, "prediction": None}
    one, two = decided(service.moderate(*[{"text": "gg", "id": "twice"}] * 2))
    assert one["id"] == two["id"]
    fresh, conflict = decided(
        service.moderate({"text": "fine", "id": "fresh"}, {"text": "other words", "id": "once"})
    )
    assert (fresh["action"], conflict["message_id"], conflict["error"]["code"]) == ("allow", "once", "conflict")
    assert "the message id 'once' was decided before, with another text" in conflict["error"]["message"]
    assert "action" not in conflict
    (kept,) = decided(service.moderate({"text": "fine", "id": "fresh"}))
    assert kept["repeated"], "what didn't conflict was recorded"


def test_what_is_held_waits_for_a_moderator_and_an_overturn_takes_strikes_back(
    service: Program, keys: tuple[Path, dict[str, str]]
) -> None:
    moderator = keys[1]["alpha-mod"]
    held, deleted = decided(
        service.moderate(
            {"text": MILD, "sender": "u-5", "id": "held", "channel": "all"},
            {"text": BAD, "sender": "u-5", "id": "d"},
        )
    )
    assert held["action"] == "hold"
    queue = service.ask("/v1/review?limit=200", key=moderator).body["entries"]
    (entry,) = [entry for entry in queue if entry["id"] == held["id"]]
    assert (entry["text"], entry["channel"], entry["needs_review"]) == (MILD, "all", True)
    assert entry["sender"] != "u-5"
    assert len(entry["sender"]) == 32
    assert deleted["id"] not in [entry["id"] for entry in queue]
    appealed = service.ask(f"/v1/decisions/{deleted['id']}/appeal", {"text": "I was quoting somebody"})
    assert appealed.status == 200
    assert appealed.body["appeals"][0]["text"] == "I was quoting somebody"
    first = service.ask("/v1/review?limit=1", key=moderator).body
    assert [entry["id"] for entry in first["entries"]] == [deleted["id"]], "appeals come first"
    assert first["next"] == deleted["id"]
    verdict = service.ask(
        f"/v1/decisions/{deleted['id']}/verdict", {"verdict": "overturn", "note": "ok"}, key=moderator
    )
    assert verdict.body["verdicts"] == [
        {
            "verdict": "overturn",
            "label": None,
            "by": "alpha-mod",
            "note": "ok",
            "at": verdict.body["verdicts"][0]["at"],
        }
    ]
    assert verdict.body["needs_review"] is False
    (later,) = decided(service.moderate({"text": BAD, "sender": "u-5"}))
    assert later["strikes_before"] == 0
    relabelled = {"verdict": "relabel", "label": "toxic"}
    assert service.ask(f"/v1/decisions/{held['id']}/verdict", relabelled, key=moderator).status == 200
    exported = service.ask("/v1/export", key=moderator)
    rows = {row["text"]: row for row in csv.DictReader(io.StringIO(exported.body))}
    assert rows[BAD]["label"] == "non-toxic"
    assert rows[MILD]["label"] == "toxic"


def test_one_space_never_sees_another(service: Program, keys: tuple[Path, dict[str, str]]) -> None:
    beta = keys[1]["beta"]
    (mine,) = decided(service.moderate({"text": MILD, "sender": "u-6", "id": "mine"}))
    assert service.ask(f"/v1/decisions/{mine['id']}").status == 200
    for path, body in (
        (f"/v1/decisions/{mine['id']}", None),
        (f"/v1/decisions/{mine['id']}/appeal", {"text": "x"}),
        (f"/v1/decisions/{mine['id']}/verdict", {"verdict": "keep"}),
        (f"/v1/review?after={mine['id']}", None),
    ):
        answer = service.ask(path, body, key=beta)
        assert (answer.status, answer.code) == (404, "record_not_found")
        assert MILD not in str(answer.body)
    assert service.ask("/v1/review", key=beta).body == {"entries": [], "next": None}
    assert MILD not in service.ask("/v1/export", key=beta).body
    (theirs,) = decided(service.moderate({"text": BAD, "sender": "u-1", "id": "once"}, key=beta))
    assert (theirs["strikes_before"], theirs["repeated"]) == (0, False)


@pytest.mark.parametrize(
    "text",
    [
        "'); DROP TABLE chatward_decisions;--",
        "<script>alert(1)</script>",
        "\x00\x1b[31m",
        "\u202egg",
        "{{7*7}}%s${x}",
    ],
)
def test_hostile_text_is_kept_as_it_is(service: Program, text: str) -> None:
    (found,) = decided(
        service.moderate({"text": text, "sender": text, "id": text, "channel": text, "roles": [text]})
    )
    entry = service.ask(f"/v1/decisions/{found['id']}").body
    assert (entry["text"], entry["message_id"], entry["channel"], entry["roles"]) == (text, text, text, [text])


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/v1/decisions/none", None, 404, "no decision 'none'"),
        ("/v1/decisions/none/verdict", {"verdict": "ok"}, 422, "verdict"),
        ("/v1/review?limit=0", None, 422, "limit"),
        ("/v1/review?after=none", None, 404, "no decision 'none'"),
        ("/v1/moderate", {"messages": [{"txt": "gg"}]}, 422, "messages[0].text: field required"),
        (
            "/v1/moderate",
            {"messages": [{"text": "gg", "id": "x" * 201}]},
            422,
            "messages[0].id: string should have at most 200",
        ),
    ],
)
def test_what_cant_be_done_is_told(service: Program, path: str, body: Any, status: int, words: str) -> None:
    answer = service.ask(path, body)
    assert answer.status == status
    assert words in answer.body["error"]["message"]


def test_a_verdict_that_contradicts_itself_is_told(service: Program) -> None:
    (found,) = decided(service.moderate({"text": MILD}))
    at = f"/v1/decisions/{found['id']}/verdict"
    assert service.ask(at, {"verdict": "relabel"}).status == 400
    assert service.ask(at, {"verdict": "keep", "label": "toxic"}).status == 400
    assert service.ask(f"/v1/decisions/{found['id']}/appeal", {"text": "  "}).status == 400


def test_actions_are_counted(service: Program) -> None:
    lines = service.ask("/metrics").body.splitlines()
    counts = {
        line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines if not line.startswith("#")
    }
    assert counts['chatward_actions_total{action="ban",enforced="true"}'] >= 2
    assert counts['chatward_actions_total{action="hold",enforced="true"}'] >= 1


def test_without_a_policy_nothing_is_decided(tiny_model: Path, tmp_path: Path) -> None:
    with serving("--model", tiny_model, cwd=tmp_path) as program:
        for path, body in (
            ("/v1/moderate", {"messages": [{"text": "gg"}]}),
            ("/v1/review", None),
            ("/v1/export", None),
        ):
            answer = program.ask(path, body)
            assert (answer.status, answer.code) == (501, "no_policy")
            assert "start it with `chatward serve --policy community`" in answer.body["error"]["message"]
    assert list(tmp_path.iterdir()) == []
