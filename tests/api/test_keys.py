"""API keys: made, hashed, bounded and revoked; and what the service does with and without them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from chatward.errors import BusyError, KeysError, UnauthorisedError, UsageError
from chatward.faces.api import keys as keys_module
from chatward.faces.api.keys import Bucket, Key, Keys, add_key, read_keys, revoke_key
from tests.api.program import Program, serving
from tests.browser.program import free_port
from tests.conftest import Run

SENTENCE = "a very particular sentence"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "keys.json"


@pytest.fixture(scope="module")
def made(file: Path) -> dict[str, str]:
    """Keys of the service, by name."""
    return {
        "bot": add_key(file, "bot")[1],
        "reader": add_key(file, "reader", scopes=("classify",))[1],
        "slow": add_key(file, "slow", messages_per_minute=5)[1],
        "old": add_key(file, "old", expires=date(2020, 1, 1))[1],
        "gone": add_key(file, "gone")[1],
    }


@pytest.fixture(scope="module")
def service(tiny_model: Path, file: Path, made: dict[str, str]) -> Iterator[Program]:
    with serving("--model", tiny_model, "--keys", file, "--host", "0.0.0.0", key=made["bot"]) as program:
        yield program


def test_only_hashes_are_kept(file: Path, made: dict[str, str]) -> None:
    text = file.read_text(encoding="utf-8")
    assert not any(secret in text or secret[3:] in text for secret in made.values())
    assert file.stat().st_mode & 0o777 == 0o600
    assert all(re.fullmatch(r"cw_[\w-]{43}", secret) for secret in made.values())
    assert len(set(made.values())) == len(made)


def test_who_has_a_key_is_answered(service: Program, made: dict[str, str]) -> None:
    for headers in (
        {"Authorization": f"Bearer {made['bot']}"},
        {"authorization": f"bearer {made['bot']}"},
        {"X-API-Key": made["bot"]},
        {"X-Goog-Api-Key": made["bot"]},
    ):
        assert service.classify("gg", headers=headers, key="").status == 200


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "key_missing"),
        ({"Authorization": "Bearer "}, "key_missing"),
        ({"Authorization": "Basic Ym90OngK"}, "key_missing"),
        ({"Authorization": "Bearer cw_" + "x" * 43}, "key_unknown"),
        ({"Authorization": "Bearer bot"}, "key_unknown"),
        ({"X-API-Key": "é"}, "key_unknown"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/classify", "/v1/moderate", "/metrics", "/v1/review", "/v1/nothing"])
def test_who_has_none_or_a_wrong_one_is_refused(
    service: Program, headers: dict[str, str], code: str, path: str
) -> None:
    body = {"messages": [SENTENCE]} if path in {"/v1/classify", "/v1/moderate"} else None
    answer = service.ask(path, body, {k: v.encode().decode("latin-1") for k, v in headers.items()}, key="")
    assert (answer.status, answer.code) == (401, code)
    assert answer.headers["www-authenticate"] == 'Bearer realm="chatward"'


def test_the_service_tells_how_it_is_without_a_key(service: Program) -> None:
    for path in ("/livez", "/readyz", "/openapi.json"):
        assert service.ask(path, key="").status == 200


def test_a_key_in_the_address_is_refused(service: Program, made: dict[str, str]) -> None:
    for query in (
        f"key={made['bot']}",
        f"api_key={made['bot']}",
        f"x={made['bot']}",
        f"API_KEY={made['bot']}",
        "access_token=whatever",
        f"x=1&{made['bot']}",
    ):
        for key in ("", made["bot"]):
            answer = service.ask(f"/v1/classify?{query}", {"messages": ["gg"]}, key=key)
            assert (answer.status, answer.code) == (400, "key_in_url")
            assert made["bot"] not in json.dumps(answer.body)


def test_a_header_twice_is_refused(service: Program, made: dict[str, str]) -> None:
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=20)
    connection.putrequest("GET", "/metrics")
    for secret in (made["bot"], "cw_" + "x" * 43):
        connection.putheader("Authorization", f"Bearer {secret}")
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 400
    assert json.loads(answer.read())["error"]["code"] == "header_twice"
    connection.close()


def test_a_key_may_do_what_it_was_made_for(service: Program, made: dict[str, str]) -> None:
    assert service.classify("gg", key=made["reader"]).status == 200
    answer = service.ask("/metrics", key=made["reader"])
    assert (answer.status, answer.code) == (403, "scope_missing")
    assert answer.body["error"]["message"] == (
        "the key 'reader' may 'classify', and this takes 'metrics': ask for a key that may, made with `chatward keys add NAME --space reader --scope metrics`"
    )
    for path in ("/v1/review", "/v1/export", "/v1/decisions/x"):
        assert service.ask(path, key=made["reader"]).status == 403
    assert service.moderate({"text": "gg"}, key=made["reader"]).status == 403


def test_a_key_may_ask_so_many_messages(service: Program, made: dict[str, str]) -> None:
    assert service.classify("gg", "gg", "gg", key=made["slow"]).status == 200
    assert service.classify("gg", "gg", key=made["slow"]).status == 200
    answer = service.classify("gg", key=made["slow"])
    assert (answer.status, answer.code) == (429, "rate_limited")
    assert 1 <= int(answer.headers["retry-after"]) <= 13
    assert service.classify("gg").status == 200, "another's key has a limit of its own"


def test_expired_and_revoked_keys_are_refused_at_once(
    service: Program, file: Path, made: dict[str, str]
) -> None:
    answer = service.classify("gg", key=made["old"])
    assert (answer.status, answer.code) == (401, "key_expired")
    assert service.classify("gg", key=made["gone"]).status == 200
    revoke_key(file, "gone")
    time.sleep(1.2)
    assert service.classify("gg", key=made["gone"]).status == 401
    file.write_text("{", encoding="utf-8")  # a spoiled file takes nobody's key away
    time.sleep(1.2)
    assert service.classify("gg").status == 200


def test_no_secret_and_no_chat_is_ever_written(service: Program, made: dict[str, str]) -> None:
    service.classify(SENTENCE)
    service.ask(f"/v1/classify?key={made['bot']}", {"messages": [SENTENCE]})
    service.ask("/v1/classify", b'{"messages": ["' + SENTENCE.encode())
    service.ask("/v1/classify", {"messages": [SENTENCE], SENTENCE: 1})
    metrics = service.ask("/metrics").body
    assert service.stop() == 0
    written = "".join(service.lines) + metrics
    assert SENTENCE not in written
    assert not any(secret in written for secret in made.values())


def test_beyond_loopback_keys_are_needed(chatward: Run, tmp_path: Path) -> None:
    done = chatward("serve", "--host", "0.0.0.0", "--port", free_port())
    assert done.returncode == UsageError.exit_code
    assert "--host 0.0.0.0 opens the service to the network, and it has no keys" in done.stderr
    done = chatward("serve", "--keys", tmp_path / "none.json", "--port", free_port())
    assert done.returncode == KeysError.exit_code
    assert "make a file of keys with `chatward keys add NAME --keys none.json`" in done.stderr


def test_the_command_makes_lists_and_revokes(chatward: Run, tmp_path: Path) -> None:
    done = chatward(
        "keys",
        "add",
        "bot",
        "--space",
        "my-game",
        "--scope",
        "classify",
        "--messages-per-minute",
        600,
        cwd=tmp_path,
    )
    assert done.returncode == 0
    assert re.fullmatch(r"cw_[\w-]{43}\n", done.stdout)
    assert "isn't shown again" in done.stderr
    (key,) = read_keys(tmp_path / "keys.json")
    assert (key.name, key.space, key.scopes, key.messages_per_minute) == ("bot", "my-game", ("classify",), 600)
    listed = chatward("keys", "list", cwd=tmp_path).stdout
    assert re.search(r"bot +my-game +classify +600 +never", listed)
    assert done.stdout.strip() not in listed
    again = chatward("keys", "add", "bot", cwd=tmp_path)
    assert (again.returncode, "there is a key 'bot' already" in again.stderr) == (2, True)
    assert chatward("keys", "revoke", "bot", cwd=tmp_path).returncode == 0
    assert read_keys(tmp_path / "keys.json") == []
    lacking = chatward("keys", "revoke", "bot", cwd=tmp_path)
    assert (lacking.returncode, "there is no key 'bot'" in lacking.stderr) == (2, True)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["a b"], "'a b' can't be a name"),
        (["bot", "--space", "../x"], "'../x' can't be a space"),
        (["bot", "--scope", "all"], "'all' isn't a scope: give some of classify, moderate, review, metrics"),
        (["bot", "--expires", "soon"], "--expires 'soon' isn't a day"),
        (["bot", "--expires", "2026-01-01"], "--expires 2026-01-01 is past, and the key could never be used"),
    ],
)
def test_wrong_keys_arent_made(chatward: Run, tmp_path: Path, options: list[str], words: str) -> None:
    done = chatward("keys", "add", *options, cwd=tmp_path)
    assert done.returncode == UsageError.exit_code
    assert words in done.stderr
    assert not (tmp_path / "keys.json").exists()


GOOD: dict[str, Any] = {"name": "bot", "space": "bot", "sha256": "0" * 64}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("x", "isn't a file of keys"),
        ("[]", "has no list 'keys'"),
        (json.dumps({"keys": [1]}), r"keys\[0\] isn't an object"),
        (json.dumps({"keys": [{"name": "bot"}]}), r"keys\[0\] has no usable 'space'"),
        (json.dumps({"keys": [GOOD | {"sha256": "cw_secret"}]}), "has an unusable 'sha256'"),
        (json.dumps({"keys": [GOOD | {"scopes": ["all"]}]}), r"has scopes \['all'\]"),
        (json.dumps({"keys": [GOOD | {"messages_per_minute": 0}]}), "has messages_per_minute 0"),
        (json.dumps({"keys": [GOOD | {"expires": "soon"}]}), "expires 'soon'"),
        (json.dumps({"keys": [GOOD | {"admin": True}]}), "has 'admin', which isn't known"),
        (json.dumps({"keys": [GOOD, GOOD]}), "has name 'bot' twice"),
    ],
)
def test_a_spoiled_file_is_told(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(content, encoding="utf-8")
    path.chmod(0o600)
    with pytest.raises(KeysError, match=words) as found:
        Keys(path)
    assert "cw_secret" not in str(found.value)


def test_a_file_that_others_may_change_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    add_key(path, "bot")
    path.chmod(0o666)
    with pytest.raises(
        KeysError, match="can be changed by others: take that right away with `chmod 600 keys.json`"
    ):
        Keys(path)


def test_a_bucket_fills_by_the_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(keys_module.time, "monotonic", lambda: now)
    key = Key("bot", "bot", "", messages_per_minute=60)
    bucket = Bucket(60, 60, now)
    bucket.take(key, 60)
    with pytest.raises(BusyError) as found:
        bucket.take(key, 10)
    assert found.value.retry_after == 10
    now = 10.0
    bucket.take(key, 10)
    with pytest.raises(BusyError):
        bucket.take(key, 1)
    now = 1000.0
    bucket.take(key, 500)  # more than a minute's: let through once it is full


def test_an_unknown_key_is_told_nothing_but_that(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    add_key(path, "bot")
    with pytest.raises(UnauthorisedError, match="no such API key"):
        Keys(path).find("x")


def test_a_key_may_be_of_its_last_day(chatward: Run, tmp_path: Path) -> None:
    # Tomorrow, too: midnight may come while the command runs.
    for day in (datetime.now(UTC) + timedelta(days=days) for days in (0.01, 1)):
        name = f"bot-{day:%d}"
        chatward("keys", "add", name, "--expires", f"{day:%Y-%m-%d}", cwd=tmp_path)
    assert read_keys(tmp_path / "keys.json")


def test_what_becomes_of_the_file_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(keys_module, "_CHECK_SECONDS", -1.0)
    path = tmp_path / "keys.json"
    secret = add_key(path, "bot")[1]
    whole = path.read_text(encoding="utf-8")
    wrong = json.dumps({"keys": [{"name": "x", "space": "x", "sha256": "0" * 64, secret: 1}]})
    keys = Keys(path)

    def write(text: str) -> None:
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600)

    def told() -> str:
        for _ in range(3):
            assert keys.find(secret).name == "bot"
        return capfd.readouterr().err

    assert told() == ""
    still = "; the keys as they were are still taken\n"
    for spoil, words in (
        (path.unlink, "can't be read (No such file or directory)"),
        (lambda: write("{"), "isn't a file of keys"),
        (lambda: write(wrong), "has 'cw_...', which isn't known"),
        (lambda: write(whole), "can be read again; its keys are taken"),
        (lambda: path.chmod(0o666), "can be changed by others"),
        (lambda: path.chmod(0o600), "can be read again; its keys are taken"),
    ):
        spoil()
        line = told()
        assert line.startswith("chatward: ") and line.count("\n") == 1 and words in line
        assert line.endswith(still) == ("again" not in words)
        assert secret not in line
        assert told() == ""


def test_keys_made_and_revoked_at_once_are_all_there(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    for n in range(8):
        add_key(path, f"old-{n}")
    script = (
        "import sys; from pathlib import Path; from chatward.faces.api.keys import add_key, revoke_key\n"
        "path, n = Path(sys.argv[1]), sys.argv[2]; print(flush=True); sys.stdin.read()\n"
        "for m in range(10): add_key(path, f'new-{n}-{m}')\n"
        "revoke_key(path, f'old-{n}')\n"
    )
    many = [
        subprocess.Popen(
            [sys.executable, "-c", script, path, str(n)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for n in range(8)
    ]
    for process in many:
        assert process.stdout is not None and process.stdout.readline() == b"\n"
    for process in many:
        assert process.stdin is not None
        process.stdin.close()
    for process in many:
        assert process.wait(timeout=60) == 0
        assert process.stdout is not None
        process.stdout.close()
    assert {key.name for key in read_keys(path)} == {f"new-{n}-{m}" for n in range(8) for m in range(10)}


def test_a_link_stays_one(tmp_path: Path) -> None:
    target, link = tmp_path / "real" / "keys.json", tmp_path / "link.json"
    target.parent.mkdir()
    link.symlink_to(target)
    add_key(link, "bot")
    add_key(target, "other")
    revoke_key(link, "bot")
    assert link.is_symlink()
    assert [key.name for key in read_keys(target)] == ["other"]


def test_a_folder_that_isnt_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(KeysError, match="can't be written"):
        add_key(tmp_path / "none" / "keys.json", "bot")
    with pytest.raises(KeysError, match="can't be read"):
        revoke_key(tmp_path / "keys.json", "bot")
    assert list(tmp_path.iterdir()) == []
