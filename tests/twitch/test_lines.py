"""Lines of IRC, whatever comes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chatward.faces.bots.twitch.irc import LONGEST_LINE, Line, Recent, Splitter, parse
from chatward.faces.bots.twitch.messages import incoming, is_elsewhere, plain, roles


def test_a_line_is_taken_apart() -> None:
    raw = rb"@a=1;b;c=x\s\:\\y\r\n\z\ :ann!ann@host PRIVMSG #Alpha :gg :wp  "
    assert parse(raw) == Line({"a": "1", "b": "", "c": "x ;\\y\r\nz"}, "ann", "PRIVMSG", ("#Alpha", "gg :wp  "))
    found = parse(b"ping tmi.twitch.tv")
    assert found == Line({}, "", "PING", ("tmi.twitch.tv",)) and found.channel == ""
    empty = parse(b"PRIVMSG #Alpha :")
    assert empty is not None and (empty.channel, empty.text) == ("alpha", "")


@given(st.binary(max_size=300))
def test_no_bytes_are_too_odd(raw: bytes) -> None:
    for begun in (b"", b"@id=1;room-id=2;user-id=3;badges=", b":x PRIVMSG #a :"):
        line = parse(begun + raw.replace(b"\n", b""))
        if line is not None:
            message = incoming(line, "alpha")
            assert message is None or (message.id and len(message.name) <= 64 and len(message.roles) <= 21)
            is_elsewhere(line)


@given(st.lists(st.binary(max_size=40)), st.integers(1, 9))
def test_lines_are_the_same_however_they_come(lines: list[bytes], size: int) -> None:
    lines = [line.replace(b"\n", b"").replace(b"\r", b"") for line in lines]
    data = b"".join(line + b"\r\n" for line in lines)
    splitter = Splitter()
    got = [line for i in range(0, len(data), size) for line in splitter.feed(data[i : i + size])]
    assert got == [line for line in lines if line] and splitter.dropped == 0


def test_a_line_without_end_takes_no_memory() -> None:
    splitter = Splitter()
    for _ in range(100):
        assert splitter.feed(b"x" * 65_536) == []
        assert len(splitter._begun) <= LONGEST_LINE
    assert splitter.feed(b"\nPING :a\r\n" + b"y" * (LONGEST_LINE + 1) + b"\nPING :b\n") == [
        b"PING :a",
        b"PING :b",
    ]
    assert splitter.dropped == 2


def test_ids_are_remembered_and_forgotten() -> None:
    recent = Recent(3)
    assert [recent.is_new(id) for id in "aabcda"] == [True, False, True, True, True, True]
    assert len(recent._ids) == 3


def test_what_the_network_says_is_told_on_one_line() -> None:
    assert plain("a\r\nb\x1b[31m\u202e c\x00") == "a b [31m c"
    assert len(plain("x" * 9999)) == 200


def test_roles_are_the_badges() -> None:
    assert roles({"badges": "lead_moderator/1,subscriber/12"}) == ("lead_moderator", "moderator", "subscriber")
    assert roles({"badges": "broadcaster/1", "mod": "0"}) == ("broadcaster", "moderator")
    assert roles({"mod": "1"}) == ("moderator",) and roles({}) == ()
    assert len(roles({"badges": ",".join(f"badge{i}/1" for i in range(1000))})) == 20
