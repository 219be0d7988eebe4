"""The discovery document by which Google's own client finds Perspective's API here; and how comments are cut."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from textwrap import dedent
from typing import Any, cast

import httplib2
import openai
import pytest
from googleapiclient import discovery
from googleapiclient.errors import UnknownApiNameOrVersion

from chatward.faces.api.discovery import document
from chatward.faces.api.dropin import halves
from chatward.faces.api.keys import add_key
from chatward.faces.api.perspective import SCORES, sentences
from chatward.faces.api.perspective_shapes import AnalyzeCommentRequest
from tests.api.program import Program, serving
from tests.conftest import ROOT

DISCOVERY = "/$discovery/rest"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    file = tmp_path_factory.mktemp("keys") / "keys.json"
    with serving("--keys", file, key=add_key(file, "bot")[1]) as program:
        yield program


def test_without_keys_the_sample_works_as_it_is() -> None:
    with serving() as program:
        address = f"{program.url}{DISCOVERY}?version=v1alpha1"
        with discovery.build(
            "commentanalyzer", "v1alpha1", discoveryServiceUrl=address, http=httplib2.Http()
        ) as client:
            body = {"comment": {"text": "you noob"}, "requestedAttributes": {"TOXICITY": {}}}
            scores = client.comments().analyze(body=body).execute()["attributeScores"]
        assert scores["TOXICITY"]["summaryScore"]["value"] > 0.5
        refused = program.ask(DISCOVERY, headers={"Host": "evil.example"})
        assert (refused.status, refused.body["error"]["status"]) == (421, "FAILED_PRECONDITION")


def test_the_docs_examples_work(service: Program) -> None:
    told = (ROOT / "docs" / "drop-in.md").read_text(encoding="utf-8")
    blocks = [
        dedent(block) for block in re.findall(r"(?:^    .+\n|^\n(?=    ))+", told, re.M) if "client" in block
    ]
    assert len(blocks) == 2
    for block, answer in zip(blocks, ("attributeScores", "harassment=True"), strict=True):
        *before, last = block.replace("http://127.0.0.1:8080", service.url).strip().splitlines()
        names = {"KEY": service.key, "openai": openai}
        exec("\n".join(before), names)
        with closing(cast(Any, names["client"])):
            assert answer in str(eval(last, names))


def test_the_discovery_document_leads_back_to_where_it_was_asked_for(service: Program) -> None:
    answer = service.ask(f"{DISCOVERY}?version=v1alpha1", key="")
    assert (answer.status, answer.body["rootUrl"]) == (200, f"{service.url}/")
    assert answer.headers["cache-control"] == "no-store"
    for host, scheme, root in (
        ("chat.example:8443", "https", "https://chat.example:8443/"),
        ("[::1]:80", "", "http://[::1]:80/"),
    ):
        headers = {"Host": host, "X-Forwarded-Proto": scheme}
        assert service.ask(DISCOVERY, headers=headers, key="").body["rootUrl"] == root
    for host in ("evil.example/x?", "user@evil.example", 'a"b', "<script>", "a b", "a:b", "[evil]"):
        answer = service.ask(DISCOVERY, headers={"Host": host}, key="")
        assert answer.status == 400
        assert host not in str(answer.body)
    address = f"{service.url}{DISCOVERY}?version={{apiVersion}}"
    with closing(httplib2.Http()) as http, pytest.raises(UnknownApiNameOrVersion):
        discovery.build("commentanalyzer", "v2", discoveryServiceUrl=address, http=http)


def test_the_discovery_document_and_the_docs_name_every_field() -> None:
    fields = {field.alias for field in AnalyzeCommentRequest.model_fields.values()}
    assert set(document("http://x/")["schemas"]["AnalyzeCommentRequest"]["properties"]) == fields
    told = (ROOT / "docs" / "drop-in.md").read_text(encoding="utf-8")
    names = {
        *fields,
        *SCORES,
        "SEVERE_TOXICITY",
        "IDENTITY_ATTACK",
        "THREAT",
        "SEXUALLY_EXPLICIT",
        "FLIRTATION",
    }
    assert [name for name in sorted(names) if f"`{name}" not in told] == []


def test_sentences() -> None:
    def parts(text: str) -> list[str]:
        return [text[begin:end] for begin, end in sentences(text)]

    assert parts("One. Two!  Three?\nfour") == ["One.", "Two!", "Three?", "four"]
    assert parts("v1.5 is 3.2x... ok") == ["v1.5 is 3.2x...", "ok"]
    assert parts("\r\n  a \r\n\r\n b \n") == ["a", "b"]
    assert parts(" \n ") == []


@pytest.mark.parametrize("text", ["ab", "  ", "a" * 999, "a b " * 99, "One two. " * 50, "x\n" * 7])
def test_halves_are_the_text_and_both_hold_something(text: str) -> None:
    first, second = halves(text)
    assert first + second == text
    assert first
    assert second
    assert len(text) < 9 or min(len(first), len(second)) >= len(text) // 3
    if "." in text:
        assert first.rstrip().endswith(".")
