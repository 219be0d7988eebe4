"""The committed OpenAPI is what the service says of itself, and random requests made from it find no 500."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import checks

from chatward.faces.api.app import openapi
from chatward.faces.api.limits import MAX_CHARACTERS, MAX_MESSAGES
from chatward.schema import ACTIONS, LABELS
from tests.api.program import Program, serving
from tests.conftest import ROOT

COMMITTED = ROOT / "docs" / "openapi.json"
# What a service that nothing happened to has written.
QUIET = ("chatward: serving", "chatward: decides", "chatward: to review", "chatward: in the first")
LABELS_OF_OPERATIONS = sorted(
    f"{method.upper()} {path}"
    for path, methods in json.loads(COMMITTED.read_bytes())["paths"].items()
    for method in methods
)
CHECKS = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    ledger = tmp_path_factory.mktemp("ledger") / "ledger.db"
    with serving("--policy", "strict", "--ledger", ledger, "--agreement", "0.995") as program:
        program.moderate({"text": "uninstall you stupid donkey", "id": "known", "sender": "somebody"})
        yield program


@pytest.fixture(scope="module")
def known(service: Program) -> str:
    """The id of a decision that is there."""
    return str(service.moderate({"text": "you are bad", "id": "there"}).body["decisions"][0]["id"])


@pytest.fixture(scope="module")
def api(service: Program) -> Any:
    return schemathesis.openapi.from_url(f"{service.url}/openapi.json")


def test_what_is_committed_is_what_is_served(service: Program) -> None:
    assert COMMITTED.read_bytes() == openapi(), "run `make openapi`"
    assert service.ask("/openapi.json").body == json.loads(COMMITTED.read_bytes())


def test_it_names_the_limits_and_the_levels() -> None:
    parts = json.loads(COMMITTED.read_bytes())["components"]["schemas"]
    messages = parts["ClassifyRequest"]["properties"]["messages"]
    assert (messages["minItems"], messages["maxItems"]) == (1, MAX_MESSAGES)
    assert messages["items"]["maxLength"] == MAX_CHARACTERS
    assert parts["PredictionShape"]["properties"]["label"]["enum"] == list(LABELS)
    assert parts["DecisionShape"]["properties"]["action"]["enum"] == list(ACTIONS)


@pytest.mark.parametrize("label", LABELS_OF_OPERATIONS)
def test_random_requests(api: Any, known: str, label: str) -> None:
    """Good requests and bad ones: no 500, and nothing that the OpenAPI doesn't say."""
    operation = next(
        found for found in (result.ok() for result in api.get_all_operations()) if found.label == label
    )
    modes = [schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE]
    asked = 0

    for mode in modes:

        @settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(operation.as_strategy(generation_mode=mode))
        def check(case: Any) -> None:
            nonlocal asked
            asked += 1
            if asked % 2 and "id" in (case.path_parameters or {}):
                case.path_parameters["id"] = known
            case.call_and_validate(checks=CHECKS)

        with suppress(Unsatisfiable):  # an operation that takes nothing can't be asked wrongly
            check()
    assert asked


def test_after_all_of_them_it_still_stands(service: Program) -> None:
    assert service.classify("gg").status == 200
    assert 'status="500"' not in service.ask("/metrics").body
    assert [line for line in service.lines if not line.startswith(QUIET)] == []
    assert service.memory_mb() < 400


def test_committed_examples_are_answered(service: Program, tmp_path: Path) -> None:
    parts = json.loads(COMMITTED.read_bytes())["components"]["schemas"]
    for path, name in (("/v1/classify", "ClassifyRequest"), ("/v1/moderate", "ModerateRequest")):
        for example in parts[name]["examples"]:
            assert service.ask(path, example).status == 200
