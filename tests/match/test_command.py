"""`chatward match`, as people run it."""

from __future__ import annotations

import bz2
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chatward.faces.match.match import STEAM_OFFSET
from tests.browser.program import free_port
from tests.conftest import Run
from tests.match.made import match, save, unparsed
from tests.match.server import Api, opendota
from tests.match.test_replay import made as replay


@pytest.fixture
def api() -> Iterator[Api]:
    with opendota() as served:
        yield served


@pytest.fixture
def run(chatward: Run, tmp_path: Path, api: Api) -> Run:
    """Run `chatward match` in an empty folder, its cache in another, against the API on loopback."""
    (tmp_path / "here").mkdir()

    def it(*arguments: object, **more: Any):  # type: ignore[no-untyped-def]
        more = {
            "XDG_CACHE_HOME": str(tmp_path / "cache"),
            "CHATWARD_OPENDOTA": api.url,
            "OPENDOTA_API_KEY": "",
            **more,
        }
        return chatward("match", *arguments, cwd=tmp_path / "here", **more)

    return it


def here(folder: Path) -> set[str]:
    return {path.name for path in (folder / "here").iterdir()}


def test_a_file(run: Run, tmp_path: Path) -> None:
    source = save(tmp_path / "m.json", match())
    done = run(source)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert here(tmp_path) == {"match-7100000001.html"}
    lines = done.stdout.splitlines()
    assert lines[0] == "Match 7100000001 · Radiant won · 29:23"
    assert any(
        line.split()[-5:] == ["6", "-", "-", "3", "3"] for line in lines if line.startswith("salt merchant")
    )
    assert "First flagged: 6:01 salt merchant (Earthshaker): uninstall the game you noob  toxic 95 %" in lines
    at = lines.index("The most severe of the others:")
    assert [line.split()[0] for line in lines[at - 1 : at + 5]] == [
        "First",
        "The",
        "6:09",
        "29:06",
        "21:40",
        "23:22",
    ]
    assert lines[at - 2].startswith(
        "Flagged: sure enough that this model wrongly flags about 10 of 1,000 clean lines"
    )
    assert lines[-1] == "Wrote match-7100000001.html"
    assert not (tmp_path / "cache" / "chatward").exists(), "a file needs no cache"


def test_a_number_is_fetched_once(run: Run, api: Api, tmp_path: Path) -> None:
    api.matches[7100000001] = match()
    for _ in range(2):
        assert run(7100000001).returncode == 0
    assert api.paths() == ["/matches/7100000001"]
    assert list((tmp_path / "cache" / "chatward" / "opendota").glob("*/match-7100000001.json"))


def test_standard_input_to_standard_output(run: Run, tmp_path: Path) -> None:
    done = run("-", "--json", "-", "--hide-names", stdin=json.dumps(match()).encode())
    assert done.returncode == 0, done.stderr
    values = json.loads(done.stdout)
    assert values["total"]["lines"] == 27
    assert "Radiant 2" in done.stderr
    assert "First flagged: 6:01 Dire 4 (Earthshaker): uninstall the game you noob" in done.stderr
    assert "midnight" not in done.stdout + done.stderr
    assert "710000" not in done.stdout + done.stderr
    assert here(tmp_path) == set(), "only JSON was asked for"


def test_both_by_name(run: Run, tmp_path: Path) -> None:
    done = run(save(tmp_path / "m.json", match()), "--out", "a.html", "--json", "a.json", "--hide-names")
    assert done.returncode == 0, done.stderr
    assert here(tmp_path) == {"a.html", "a.json"}
    assert done.stdout.splitlines()[-2:] == ["Wrote a.json", "Wrote a.html"]
    assert "7100000001" not in done.stdout


def test_hidden_names_are_not_in_the_files_name(run: Run, tmp_path: Path) -> None:
    assert run(save(tmp_path / "m.json", match()), "--hide-names").returncode == 0
    assert here(tmp_path) == {"match-hidden.html"}


@pytest.mark.parametrize("name", ["r.dem", "r.dem.bz2"])
def test_a_replay(run: Run, tmp_path: Path, name: str) -> None:
    source = tmp_path / name
    source.write_bytes(bz2.compress(replay()) if name.endswith("bz2") else replay())
    done = run(source)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "Match 7200000001 · Radiant won · 20:00"
    page = (tmp_path / "here" / "match-7200000001.html").read_text(encoding="utf-8")
    assert "team chat" in page
    assert "from a replay" in page


def test_a_replay_cut_short_is_shown_and_told(run: Run, tmp_path: Path) -> None:
    data = replay()
    source = tmp_path / "half.dem"
    source.write_bytes(data[: int.from_bytes(data[8:12], "little") - 100])
    done = run(source)
    assert done.returncode == 0, done.stderr
    told = "The replay is cut short at 1:02: what was said later isn't in it. Names and heroes stand at a replay's end"
    assert told in done.stdout
    assert told in (tmp_path / "here" / "match-half.html").read_text(encoding="utf-8").replace("&#39;", "'")


@pytest.mark.parametrize(
    ("data", "code", "says"),
    [
        (
            b"hello",
            18,
            "'x' is neither an OpenDota match (JSON) nor a Dota 2 replay (.dem or .dem.bz2): give one of them, or a match's number",
        ),
        (
            b"",
            18,
            "'x' is neither an OpenDota match (JSON) nor a Dota 2 replay (.dem or .dem.bz2): give one of them, or a match's number",
        ),
        (
            b"[1]",
            18,
            "'x' isn't an OpenDota match: it holds a JSON list, not an object with match_id, players and chat",
        ),
        (
            b"PBUFDEM\0xxxx",
            18,
            "'x' is a replay of Dota 2 before 2015 (Source 1): give a Dota 2 replay (.dem) of 2015 or later",
        ),
        (
            json.dumps(unparsed(7)).encode(),
            19,
            "'x' holds no chat, since OpenDota hasn't read the match's replay: ask it to by `chatward match 7 --request-parse`, within about two weeks of the match",
        ),
    ],
    ids=["text", "nothing", "list", "old replay", "unparsed"],
)
def test_a_file_that_is_no_match(run: Run, tmp_path: Path, data: bytes, code: int, says: str) -> None:
    (tmp_path / "here" / "x").write_bytes(data)
    done = run("x")
    assert (done.returncode, done.stdout, done.stderr) == (code, "", f"chatward: {says}\n")
    assert here(tmp_path) == {"x"}


def test_numbers_that_fail(run: Run, api: Api) -> None:
    api.matches[2] = unparsed(2)
    api.faults = {"/matches/3": [(503, {})]}
    expected = {
        1: (18, "OpenDota knows no match 1: check the number"),
        2: (
            19,
            "match 2 holds no chat, since OpenDota hasn't read the match's replay: ask it to by `chatward match 2 --request-parse`, within about two weeks of the match",
        ),
        3: (72, "OpenDota answered with status 503: it is down or busy, so try again later"),
    }
    for number, (code, says) in expected.items():
        done = run(number)
        assert (done.returncode, done.stderr) == (code, f"chatward: {says}\n")
    port = free_port()
    done = run(1, CHATWARD_OPENDOTA=f"http://127.0.0.1:{port}", OPENDOTA_API_KEY="s3cret")
    assert done.returncode == 72
    assert done.stderr.startswith(
        f"chatward: OpenDota can't be reached at http://127.0.0.1:{port} (Connection refused): "
    )
    assert "s3cret" not in done.stderr


def test_a_parse_is_asked_for_once(run: Run, api: Api) -> None:
    api.matches[2] = unparsed(2)
    done = run(2, "--request-parse")
    assert done.returncode == 19
    assert done.stderr == (
        "chatward: OpenDota was asked to read the replay of match 2, which takes some minutes: run the command again then\n"
    )
    api.matches[2] = match(2)
    assert run(2, "--request-parse").returncode == 0
    assert api.paths() == ["/matches/2", "/request/2", "/matches/2"]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ((), 2, "no match: give a file, a match's number, or --player with an account id"),
        (("1", "--player", 5), 2, "'1' and --player are both given: give one match, or a player"),
        (("1", "--last", 5), 2, "--last counts the matches of a player: give --player with an account id"),
        (
            ("--player", 5, "--request-parse"),
            2,
            "--request-parse is for one match: give its number instead of --player",
        ),
        (
            ("no.json",),
            11,
            "no file 'no.json', and it is no match's number: give a file, a number, or - for standard input",
        ),
        ((".",), 18, "'.' is a folder: give a file, or a match's number"),
        (
            ("x.json", "--request-parse"),
            2,
            "--request-parse asks OpenDota for a match by its number, and 'x.json' is none: give the number",
        ),
        (
            ("x.json", "--out", "x.json"),
            2,
            "'x.json' is the match that is read: give another name to what is written",
        ),
        (
            ("x.json", "--out", "-"),
            2,
            "--out writes the page to a file, and '-' is none: give it a name, as only --json takes -",
        ),
        (
            ("x.json", "--out", "no/x.html"),
            50,
            "'no/x.html' can't be written (No such file or directory): write to another folder",
        ),
    ],
)
def test_wrong_options(run: Run, tmp_path: Path, arguments: Any, code: int, says: str) -> None:
    save(tmp_path / "here" / "x.json", match())
    done = run(*arguments)
    assert (done.returncode, done.stderr) == (code, f"chatward: {says}\n")
    assert here(tmp_path) == {"x.json"}


def listed(number: int, place: int, **more: Any) -> dict[str, Any]:
    """A row of a player's matches, as OpenDota documents them."""
    slot = place if place < 5 else 123 + place
    return {
        "match_id": number,
        "player_slot": slot,
        "radiant_win": True,
        "hero_id": 7,
        "start_time": 1767985200,
        "version": 22,
        **more,
    }


def test_a_players_last_matches(run: Run, api: Api, tmp_path: Path) -> None:
    account = 1008
    api.players[account] = [listed(n, 8) for n in (11, 12, 13)]
    api.matches = {11: match(11), 12: unparsed(12), 13: match(13, ((5, 8, "gg wp"), (6, 8, 75)))}
    done = run("--player", account + STEAM_OFFSET, "--last", 3, "--json", "p.json", "--out", "p.html")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "salt merchant · 2 of the last 3 matches parsed"
    assert [line.split()[-5:] for line in lines if line.startswith("together")] == [["7", "1", "-", "3", "3"]]
    assert any("not parsed" in line for line in lines if line.startswith("12"))
    at = lines.index("The most severe flagged lines:")
    assert lines[at + 1].startswith(
        "  match 11, 6:01 salt merchant (Earthshaker): uninstall the game you noob  "
    )
    values = json.loads((tmp_path / "here" / "p.json").read_text(encoding="utf-8"))
    assert (values["player"], values["account_id"], values["matches"], values["parsed"]) == (
        "salt merchant",
        account,
        3,
        2,
    )
    assert values["total"] == {"lines": 7, "chat_wheel": 1, "mild": 0, "toxic": 3, "flagged": 3}
    assert [(m["match_id"], m["parsed"], m["won"]) for m in values["by_match"]] == [
        (11, True, False),
        (12, False, False),
        (13, True, False),
    ]
    page = (tmp_path / "here" / "p.html").read_text(encoding="utf-8")
    assert "of 1 match of 3, so its chat isn't known" in page.replace("&#39;", "'")
    hidden = run("--player", account, "--last", 3, "--hide-names")
    assert hidden.returncode == 0
    assert here(tmp_path) == {"p.json", "p.html", "player-hidden.html"}
    held = hidden.stdout + (tmp_path / "here" / "player-hidden.html").read_text(encoding="utf-8")
    assert "  match 1, 6:01 Dire 4 (Earthshaker): uninstall" in hidden.stdout
    assert not [told for told in ("salt", "1008", "2026", "match 11") if told in held]
    assert api.paths().count("/matches/11") == 1


def test_a_private_player_is_found_by_the_slot(run: Run, api: Api) -> None:
    api.players[4242] = [listed(11, 2)]
    api.matches[11] = match(11)
    done = run("--player", 4242)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Player 4242 · 1 of the last 1 matches parsed\n")
    assert [line.split()[-5:-4] for line in done.stdout.splitlines() if line.startswith("together")] == [["1"]]


def test_an_unknown_player(run: Run) -> None:
    done = run("--player", 5)
    assert done.returncode == 18
    assert done.stderr.startswith(
        "chatward: OpenDota knows no matches of player 5: check the account id, and that "
    )


@pytest.mark.parametrize(
    ("library", "source", "says"),
    [
        (
            "gem",
            "r.dem",
            'reading a replay needs the "match" extra: pip install "chatward[match]"',
        ),
        (
            "jinja2",
            "m.json",
            '`chatward match` needs the "match" extra: pip install "chatward[match]"',
        ),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, library: str, source: str, says: str) -> None:
    save(tmp_path / "m.json", match())
    (tmp_path / "r.dem").write_bytes(replay())
    script = (
        f"import sys; sys.modules[{library!r}] = None; sys.argv = ['chatward', 'match', {source!r}]\n"
        "from chatward.faces.cli.main import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 60
    assert done.stderr.startswith(f"chatward: {says} ({library}")


def test_json_from_opendota_needs_no_replay_reader(tmp_path: Path) -> None:
    save(tmp_path / "m.json", match())
    script = (
        "import sys; sys.modules['gem'] = None; sys.modules['pandas'] = None; sys.argv = ['chatward', 'match', 'm.json']\n"
        "from chatward.faces.cli.main import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
