"""`POST /v1/moderations`, asked by OpenAI's own client and by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI

from chatward import Detector
from chatward.faces.api.keys import add_key
from chatward.faces.api.openai import MODELS, UNANSWERED
from tests.api.program import Program, serving
from tests.conftest import ROOT

PATH = "/v1/moderations"
INSULT = "uninstall you donkey"
SWEARING = "fuck this game"
IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Keys by name, and under "file" the file that knows them."""
    file = tmp_path_factory.mktemp("keys") / "keys.json"
    made = {"bot": add_key(file, "bot")[1], "metrics": add_key(file, "metrics", scopes=("metrics",))[1]}
    made["few"] = add_key(file, "few", messages_per_minute=2)[1]
    return {**made, "file": str(file)}


@pytest.fixture(scope="module")
def service(keys: dict[str, str]) -> Iterator[Program]:
    with serving("--keys", keys["file"], key=keys["bot"]) as program:
        yield program


@pytest.fixture(scope="module")
def client(service: Program) -> Iterator[OpenAI]:
    with asking(service, service.key) as made:
        yield made


def asking(service: Program, key: str) -> OpenAI:
    """Return OpenAI's client, which doesn't ask again where it is refused."""
    return OpenAI(base_url=f"{service.url}/v1", api_key=key, max_retries=0)


def test_openais_client_gets_what_the_detector_says(client: OpenAI) -> None:
    detector = Detector.load()
    assert detector.threshold is not None
    texts = [INSULT, "gg wp", SWEARING, "", "noob team"]
    answer = client.moderations.create(input=texts)
    assert answer.id.startswith("modr-")
    assert answer.id != client.moderations.create(input=texts).id
    assert answer.model == detector.fingerprint
    # Severe enough to be flagged, and no harassment of anybody.
    assert detector.threshold.flags(detector.predict([SWEARING])[0])
    for result, prediction in zip(answer.results, detector.predict(texts), strict=True):
        score = prediction.probabilities["toxic"]
        assert result.category_scores.harassment == pytest.approx(score, abs=1e-6)
        expected = prediction.severity >= detector.threshold.threshold and prediction.label == "toxic"
        assert result.flagged == result.categories.harassment == expected
    assert [result.flagged for result in answer.results[:4]] == [True, False, False, False]


def test_what_the_model_cant_tell_is_null(client: OpenAI) -> None:
    (result,) = client.moderations.create(input=INSULT).results
    assert (result.categories.harassment, result.category_applied_input_types.harassment) == (True, ["text"])
    for shape, nothing in (
        (result.categories, None),
        (result.category_scores, None),
        (result.category_applied_input_types, []),
    ):
        told = shape.to_dict()
        assert (
            set(told)
            == {"harassment", *UNANSWERED}
            == {f.alias or n for n, f in type(shape).model_fields.items()}
        )
        assert all(told[name] == nothing for name in UNANSWERED)
        assert (shape.hate, shape.sexual_minors, shape.self_harm_intent) == (nothing,) * 3


def test_a_string_a_list_and_parts_are_input(client: OpenAI) -> None:
    def scores(given: Any) -> list[float]:
        return [result.category_scores.harassment for result in client.moderations.create(input=given).results]

    assert scores(INSULT) == scores([INSULT]) == scores([{"type": "text", "text": INSULT}])
    parts = [{"type": "text", "text": part} for part in ("you are a", "donkey")]
    assert scores(parts) == scores("you are a\ndonkey")
    assert len(scores([f"gg {number}" for number in range(1000)])) == 1000


@pytest.mark.parametrize("model", sorted(MODELS))
def test_openais_names_are_answered_by_the_loaded_model(client: OpenAI, model: str) -> None:
    assert client.moderations.create(input="gg", model=model).model.startswith("dota2@")


def test_a_long_text_is_read_to_its_end(client: OpenAI) -> None:
    calm = "we should ward the river and then take the tower. " * 40
    results = client.moderations.create(input=[calm, f"{calm}noob team, uninstall, you idiots {calm}"]).results
    assert [result.category_scores.harassment > 0.5 for result in results] == [False, True]


@pytest.mark.parametrize(
    ("name", "error", "status", "words"),
    [
        ("wrong", openai.AuthenticationError, 401, "no such API key"),
        ("metrics", openai.PermissionDeniedError, 403, "this takes 'classify'"),
        ("few", openai.RateLimitError, 429, "may ask for 2 messages a minute"),
    ],
)
def test_a_key_that_may_not_is_an_error_of_the_client(
    service: Program,
    keys: dict[str, str],
    name: str,
    error: type[openai.APIStatusError],
    status: int,
    words: str,
) -> None:
    with asking(service, keys.get(name, "cw_wrong")) as client:
        if name == "few":
            client.moderations.create(input=["gg", "wp"])
        with pytest.raises(error, match=words) as refused:
            client.moderations.create(input="gg")
    assert refused.value.status_code == status
    assert ("retry-after" in refused.value.response.headers) == (status == 429)


def test_the_client_asks_again_when_it_may(service: Program, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    key = add_key(file, "quick", messages_per_minute=60)[1]
    with (
        serving("--keys", file, key=key) as program,
        OpenAI(base_url=f"{program.url}/v1", api_key=key) as client,
    ):
        client.moderations.create(input=["gg"] * 60)
        assert not client.moderations.create(input="gg").results[0].flagged


@pytest.mark.parametrize(
    ("body", "status", "code", "param", "words"),
    [
        ({}, 400, "missing_required_parameter", "input", "Missing required parameter: 'input'."),
        ({"input": None}, 400, "invalid_type", "input", "expected a string, an array of strings"),
        ({"input": 4}, 400, "invalid_type", "input", "expected a string, an array of strings"),
        ({"input": {"text": "gg"}}, 400, "invalid_type", "input", "expected a string, an array of strings"),
        ({"input": []}, 400, "empty_array", "input", "Expected an array with minimum length 1"),
        ({"input": ["gg", 4]}, 400, "invalid_type", "input[1]", "a valid string"),
        ({"input": ["gg", IMAGE]}, 400, "invalid_type", "input[1]", "a valid string"),
        (
            {"input": [{"type": "text", "text": "gg"}, IMAGE]},
            400,
            "invalid_value",
            "input[1].type",
            "reads text only",
        ),
        ({"input": [{"type": "text"}]}, 400, "missing_required_parameter", "input[0].text", "'input[0].text'"),
        ({"input": [{"type": "text", "text": "gg"}, "gg"]}, 400, "invalid_type", "input[1]", ""),
        ({"input": "a" * 20_001}, 400, "string_above_max_length", "input", "Expected up to 20,000 characters"),
        ({"input": ["gg", "a" * 20_001]}, 400, "string_above_max_length", "input[1]", "20,000 characters"),
        (
            {"input": [{"type": "text", "text": "a" * 15_000}] * 2},
            400,
            "string_above_max_length",
            "input",
            "in all",
        ),
        ({"input": ["gg"] * 1001}, 400, "array_above_max_length", "input", "Expected up to 1,000 items"),
        ({"input": "\ufdfa" * 20_000}, 413, "text_too_long", None, "more than 1,000 pieces"),
        (
            {"input": "gg", "model": "gpt-4"},
            404,
            "model_not_found",
            "model",
            "The model 'gpt-4' does not exist",
        ),
        ({"input": "gg", "model": 4}, 400, "invalid_type", "model", "Invalid type for 'model'"),
        ({"input": "gg", "colour": 1}, 400, "unknown_parameter", "colour", "Unknown parameter: 'colour'."),
        ([], 400, "invalid_type", None, "Invalid type for 'body'"),
        (b"", 400, "json_invalid", None, "could not parse the JSON body"),
        (b'{"input": "secret', 400, "json_invalid", None, "could not parse the JSON body"),
        (b'{"input": "secret \\ud800"}', 400, "json_invalid", None, "could not parse the JSON body"),
        (b"\xff", 400, "json_invalid", None, "could not parse the JSON body"),
    ],
)
def test_what_cant_be_answered_is_refused_in_openais_shape(
    service: Program, body: Any, status: int, code: str, param: str | None, words: str
) -> None:
    answer = service.ask(PATH, body)
    error = answer.body["error"]
    assert (answer.status, error["code"], error["param"]) == (status, code, param)
    assert error["type"] == "invalid_request_error"
    assert words in error["message"]
    assert "secret" not in str(answer.body)


def test_refusals_are_the_clients_errors(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="does not exist here") as missing:
        client.moderations.create(input="gg", model="gpt-4")
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError, match="reads text only") as bad:
        client.moderations.create(input=[IMAGE])  # type: ignore[list-item]
    assert (bad.value.code, bad.value.param) == ("invalid_value", "input[0].type")


@pytest.mark.parametrize(
    "text", ["", " ", "\x00", "\u200b", "ﷺ", "e\u0301" * 3000, "<b>'; DROP TABLE x;--</b>", "gg " * 6000]
)
def test_odd_texts_are_answered_and_logged_nowhere(service: Program, client: OpenAI, text: str) -> None:
    assert 0 <= client.moderations.create(input=[text]).results[0].category_scores.harassment <= 1
    assert "DROP" not in "".join(service.lines)
    assert service.key not in "".join(service.lines)


def test_a_key_in_the_address_is_refused_in_openais_shape(service: Program) -> None:
    answer = service.ask(f"{PATH}?api_key=x", {"input": "gg"})
    assert (answer.status, answer.body["error"]["code"]) == (400, "key_in_url")
    assert service.ask(PATH, b"input=gg", {"Content-Type": "text/plain"}).status == 415
    assert service.ask(PATH).status == 405


def test_a_model_without_thresholds_flags_nothing_and_says_so(tiny_model: Path) -> None:
    assert Detector.load(tiny_model).threshold is None
    with serving("--model", tiny_model) as program, asking(program, "none") as client:
        with pytest.raises(openai.InternalServerError, match="holds no threshold by which to flag") as refused:
            client.moderations.create(input="gg")
        assert (refused.value.status_code, refused.value.code) == (501, "no_threshold")


def test_the_docs_name_every_category() -> None:
    told = (ROOT / "docs" / "drop-in.md").read_text(encoding="utf-8")
    assert [name for name in ("harassment", *UNANSWERED) if f"`{name}`" not in told] == []
