"""What hidden names hide in the lines, and what they leave."""

from __future__ import annotations

from typing import Any

import pytest

from chatward.faces.match.match import STEAM_OFFSET
from chatward.faces.match.names import Names
from chatward.faces.match.opendota import read_match
from tests.match.made import match


def masked(text: str, names: dict[int, str] | None = None, pro: str | None = None) -> str:
    """Return *text* as it is shown with names hidden. names: of places 0 to 9, instead of the made ones; pro: a professional's, of place 8."""
    value = match(chat=())
    for place, name in (names or {}).items():
        value["players"][place]["personaname"] = name
    value["players"][8]["name"] = pro
    return Names(read_match(value, "it"), hidden=True).masked(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("add 1005 or U:1:1005", "add Dire 1 or Dire 1"),
        (f"[U:1:1005] is {1005 + STEAM_OFFSET}", "[Dire 1] is Dire 1"),
        ("STEAM_0:1:502 steam_1:1:502, STEAM 0:1:502", "Dire 1 Dire 1, Dire 1"),
        ("STEAM_0:0:502", "Radiant 5"),
        ("STEAM_0:1:50, STEAM_0:1:5021 and 10050", "STEAM_0:1:50, STEAM_0:1:5021 and 10050"),
        ("match 7100000001", "match (match)"),
    ],
)
def test_ids_in_each_of_steams_forms(text: str, shown: str) -> None:
    assert masked(text) == shown


@pytest.mark.parametrize(
    "said",
    [
        "midnight tea",
        "midnight  tea",
        "midnight-tea",
        "midnight – tea",
        "midnight_tea",
        "MIDNIGHT.TEA",
        "midnighttea",
        "mídnïght tea",
        "mi\u0301dnight tea\u0301",
        "mid\u200bnight tea",
        "midnight teas",
        "ｍｉｄｎｉｇｈｔ tea",
        "𝓶𝓲𝓭𝓷𝓲𝓰𝓱𝓽 tea",
    ],
)
def test_a_whole_name_with_trivial_changes(said: str) -> None:
    assert masked(f"hey {said}, {said}") == "hey Radiant 2, Radiant 2"


@pytest.mark.parametrize(
    ("name", "text", "shown"),
    [
        ("Grey_Socks", "Grey Socks greysocks grey sock _grey_socks_", "Dire 1 Dire 1 Dire 1 _Dire 1_"),
        ("SaltMiner", "salt miner, salt-miner", "Dire 1, Dire 1"),
        ("Ondine", "ondine's, Ondines’ and ondiné", "Dire 1's, Dire 1’ and Dire 1"),
        ("Ali", "alı ALI Alice alis", "Dire 1 Dire 1 Alice alis"),
        ("Straße", "die straße hier, STRASSE", "die Dire 1 hier, Dire 1"),
        ("Łukø", "luko lukø", "Dire 1 Dire 1"),
        ("Артём", "артем, Артёму", "Dire 1, Артёму"),
        ("مُحَمَّد", "محمد", "Dire 1"),
        ("x.*", "x.* xyz", "Dire 1 xyz"),
        ("(=^.^=)", "gg (=^.^=)!", "gg Dire 1!"),
        ("❤️ Varn ❤️", "❤ varn ❤, varn", "Dire 1, Dire 1"),
        ("~gg~", "~gg~ is no gg", "Dire 1 is no gg"),
        ("a", "a gg", "a gg"),
        ("...", "gg ...", "gg ..."),
        ("Ha", "he has it, ha", "he has it, Dire 1"),
        ("Ana", "an a", "an a"),
    ],
)
def test_names_of_all_kinds(name: str, text: str, shown: str) -> None:
    assert masked(text, {5: name}) == shown


def test_what_stays() -> None:
    stays = "varnish123 xVarnishx varn v4rnish, salt, merchant"
    assert masked(stays) == stays


def test_a_professionals_name() -> None:
    assert masked("nice Saltlord, saltlord's salt merchant", pro="SaltLord") == "nice Dire 4, Dire 4's Dire 4"
    assert masked("nice Saltlord") == "nice Saltlord"


@pytest.mark.parametrize(
    ("names", "text", "shown"),
    [
        ({}, "who is Kestrel", "who is Radiant 1 or Dire 2"),
        ({5: "kes_trel"}, "kestrels", "Radiant 1 or Dire 1 or Dire 2"),
        ({6: "Kestrels"}, "kestrel and Kestrels", "Radiant 1 and Dire 2"),
        ({0: "Oak", 6: "Oak Barrel"}, "oak, oak barrel", "Radiant 1, Dire 2"),
    ],
)
def test_several_of_one_name(names: dict[int, str], text: str, shown: str) -> None:
    assert masked(text, names) == shown


@pytest.mark.parametrize("name", ["gg", "OK", "G.G", "ez mid", "Noob", "xD", "Axe", "Anti-Mage"])
def test_a_name_that_everybody_says_stays(name: str) -> None:
    text = f"{name} wp, {name.lower()} gg ok"
    assert masked(text, {5: name}) == text


def test_a_hero_who_is_not_in_the_match_is_a_name() -> None:
    assert masked("hi zeus", {5: "Zeus"}) == "hi Dire 1"


def test_two_names_in_one_character() -> None:
    names: dict[int, Any] = {5: "x1", 6: "2y"}
    assert masked("x½y", names) == "Dire 1Dire 2"
