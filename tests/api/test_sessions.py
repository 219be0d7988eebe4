"""Sessions of the review page: found among other cookies, and so many of a key."""

from __future__ import annotations

import pytest

from chatward.faces.api.sessions import COOKIE, MOST, Sessions, value_of


@pytest.mark.parametrize(
    ("cookies", "value"),
    [
        (f"{COOKIE}=X", "X"),
        (f"{COOKIE}=X; foo=a b", "X"),
        (f'foo={{"a": "b", 1}}; {COOKIE}=X;bar', "X"),
        (f"a[b]=1;{COOKIE}=X; \xe9=\xff", "X"),
        (f"{COOKIE}=X; {COOKIE}=Y", "X"),
        (f"{COOKIE}=a=b", "a=b"),
        (f"x{COOKIE}=X", None),
        (f"{COOKIE}2=X", None),
        (f"{COOKIE.upper()}=X", None),
        (f"{COOKIE}=", None),
        (COOKIE, None),
        ("", None),
    ],
)
def test_one_cookie_is_found_whatever_the_others_are(cookies: str, value: str | None) -> None:
    assert value_of(cookies) == value


def test_a_keys_oldest_session_ends_and_never_anothers() -> None:
    sessions = Sessions()
    other = sessions.begin("other")
    mine = [sessions.begin("mine") for _ in range(MOST + 2)]

    def whose(value: str) -> str | None:
        return sessions.key_hash_of(f"{COOKIE}={value}; foo=a b")

    assert [whose(value) for value in mine] == [None, None, *["mine"] * MOST]
    assert whose(other) == "other"
    sessions.end(f"{COOKIE}={mine[-1]}")
    assert whose(mine[-1]) is None
