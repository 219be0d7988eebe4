"""Perspective's API, asked by Google's own client and by hand."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httplib2
import pytest
from google.auth.api_key import Credentials
from googleapiclient import discovery
from googleapiclient.errors import HttpError

from chatward import Detector
from chatward.faces.api.keys import add_key
from chatward.faces.api.perspective import SCORES, UNANSWERED
from chatward.faces.api.perspective_shapes import ANSWERED
from tests.api.program import Answer, Program, serving

ANALYZE = "/v1alpha1/comments:analyze"
DISCOVERY = "/$discovery/rest"
ALL: dict[str, Any] = {name: {} for name in ANSWERED}
INSULT = "uninstall you donkey"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Keys by name, and under "file" the file that knows them."""
    file = tmp_path_factory.mktemp("keys") / "keys.json"
    made = {"bot": add_key(file, "bot")[1], "metrics": add_key(file, "metrics", scopes=("metrics",))[1]}
    made |= {name: add_key(file, name, messages_per_minute=2)[1] for name in ("two", "few")}
    return {**made, "file": str(file)}


@pytest.fixture(scope="module")
def service(keys: dict[str, str]) -> Iterator[Program]:
    with serving("--keys", keys["file"], key=keys["bot"]) as program:
        yield program


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector.load()


def built(service: Program, **options: Any) -> Any:
    """Return Google's client as Perspective's documentation builds it, with the address changed."""
    return discovery.build(
        "commentanalyzer",
        "v1alpha1",
        discoveryServiceUrl=f"{service.url}{DISCOVERY}?version=v1alpha1",
        static_discovery=False,
        **options,
    )


def asked(service: Program, text: str = "gg wp", **more: Any) -> Answer:
    return service.ask(ANALYZE, {"comment": {"text": text}, "requestedAttributes": ALL, **more})


def test_googles_client_gets_what_the_detector_says(service: Program, detector: Detector) -> None:
    with built(service, credentials=Credentials(service.key)) as client:
        for text in (INSULT, "gg wp", "fuck this lag"):
            body = {
                "comment": {"text": text},
                "requestedAttributes": ALL,
                "languages": ["en"],
                "clientToken": "n-1",
            }
            answer = client.comments().analyze(body=body).execute()
            p = detector.predict([text])[0].probabilities
            expected = {
                "TOXICITY": 0.8 * p["mild toxicity"] + p["toxic"],
                "INSULT": p["toxic"],
                "PROFANITY": p["mild toxicity"] + p["toxic"] / 2,
            }
            scores = answer.pop("attributeScores")
            assert answer == {"languages": ["en"], "clientToken": "n-1"}
            assert set(scores) == set(expected) == set(SCORES)
            for name, value in expected.items():
                score = {"value": pytest.approx(value, abs=1e-6), "type": "PROBABILITY"}
                whole = {"begin": 0, "end": len(text), "score": score}
                assert scores[name] == {"summaryScore": score, "spanScores": [whole]}


def test_the_three_tell_an_insult_swearing_and_neither_apart(service: Program) -> None:
    found = {}
    for text in (INSULT, "fuck this lag", "gg wp"):
        scores = asked(service, text).body["attributeScores"]
        found[text] = [scores[name]["summaryScore"]["value"] > 0.55 for name in ANSWERED]
    assert found == {INSULT: [True, True, False], "fuck this lag": [True, False, True], "gg wp": [False] * 3}


def test_a_key_in_the_address_is_refused_and_the_client_says_so(service: Program) -> None:
    with closing(httplib2.Http()) as http, pytest.raises(HttpError) as refused:
        built(service, developerKey="anything", http=http)
    assert refused.value.status_code == 400
    assert "send it in the header `Authorization: Bearer KEY` or `X-Goog-Api-Key: KEY`" in refused.value.reason
    answer = service.ask(f"{ANALYZE}?key={service.key}", {}, key="")
    assert answer.status == answer.body["error"]["code"] == 400
    assert answer.body["error"]["status"] == "INVALID_ARGUMENT"


def test_a_key_can_be_sent_by_an_http_object_of_ones_own(service: Program) -> None:
    class WithKey(httplib2.Http):  # type: ignore[misc]
        def request(
            self, uri: str, method: str = "GET", body: Any = None, headers: Any = None, **more: Any
        ) -> Any:
            return super().request(
                uri, method, body, {**(headers or {}), "X-Goog-Api-Key": service.key}, **more
            )

    with built(service, http=WithKey()) as client:
        body = {"comment": {"text": INSULT}, "requestedAttributes": {"TOXICITY": {}}}
        assert list(client.comments().analyze(body=body).execute()["attributeScores"]) == ["TOXICITY"]


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [
        ("wrong", 401, "no such API key"),
        ("none", 401, "this takes an API key"),
        ("metrics", 403, "this takes 'classify'"),
        ("two", 429, "may ask for 2 messages a minute"),
    ],
)
def test_a_key_that_may_not_is_an_error_of_the_client(
    service: Program, keys: dict[str, str], name: str, status: int, words: str
) -> None:
    key = (
        {"http": httplib2.Http()}
        if name == "none"
        else {"credentials": Credentials(keys.get(name, "cw_wrong"))}
    )
    with built(service, **key) as client:
        call = client.comments().analyze(body={"comment": {"text": "gg"}, "requestedAttributes": ALL})
        if name == "two":
            call.execute()
            call.execute()
        with pytest.raises(HttpError, match=words) as refused:
            call.execute()
    assert refused.value.status_code == status
    assert ("retry-after" in refused.value.resp) == (status == 429)


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"comment": {"text": ""}}, "COMMENT_EMPTY", "Comment must be non-empty."),
        ({"comment": {"text": " \n\t"}}, "COMMENT_EMPTY", "Comment must be non-empty."),
        ({"comment": {}}, "COMMENT_EMPTY", "Comment must be non-empty."),
        ({"comment": None}, "COMMENT_EMPTY", "Comment must be non-empty."),
        ({"comment": {"text": "a" * 20_001}}, "COMMENT_TOO_LONG", "Comment text too long. Send up to 20,000"),
        (
            {"comment": {"text": "\ufdfa" * 20_000}},
            "COMMENT_TOO_LONG",
            "more than 1,000 pieces: send it in parts",
        ),
        ({"comment": {"text": "gg", "type": "HTML"}}, "INVALID_REQUEST", "only 'PLAIN_TEXT' comments"),
        ({"requestedAttributes": {}}, "NO_REQUESTED_ATTRIBUTES", "Missing requested_attributes"),
        ({"requestedAttributes": None}, "NO_REQUESTED_ATTRIBUTES", "Missing requested_attributes"),
        (
            {"requestedAttributes": {"TOXICITY": {}, "THREAT": {}}},
            "INVALID_REQUEST",
            "Unknown requested attribute: THREAT. The model can tell TOXICITY, INSULT and PROFANITY",
        ),
        ({"requestedAttributes": {"SEVERE_TOXICITY": {}}}, "INVALID_REQUEST", "attribute: SEVERE_TOXICITY."),
        ({"requestedAttributes": {"TOXICITY@6": {}}}, "INVALID_REQUEST", "attribute: TOXICITY@6."),
        ({"requestedAttributes": {"x" * 500: {}}}, "INVALID_REQUEST", f"attribute: {'x' * 77}.... The"),
        (
            {"requestedAttributes": {"MADE_UP": {}}, "dropUnsupportedAttributes": True},
            "INVALID_REQUEST",
            "attribute: MADE_UP. The model can tell TOXICITY, INSULT and PROFANITY: ask for these alone.",
        ),
        (
            {"requestedAttributes": {"TOXICITY": {"scoreType": "RAW"}}},
            "INVALID_REQUEST",
            "Requested score type RAW is not supported by attribute TOXICITY: ask for PROBABILITY",
        ),
        (
            {"languages": ["en", "ru"]},
            "LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE",
            "Attribute TOXICITY does not support request languages: ru",
        ),
        (
            {"languages": ["en\n"]},
            "LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE",
            "Attribute TOXICITY does not support request languages: en\n",
        ),
        (
            {"context": {"entries": [], "articleAndParentComment": {}}},
            "INVALID_REQUEST",
            "Context can have either entries or article_and_parent_comment, but both",
        ),
        (
            {"comment": {"text": "gg\n" * 1001}, "spanAnnotations": True},
            "INVALID_REQUEST",
            "Comment has 1,001 sentences, and span annotations are made of 1,000",
        ),
    ],
)
def test_what_cant_be_answered_is_refused_as_perspective_does(
    service: Program, change: dict[str, Any], kind: str, words: str
) -> None:
    answer = service.ask(ANALYZE, {"comment": {"text": "gg"}, "requestedAttributes": ALL, **change})
    error = answer.body["error"]
    assert (answer.status, error["code"], error["status"]) == (400, 400, "INVALID_ARGUMENT")
    assert words in error["message"]
    details = error["details"][0]
    assert details["@type"] == "type.googleapis.com/google.commentanalyzer.v1alpha1.Error"
    assert details["errorType"] == kind
    if kind.startswith("LANGUAGE"):
        told = {"attribute": "TOXICITY", "requestedLanguages": change["languages"]}
        assert details["languageNotSupportedByAttributeError"] == told


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ({"colour": 1}, "", 'Unknown name "colour": Cannot find field.'),
        ({"comment": {"txt": "gg"}}, "comment", "Unknown name \"txt\" at 'comment': Cannot find field."),
        ({"requestedAttributes": {"INSULT": {"x": 1}}}, "requested_attributes.INSULT", 'Unknown name "x"'),
        ({"comment": {"text": ["secret"]}}, "comment.text", "Invalid value at 'comment.text'"),
        ({"doNotStore": "yes"}, "do_not_store", "Invalid value at 'do_not_store'"),
        ({"languages": "en"}, "languages", "Invalid value at 'languages'"),
        ({"languages": ["en"] * 21}, "languages", "should have at most 20 items"),
        ({"languages": ["en", "e" * 21]}, "languages[1]", "should have at most 20 characters"),
        ({"clientToken": "x" * 1001}, "client_token", "should have at most 1000 characters"),
        ({"sessionId": "x" * 1001}, "session_id", "should have at most 1000 characters"),
        ({"communityId": "x" * 1001}, "community_id", "should have at most 1000 characters"),
        ({"context": {"entries": [{}] * 101}}, "context.entries", "should have at most 100 items"),
        (
            {"requestedAttributes": {f"A{n}": {} for n in range(51)}},
            "requested_attributes",
            "should have at most 50 items",
        ),
        (
            {"requestedAttributes": {"INSULT": {"scoreThreshold": "0.5"}}},
            "requested_attributes.INSULT.score_threshold",
            "",
        ),
        ([], "", "Invalid value: input should be an object"),
        (b"{comment: {text: 'secret'}}", "", "Invalid JSON payload received."),
        (b'{"comment": {"text": "secret \\ud800"}}', "", "Invalid JSON payload received."),
        (b"\xff", "", "Invalid JSON payload received."),
        (b"", "", "Invalid JSON payload received."),
    ],
)
def test_json_of_another_shape_is_refused_by_its_place(
    service: Program, body: Any, field: str, words: str
) -> None:
    answer = service.ask(ANALYZE, body)
    error = answer.body["error"]
    assert (answer.status, error["status"]) == (400, "INVALID_ARGUMENT")
    assert words in error["message"]
    assert "secret" not in str(answer.body)
    (details,) = error["details"]
    assert details["@type"] == "type.googleapis.com/google.rpc.BadRequest"
    assert details["fieldViolations"][0].get("field", "") == field


def test_spans_are_sentences_in_utf_16_and_the_summary_is_of_the_whole(
    service: Program, detector: Detector
) -> None:
    parts = ["😀 gg wp all!", "Then: you donkey, uninstall 😀😀.", "see you"]
    text = f" {parts[0]}  {parts[1]}\n{parts[2]} "
    scores = asked(service, text, spanAnnotations=True).body["attributeScores"]
    units = text.encode("utf-16-le")
    alone, whole = detector.predict(parts), detector.predict([text])[0]
    for name, score in SCORES.items():
        spans = scores[name]["spanScores"]
        assert [units[2 * span["begin"] : 2 * span["end"]].decode("utf-16-le") for span in spans] == parts
        assert [span["score"]["value"] for span in spans] == pytest.approx([score(p) for p in alone], abs=1e-6)
        assert scores[name]["summaryScore"]["value"] == pytest.approx(score(whole), abs=1e-6)


def test_scores_below_a_threshold_are_left_out(service: Program) -> None:
    wanted = {
        "TOXICITY": {"scoreThreshold": 0.5},
        "INSULT": {"scoreThreshold": 0},
        "PROFANITY": {"scoreThreshold": 1},
    }
    answer = asked(service, INSULT, requestedAttributes=wanted).body
    assert set(answer["attributeScores"]) == {"TOXICITY", "INSULT"}
    answer = asked(service, f"gg wp. {INSULT}.", requestedAttributes=wanted, spanAnnotations=True).body
    begins = {
        name: [span["begin"] for span in found["spanScores"]]
        for name, found in answer["attributeScores"].items()
    }
    assert begins == {"TOXICITY": [7], "INSULT": [0, 7]}
    assert asked(service, "gg wp", requestedAttributes={"INSULT": {"scoreThreshold": 1.5}}).body == {}
    exactly = asked(service, "gg wp").body["attributeScores"]["INSULT"]
    wanted = {"INSULT": {"scoreThreshold": exactly["summaryScore"]["value"]}}
    assert asked(service, "gg wp", requestedAttributes=wanted).body["attributeScores"]["INSULT"] == exactly


def test_what_isnt_supported_is_left_out_where_asked(service: Program) -> None:
    some = {name: {} for name in (*sorted(UNANSWERED), "INSULT")}
    answer = asked(service, requestedAttributes=some, dropUnsupportedAttributes=True)
    assert list(answer.body["attributeScores"]) == ["INSULT"]
    answer = asked(service, languages=["ru"], dropUnsupportedAttributes=True)
    assert answer.body == {"languages": ["ru"]}


def test_fields_go_by_both_their_names_and_nothing_is_kept(service: Program) -> None:
    first = asked(
        service, "unheard-of words", doNotStore=False, sessionId="s", communityId="c", languages=["en-GB"]
    )
    second = service.ask(
        ANALYZE,
        {
            "comment": {"text": "unheard-of words", "type": None},
            "requested_attributes": ALL,
            "do_not_store": True,
            "context": {"entries": [{"text": "unheard-of context"}]},
            "client_token": "\x00😀",
            "languages": None,
        },
    )
    assert (first.status, second.status) == (200, 200)
    assert first.body["attributeScores"] == second.body["attributeScores"]
    assert (first.body["languages"], "languages" in second.body) == (["en-GB"], False)
    assert second.body["clientToken"] == "\x00😀"
    assert "unheard-of" not in "".join(service.lines)
    assert service.key not in "".join(service.lines)


def test_a_long_comment_is_read_to_its_end(service: Program, keys: dict[str, str], detector: Detector) -> None:
    calm = "we should ward the river and then take the tower. " * 40
    long = calm + "noob team, uninstall, you idiots"
    beginning = detector.predict([long])[0]
    assert beginning.truncated
    assert beginning.probabilities["toxic"] < 0.1
    found = [asked(service, text).body["attributeScores"]["INSULT"] for text in (calm, long)]
    assert found[0]["summaryScore"]["value"] < 0.1 < 0.5 < found[1]["summaryScore"]["value"]
    assert [scores["spanScores"][0]["end"] for scores in found] == [len(calm), len(long)]
    # Its pieces are more than the key may ask messages, and it is one.
    body = {"comment": {"text": long}, "requestedAttributes": ALL}
    assert [service.ask(ANALYZE, body, key=keys["few"]).status for _ in range(3)] == [200, 200, 429]


@pytest.mark.parametrize(
    "text",
    ["\x00", "\u200b", "\u202e", "ﷺ", "e\u0301" * 3000, "🏴‍☠️", "<b>'; DROP TABLE x;--</b>", "gg " * 6000],
)
def test_odd_texts_are_answered(service: Program, text: str) -> None:
    answer = asked(service, text, spanAnnotations=True)
    assert answer.status == 200
    for name in ANSWERED:
        assert 0 <= answer.body["attributeScores"][name]["summaryScore"]["value"] <= 1


def test_nothing_is_learned_here(service: Program) -> None:
    with built(service, credentials=Credentials(service.key)) as client, pytest.raises(HttpError) as refused:
        client.comments().suggestscore(body={"comment": {"text": "gg"}}).execute()
    assert refused.value.status_code == 501
    assert "POST /v1/moderate" in refused.value.reason
    answer = service.ask("/v1alpha1/comments:suggestscore", {})
    assert answer.body["error"]["status"] == "UNIMPLEMENTED"


def test_other_methods_and_paths_are_refused_in_googles_shape(service: Program) -> None:
    assert (service.ask(ANALYZE).status, service.ask("/v1alpha1/nothing", {}).status) == (405, 404)
    assert service.ask("/v1alpha1/nothing", {}).body["error"]["status"] == "NOT_FOUND"
    assert service.ask(ANALYZE, {}, {"Content-Type": "text/plain"}).body["error"]["code"] == 400
    body = {"comment": {"text": "gg"}, "requestedAttributes": ALL}
    assert service.ask(f"{ANALYZE}?alt=json&prettyPrint=false&quotaUser=me", body).status == 200
    for query in ("alt=proto", "fields=languages", "callback=x"):
        answer = service.ask(f"{ANALYZE}?{query}", body)
        assert (answer.status, "Cannot bind query parameter" in answer.body["error"]["message"]) == (400, True)


def test_no_content_type_at_all_is_read_as_json(service: Program) -> None:
    """What `requests.post(url, data=json.dumps(...))` sends, as in Perspective's own older sample."""
    body = json.dumps({"comment": {"text": "gg"}, "requestedAttributes": {"TOXICITY": {}}}).encode()
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=20)
    headers = {"X-Goog-Api-Key": service.key} if service.key else {}
    connection.request("POST", ANALYZE, body, headers)
    answer = connection.getresponse()
    assert (answer.status, "TOXICITY" in json.loads(answer.read())["attributeScores"]) == (200, True)
    connection.close()
