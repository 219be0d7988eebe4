"""What a worker is told that can't be: a sentence, an exit code, and nothing written."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from chatward.errors import StreamAccessError, UsageError
from chatward.faces.stream.addresses import Address, address, read_password
from chatward.faces.stream.starting import Options
from chatward.faces.stream.starting import start as begin
from tests.conftest import Run
from tests.stream.conftest import Start
from tests.stream.server import RedisServer, redis_server, until

PASSWORD = "Sw0rdf1sh"


@pytest.mark.parametrize(
    ("text", "is_at"),
    [
        ("redis://h/chat", Address("chat", "h", 6379, None, 0)),
        ("redis://h:7000/3/chat", Address("chat", "h", 7000, None, 3)),
        ("redis://u:p%40w@h/0/a%2Fb", Address("a/b", "h", 6379, None, 0, None, "u", "p@w")),
        ("redis://[::1]:7000/0/12", Address("12", "::1", 7000, None, 0)),
        ("rediss://h/0/chat", Address("chat", "h", 6379, None, 0, ())),
        (
            "rediss://h/0/chat?ssl_ca_certs=/a.pem",
            Address("chat", "h", 6379, None, 0, (("ssl_ca_certs", "/a.pem"),)),
        ),
        ("unix:///run/redis.sock/2/chat", Address("chat", None, 6379, "/run/redis.sock", 2)),
    ],
)
def test_addresses(text: str, is_at: Address) -> None:
    found = address(text, "--from", None)
    assert found == is_at
    assert address(str(found).replace("a/b", "a%2Fb"), "--from", None).at("x").server == is_at.server
    assert "p@w" not in repr(found) + str(found)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("chat", "--from 'chat' is no address of a stream: give redis://HOST:PORT/DATABASE/STREAM"),
        ("http://h/0/chat", "is no address of a stream"),
        ("redis://h", "names no stream"),
        ("redis://h/0", "--from 'redis://h/0' names no stream: give redis://HOST:PORT/DATABASE/STREAM, as redis://localhost:6379/0/chat"),
        ("redis://h/0/", "names no stream"),
        ("redis://h/x/chat", "names no stream"),
        ("redis://h/1/2/chat", "names no stream"),
        ("unix:///0/chat", "names no stream"),
        ("unix:///run/redis.sock/chat", "names no stream"),
        ("redis:///0/chat", "names no host"),
        ("redis://h:x/0/chat", "holds an address that can't be read"),
        ("redis://:Sw0rdf1sh@h/0", "--from 'redis://h/0' names no stream"),
        (":Sw0rdf1sh@h/0", "--from 'h/0' is no address"),
        ("redis://:Sw0rd/f1sh@h/0/chat", "can't be read"),
        ("redis://h/0/chat?password=Sw0rdf1sh", "asks for 'password', which means nothing there"),
        ("rediss://h/0/chat?connection_class=x", "asks for 'connection_class'"),
    ],
)  # fmt: skip
def test_addresses_that_are_none(text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        address(text, "--from", None)
    assert words in str(caught.value)
    assert "Sw0rd" not in str(caught.value) and "f1sh" not in str(caught.value)


def test_a_bare_name_is_beside_the_other_stream() -> None:
    near = address("redis://u@h:7000/3/chat", "--from", "pw")
    assert address("answers", "--to", "other", near) == near.at("answers")
    assert near.beside(near.at("answers"))
    assert not near.beside(address("redis://h:7000/4/chat", "--to", "pw"))


def test_passwords(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHATWARD_REDIS_PASSWORD", raising=False)
    assert read_password(None) is None
    monkeypatch.setenv("CHATWARD_REDIS_PASSWORD", "env")
    assert read_password(None) == "env"
    file = tmp_path / "password"
    with pytest.raises(StreamAccessError, match=r"can't be read \(No such file"):
        read_password(file)
    file.write_text(f"{PASSWORD}\n")
    file.chmod(0o640)
    assert read_password(file) == PASSWORD
    file.chmod(0o644)
    with pytest.raises(StreamAccessError, match=r"may be read by everybody \(mode 0644\)"):
        read_password(file)
    file.chmod(0o600)
    for wrong in (b"", b"one\ntwo", b"\xff"):
        file.write_bytes(wrong)
        with pytest.raises(StreamAccessError, match="holds no password: write it there"):
            read_password(file)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"target": "chat"}, "--to is the stream 'chat' that --from reads, and would be answered itself: name another"),
        ({"target": "redis://:pw@127.0.0.1:1/0/chat"}, "--to is the stream 'chat' that --from reads"),
        ({"dead": "chat"}, "--dead is the stream 'chat' that --from reads"),
        ({"target": "chat:dead"}, "--to and --dead are both 'chat:dead': name two streams"),
        ({"dead": "redis://h/0/x"}, "--dead takes the name of a stream on the server of --from"),
        ({"start": "5-0"}, "--start is '5-0': give 0 for all that is in the stream"),
        ({"keep": ("match", "label")}, "--keep label would hide what an answer says by that name"),
    ],
)  # fmt: skip
def test_options_that_cant_be(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        begin(Options(**{"source": "redis://127.0.0.1:1/0/chat", "target": "answers", **options}))
    assert words in str(caught.value)


def test_a_server_that_isnt_there(chatward: Run, server: RedisServer) -> None:
    server.stop()
    done = chatward("stream", "--from", server.url("chat", f":{PASSWORD}@"), "--to", "answers")
    assert done.returncode == 94 and done.stdout == ""
    assert done.stderr == f"chatward: {server.name} can't be reached (Connection refused): see to it, or give another address with --from\n"  # fmt: skip
    done = chatward("stream", "--from", "redis://no-such-host.invalid/0/chat", "--to", "answers")
    assert done.returncode == 94 and "redis at no-such-host.invalid:6379 can't be reached (" in done.stderr


def test_a_server_of_answers_that_isnt_there(chatward: Run, server: RedisServer) -> None:
    done = chatward("stream", "--from", server.url("chat"), "--to", "redis://127.0.0.1:1/0/answers")
    assert done.returncode == 94 and "127.0.0.1:1 can't be reached" in done.stderr
    assert "see to it, or give another address with --to" in done.stderr


def test_passwords_that_are_wrong_missing_right_and_never_shown(
    chatward: Run, start: Start, tmp_path: Path
) -> None:
    with redis_server(tmp_path / "locked", "--requirepass", PASSWORD, password=PASSWORD) as locked:
        for user, env, words in (
            ("", {}, "Authentication required"),
            ("", {"CHATWARD_REDIS_PASSWORD": "Tr0ut"}, "invalid username-password pair"),
            (":Tr0ut@", {"CHATWARD_REDIS_PASSWORD": PASSWORD}, "invalid username-password pair"),
        ):
            done = chatward("stream", "--from", locked.url("chat", user), "--to", "answers", **env)
            assert done.returncode == 95, done.stderr
            assert f"chatward: {locked.name} doesn't let this user in (" in done.stderr
            assert words in done.stderr and "CHATWARD_REDIS_PASSWORD" in done.stderr
            assert "Tr0ut" not in done.stderr and PASSWORD not in done.stderr
        file = tmp_path / "password"
        file.write_text(PASSWORD)
        file.chmod(0o600)
        locked.feed(["gg"])
        workers = [
            start("--from", locked.url("chat", f":{PASSWORD}@")).ready(),
            start("--from", locked.url("chat"), CHATWARD_REDIS_PASSWORD=PASSWORD).ready(),
            start("--from", locked.url("chat"), "--password-file", file).ready(),
        ]
        until(lambda: locked.client.xlen("answers") == 1)
        assert all(PASSWORD not in worker.stop() for worker in workers)
        assert all(PASSWORD not in str(one) for one in locked.client.xinfo_groups("chat"))


def test_a_user_without_rights(chatward: Run, start: Start, server: RedisServer) -> None:
    def user(name: str, *rights: str) -> str:
        server.client.execute_command("ACL", "SETUSER", name, "on", f">{PASSWORD}", *rights)
        return server.url("chat", f"{name}:{PASSWORD}@")

    for number, rights in enumerate((("+ping",), ("+@all", "~chat"), ("~*", "+@all", "-xadd"))):
        done = chatward("stream", "--from", user(f"u{number}", *rights), "--to", "answers")
        assert done.returncode == 95, done.stderr
        assert f"{server.name} doesn't let this user do " in done.stderr and PASSWORD not in done.stderr
    assert server.client.keys() in ([], [b"chat"]) and server.client.xlen("chat") == 0
    # What docs/stream.md says is enough.
    document = (Path(__file__).parents[2] / "docs" / "stream.md").read_text(encoding="utf-8")
    (line,) = [line for line in document.splitlines() if line.strip().startswith("ACL SETUSER")]
    rights = line.split()[5:]
    worker = start("--from", user("enough", *rights)).ready()
    server.feed(["gg"])
    server.client.xadd("chat", {"other": "x"})
    until(lambda: server.client.xlen("answers") == 1 and server.client.xlen("chat:dead") == 1)
    assert "chatward: messages answered: 1 in " in worker.stop()
    assert server.client.xinfo_consumers("chat", "chatward") == []


def test_something_else_under_a_streams_name(chatward: Run, server: RedisServer) -> None:
    for key in ("chat", "answers", "chat:dead"):
        server.client.set(key, "mine")
        done = chatward("stream", "--from", server.url("chat"), "--to", "answers")
        assert done.returncode == 94, done.stderr
        assert f"chatward: {server.name} holds something else than a stream under one of the names: give others" in done.stderr  # fmt: skip
        assert server.client.get(key) == b"mine"
        server.client.delete(key)


def test_a_server_that_is_too_old_or_has_no_scripts(chatward: Run, tmp_path: Path) -> None:
    with redis_server(tmp_path / "old", "--rename-command", "EVAL", "") as old:
        done = chatward("stream", "--from", old.url("chat"), "--to", "answers")
        assert done.returncode == 94
        assert (
            f"chatward: {old.name} doesn't know what `chatward stream` needs (unknown command 'EVAL'"
            in done.stderr
        )
        assert "take Redis 7.0 or newer" in done.stderr


def test_a_server_that_is_full_or_a_replica_at_the_start(chatward: Run, server: RedisServer) -> None:
    server.client.config_set("maxmemory", "1")
    done = chatward("stream", "--from", server.url("chat"), "--to", "answers")
    assert (
        done.returncode == 94
        and "has no memory left (maxmemory), and so refuses to write: see to it" in done.stderr
    )
    server.client.config_set("maxmemory", "0")
    server.client.replicaof("127.0.0.1", 1)
    done = chatward("stream", "--from", server.url("chat"), "--to", "answers")
    assert done.returncode == 94 and "is a replica, which can't be written to: see to it" in done.stderr


def test_a_server_that_is_loading_its_data(chatward: Run, server: RedisServer) -> None:
    server.client.mset({f"key {n}": "x" * 100 for n in range(1000)})
    server.client.bgrewriteaof()
    until(lambda: not server.client.info("persistence")["aof_rewrite_in_progress"])
    server.stop()
    # Microseconds a key, and how often it looks at its clients meanwhile.
    server.start("--key-load-delay", "10000", "--loading-process-events-interval-bytes", "1024", wait=False)
    until(lambda: port_is_open(server.port))
    done = chatward("stream", "--from", server.url("chat"), "--to", "answers")
    assert done.returncode == 94, done.stderr
    assert (
        done.stderr
        == f"chatward: {server.name} is loading its data: see to it, or give another address with --from\n"
    )


def port_is_open(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def test_a_missing_library_names_the_extra(chatward: Run, tmp_path: Path) -> None:
    (tmp_path / "redis.py").write_text("raise ModuleNotFoundError(\"No module named 'redis'\", name='redis')")
    done = chatward(
        "stream", "--from", "redis://h/0/chat", "--to", "answers", PYTHONPATH=f"{tmp_path}{os.pathsep}"
    )
    assert done.returncode == 60
    assert (
        done.stderr
        == 'chatward: `chatward stream` needs the "redis" extra: pip install "chatward[redis]" (redis isn\'t installed)\n'
    )
