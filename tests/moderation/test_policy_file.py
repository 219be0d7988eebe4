"""Reading a policy: what ships is sound, what is wrong is named, and the fingerprint is of the meaning."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatward import Detector
from chatward.errors import PolicyError
from chatward.moderation.phrases import words
from chatward.moderation.policy import Policy, parse_policy, read_policy
from chatward.moderation.policy_file import SHIPPED
from chatward.moderation.rules import Action, Rule, Step, lasting

WHOLE = """
name = "mine"
summary = "One."
quiet_days = 3
exempt_roles = ["moderator"]

[strikes]
half_life_days = 2

[[rules]]
name = "sure"
wrong_flags_per_1000 = 1
labels = ["toxic"]
action = "delete"
strikes = 1.5

[[escalation]]
strikes = 3.0
action = "timeout"
seconds = 600

[[allow]]
message = "ez game ez life"
reason = "our emote"
expires = 2027-01-31

[[deny]]
phrase = "free skins at"
action = "ban"
expires = 2027-01-31T18:00:00+02:00
"""


def changed(old: str, new: str) -> str:
    assert WHOLE.count(old) == 1, old
    return WHOLE.replace(old, new)


def test_every_key_is_read() -> None:
    of = parse_policy(WHOLE, "mine.toml")
    assert (of.name, of.summary, of.quiet_days, of.half_life_days) == ("mine", "One.", 3.0, 2.0)
    assert of.exempt_roles == ("moderator",)
    assert of.rules == (Rule("sure", 1.0, ("toxic",), Action("delete"), 1.5),)
    assert of.escalation == (Step(3.0, Action("timeout", 600)),)
    assert (of.allow[0].key, of.allow[0].reason, of.allow[0].name) == ("ez game ez life", "our emote", "1")
    assert of.allow[0].expires == datetime(2027, 2, 1, tzinfo=UTC)
    assert (of.deny[0].words, of.deny[0].action) == (("free", "skins", "at"), Action("ban"))
    assert of.deny[0].expires == datetime(2027, 1, 31, 16, tzinfo=UTC)
    assert of.text == WHOLE


def test_what_is_left_out_has_a_careful_default() -> None:
    of = parse_policy('name="m"\n[[deny]]\nphrase="x"\naction="flag"\n', "m")
    assert (of.quiet_days, of.half_life_days, of.exempt_roles, of.summary) == (7.0, 7.0, (), "")
    assert (of.deny[0].strikes, of.deny[0].expires, of.memory) == (0.0, None, timedelta(days=70))


# --- what ships ---


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("agreement", [1.0, 0.99])
def test_what_ships_fits_the_model_that_ships(name: str, agreement: float) -> None:
    of = read_policy(name)
    of.check(Detector.load(threads=1, agreement=agreement).facts)
    assert of.name == name and of.summary and of.quiet_days == 7
    assert "moderator" in of.exempt_roles


def test_what_ships_differs_as_its_summaries_say() -> None:
    streamer, community, strict = map(read_policy, SHIPPED)
    assert len({of.fingerprint for of in (streamer, community, strict)}) == 3

    def steps(of: Policy) -> set[str]:
        return {step.action.name for step in of.escalation}

    assert steps(streamer) == steps(community) == {"timeout"}
    assert steps(strict) == {"timeout", "ban"}
    assert not {rule.action.name for rule in streamer.rules} & {"flag", "hold"}
    for of in (streamer, community, strict):
        acting = [rule for rule in of.rules if rule.action.name not in ("flag", "hold")]
        assert all(rule.budget is not None and rule.budget <= 5 for rule in acting)
        assert not of.allow and not of.deny


# --- what is wrong ---

_RULE = '[[rules]]\nname = "more"\n'


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "mine"\n', "", "name is missing: give one, in quotes"),
        ('name = "mine"\n', "name = 3\n", "name is 3: it must be text in quotes"),
        ('name = "mine"\n', 'name = " "\n', "name is ' ': it must not be empty"),
        ('name = "mine"\n', 'name = "a\\nb"\n', "name is 'a\\nb': it must be one line"),
        ('name = "mine"\n', f'name = "{"x" * 61}"\n', "it has 61 characters: 60 is the most"),
        ("quiet_days = 3", "quiet_dais = 3", "unknown key 'quiet_dais': did you mean 'quiet_days'?"),
        ("quiet_days = 3", "quiet_days = nan", "quiet_days is nan: it must be a number from 0 to 3,650"),
        ("quiet_days = 3", "quiet_days = inf", "quiet_days is inf: it must be"),
        ("quiet_days = 3", "quiet_days = -1", "quiet_days is -1: it must be"),
        ("quiet_days = 3", "quiet_days = true", "quiet_days is True: it must be a number"),
        ("quiet_days = 3", f"quiet_days = 0x{'f' * 9000}", "quiet_days is a number too long to show"),
        ("quiet_days = 3", "zzz = 3", "unknown key 'zzz': the keys here are name, summary, quiet_days"),
        ('["moderator"]', '"moderator"', "exempt_roles is 'moderator': it must be a list of at most 100 texts"),
        ('["moderator"]', '["a", 2]', "exempt_roles is ['a', 2]: it must be text in quotes"),
        ('["moderator"]', '["a", "a"]', "exempt_roles is ['a', 'a']: one stands there twice"),
        ("[strikes]", "[[strikes]]", "it must be a table: write [strikes]"),
        (
            "half_life_days = 2",
            "half_life_days = 0",
            "strikes.half_life_days is 0: it must be a number from 0.01",
        ),
        ("half_life_days = 2", "half_live_days = 2", "unknown key 'strikes.half_live_days': did you mean"),
        ("[[rules]]", "[rules]", "it must be a list of tables: write [[rules]] above each"),
        (
            "per_1000 = 1",
            "per_1000 = 0",
            'rules[0].wrong_flags_per_1000 ("sure") is 0: it must be a number from 0.001',
        ),
        (
            'labels = ["toxic"]',
            'labels = ["nice"]',
            "rules[0].labels (\"sure\") is ['nice']: each must be one of",
        ),
        ('labels = ["toxic"]', 'labels = ["non-toxic"]', "each must be one of 'mild toxicity', 'toxic'"),
        ('action = "delete"', 'action = "allow"', "is 'allow': it must be one of flag, hold, delete, timeout"),
        (
            'action = "delete"\n',
            "",
            'rules[0].action ("sure") is missing: give one of flag, hold, delete, timeout',
        ),
        (
            'action = "delete"',
            'action = "ban"',
            "is 'ban': a score alone bans nobody: take a timeout, and ban in",
        ),
        (
            'action = "delete"',
            'action = "timeout"',
            'rules[0].seconds ("sure") is missing: a timeout needs to say how',
        ),
        (
            'action = "delete"',
            'action = "delete"\nseconds = 5',
            "only a timeout has seconds, and action is 'delete'",
        ),
        (
            "seconds = 600",
            "seconds = 0",
            "escalation[0].seconds is 0: it must be a whole number from 1 to 2,419,200",
        ),
        ("seconds = 600", "seconds = 1.5", "escalation[0].seconds is 1.5: it must be a whole number"),
        ("seconds = 600", "seconds = 2419201", "must be a whole number"),
        ("strikes = 1.5", "strikes = -1", 'rules[0].strikes ("sure") is -1: it must be'),
        ("strikes = 1.5", "", "[[escalation]] is never reached, since nothing counts strikes"),
        ("strikes = 3.0", "strikes = 2.55", "escalation[0].strikes is 2.55: steps are compared to one decimal"),
        ("strikes = 3.0", "strikes = 0", "escalation[0].strikes is 0: it must be a number from 0.1"),
        (
            "[[allow]]",
            _RULE + 'action="flag"\n[[allow]]',
            'rules[1].wrong_flags_per_1000 ("more") is missing: give how',
        ),
        (
            "[[allow]]",
            _RULE + 'labels=["toxic"]\naction="delete"\n[[allow]]',
            "rules[1].action (\"more\") is 'delete': without wrong_flags_per_1000 nobody knows how often",
        ),
        (
            "[[allow]]",
            _RULE + 'labels=["toxic"]\naction="flag"\nstrikes=1\n[[allow]]',
            "without wrong_flags_per_1000 a rule may count nothing against a sender",
        ),
        (
            "[[allow]]",
            '[[rules]]\nname="sure"\nwrong_flags_per_1000=5\naction="flag"\n[[allow]]',
            "rules[1].name is the same as that of rules[0]: leave one of them out",
        ),
        ('name = "sure"', 'name = "no-rule"', "rules[0].name is 'no-rule': decisions use that name"),
        ('name = "sure"', 'name = "deny-list/1"', "decisions use that name"),
        (
            "[[allow]]",
            '[[escalation]]\nstrikes=3\naction="ban"\n[[allow]]',
            "escalation[1].strikes is 3, not more than the 3 of the step before",
        ),
        (
            "[[allow]]",
            '[[escalation]]\nstrikes=4\naction="timeout"\nseconds=60\n[[allow]]',
            "escalation[1].action is timeout of 1 min, not more than the timeout of 10 min of the step before",
        ),
        (
            'strikes = 3.0\naction = "timeout"\nseconds = 600',
            'strikes = 1.5\naction = "ban"',
            "rules[0].strikes is 1.5, which alone reaches the ban of [[escalation]] at 1.5: a score alone bans nobody",
        ),
        ('message = "ez game ez life"\n', "", "allow[0] has neither message nor sender: give one of them"),
        ('message = "ez game', 'sender = "x"\nmessage = "ez game', "allow[0] has both message and sender"),
        ('"ez game ez life"', '"\u3164"', "nothing is left of it once it is read as the model reads it"),
        ('phrase = "free skins at"', 'phrase = ""', "deny[0].phrase is '': it must not be empty"),
        ('phrase = "free skins at"', 'phrase = "!!!"', "deny[0].phrase is '!!!': no word is left of it"),
        ('phrase = "free skins at"', f'phrase = "{"x" * 201}"', "it has 201 characters: 200 is the most"),
        (
            "[[deny]]",
            '[[deny]]\nphrase="FREE sk1ns, at!"\naction="flag"\n[[deny]]',
            "deny[1].phrase is the same as that of deny[0]",
        ),
        (
            "[[deny]]",
            '[[allow]]\nmessage="EZ game e\u034fz life"\n[[deny]]',
            "allow[1].message is the same as that of allow[0]",
        ),
        (
            "[[deny]]",
            '[[allow]]\nname="1"\nsender="x"\n[[deny]]',
            "allow[1].name is the same as that of allow[0]",
        ),
        (
            "expires = 2027-01-31\n",
            'expires = "2027-01-31"\n',
            "expires is '2027-01-31': it must be a date without quotes",
        ),
        ("expires = 2027-01-31\n", "expires = 9999-12-31\n", "it is too far away: leave it out for never"),
        ("expires = 2027-01-31\n", "expires = 18:00:00\n", "it must be a date without quotes"),
        ("[[deny]]", "[[deny]", "isn't valid TOML: "),
        ("quiet_days = 3", f"quiet_days = {'[' * 9000}", "isn't TOML that can be read: nested too deep"),
    ],
)
def test_what_is_wrong_is_named_with_its_cure(old: str, new: str, message: str) -> None:
    with pytest.raises(PolicyError) as caught:
        parse_policy(changed(old, new), "mine.toml")
    assert str(caught.value).startswith("mine.toml: ")
    assert message in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_policy_that_does_nothing_is_refused() -> None:
    with pytest.raises(PolicyError, match=r"neither \[\[rules\]\] nor \[\[deny\]\] has an entry"):
        parse_policy('name = "m"', "m.toml")


def test_lists_have_an_end() -> None:
    entries = "".join(f'[[deny]]\nphrase = "word{i}"\naction = "flag"\n' for i in range(10_001))
    with pytest.raises(PolicyError, match="deny has 10,001 entries: 10,000 is the most"):
        parse_policy('name = "m"\n' + entries, "m.toml")


def test_a_file_that_cant_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"no policy 'comunity': .*did you mean 'community'\?"):
        read_policy("comunity")
    with pytest.raises(
        PolicyError, match=r"ships \(streamer, community, strict\) nor a file of that name: check"
    ):
        read_policy(tmp_path / "none.toml")
    with pytest.raises(PolicyError, match=r"can't be read \(it is a folder\): give a TOML file"):
        read_policy(tmp_path)
    with pytest.raises(PolicyError, match="can't be read"):
        read_policy("a\0b")
    (tmp_path / "latin").write_bytes('name = "né"'.encode("latin-1"))
    with pytest.raises(PolicyError, match=r"isn't UTF-8 \(byte 10\): save it as UTF-8 text"):
        read_policy(str(tmp_path / "latin"))
    (tmp_path / "long").write_bytes(b"#" * (8 * 1024 * 1024 + 1))
    with pytest.raises(PolicyError, match="is longer than 8 MiB"):
        read_policy(tmp_path / "long")


def test_a_byte_order_mark_and_line_ends_of_windows_are_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xef\xbb\xbf" + WHOLE.replace("\n", "\r\n").encode())
    assert read_policy(path) == parse_policy(WHOLE, "x")


@given(st.text(max_size=60), st.integers(0, len(WHOLE)))
def test_whatever_stands_there_is_read_or_refused(text: str, place: int) -> None:
    try:
        found = parse_policy(WHOLE[:place] + text + WHOLE[place:], "mine.toml")
    except PolicyError as error:
        assert str(error).startswith("mine.toml: ")
    else:
        assert parse_policy(found.text, "again") == found


# --- fingerprint ---


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[[deny]]", "# a comment\n[[deny]]"),
        ('name = "mine"', 'name = "yours"'),
        ('summary = "One."\n', ""),
        ("quiet_days = 3", "quiet_days = 3.0"),
        ('reason = "our emote"', 'reason = "an emote"'),
        ('"moderator"', '"Moderator"'),
        ("expires = 2027-01-31\n", "expires = 2027-02-01T01:00:00+01:00\n"),
        ('"ez game ez life"', '"EZ  game ez LIFE"'),
        ('name = "sure"\nwrong_flags_per_1000 = 1\n', 'wrong_flags_per_1000 = 1.0\nname = "sure"\n'),
    ],
)
def test_the_fingerprint_is_of_the_meaning(old: str, new: str) -> None:
    assert parse_policy(changed(old, new), "x").fingerprint == parse_policy(WHOLE, "y").fingerprint


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("quiet_days = 3", "quiet_days = 4"),
        ('["moderator"]', '["moderator", "admin"]'),
        ("half_life_days = 2", "half_life_days = 3"),
        ('name = "sure"', 'name = "surely"'),
        ("per_1000 = 1", "per_1000 = 5"),
        ('labels = ["toxic"]\n', ""),
        ('action = "delete"', 'action = "hold"'),
        ("strikes = 1.5", "strikes = 1"),
        ("strikes = 3.0", "strikes = 3.1"),
        ("seconds = 600", "seconds = 601"),
        ('message = "ez game ez life"', 'message = "ez game"'),
        ('message = "ez game ez life"', 'sender = "ez game ez life"'),
        ("expires = 2027-01-31\n", ""),
        ('phrase = "free skins at"', 'phrase = "free skins"'),
        ('action = "ban"', 'action = "ban"\nstrikes = 1'),
        ("T18:00:00+02:00", "T18:00:01+02:00"),
    ],
)
def test_another_meaning_has_another_fingerprint(old: str, new: str) -> None:
    found = parse_policy(changed(old, new), "x").fingerprint
    assert found != parse_policy(WHOLE, "x").fingerprint
    assert len(found) == 16 and int(found, 16) >= 0


# --- words ---


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Free, SK1NS-at!", "free skins at"),
        ("bit.ly/win_now", "bit ly win now"),
        ("加我wechat吧", "加 我 wechat 吧"),
        ("नमस्ते जी", "नमस्ते जी"),
        ("free🙂skins ❤️", "free 🙂 skins ❤"),
        ("f r e e skins", "free skins"),
        ("...", ""),
    ],
)
def test_words_of_a_phrase(text: str, found: str) -> None:
    assert words(text) == tuple(found.split())


def test_times_as_people_say_them() -> None:
    said = {
        90: "90 s",
        60: "1 min",
        600: "10 min",
        3600: "1 h",
        5400: "90 min",
        86400: "1 day",
        604800: "7 days",
    }
    assert {seconds: lasting(seconds) for seconds in said} == said
