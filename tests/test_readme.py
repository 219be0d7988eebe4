"""What the documents say must be so: their Python runs, their links lead somewhere, their commands exist."""

import re
import subprocess
import sys

import pytest

from chatward import artifact
from tests.conftest import ROOT, Run

NO_MODEL = pytest.mark.skipif(
    not artifact.default_model().exists(), reason="no model ships with this revision yet"
)
READMES = ("README.md", "README.es.md")
DOCUMENTS = [*READMES, "CONTRIBUTING.md", "CHANGELOG.md"]
DOCUMENTS += sorted(p.relative_to(ROOT).as_posix() for p in (ROOT / "docs").rglob("*.md"))


@NO_MODEL
@pytest.mark.parametrize("name", READMES)
def test_python_blocks_run(name: str) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.S)
    assert blocks
    for block in blocks:
        done = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "toxic" in done.stdout


@NO_MODEL
@pytest.mark.parametrize("name", READMES)
def test_the_shown_output_is_the_real_one(name: str, chatward: Run) -> None:
    shown = re.search(
        r"```console\n\$ chatward (.*?)\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.S
    )
    assert shown
    arguments = [a.strip('"') for a in re.findall(r'"[^"]*"|\S+', shown[1])]
    done = chatward(*arguments, COLUMNS="104")
    # Another processor may round the last digit of a percentage otherwise.
    plain = [re.sub(r"[█░\s]*\d+\.\d %", " % ", line).split() for line in done.stdout.splitlines()]
    assert plain == [re.sub(r"[█░\s]*\d+\.\d %", " % ", line).split() for line in shown[2].splitlines()]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name: str) -> None:
    path = ROOT / name
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), f"{name} links to {target}"


def test_documented_options_exist(chatward: Run) -> None:
    text = "\n".join((ROOT / name).read_text(encoding="utf-8") for name in DOCUMENTS)
    groups = "bot|keys|ledger|policy"
    lines = re.findall(rf"^ +chatward ((?:{groups}) \w+|\w+) (.+(?:\\\n.+)*)$", text, re.M)
    commands = {command for command, _ in lines}
    assert {"train", "evaluate", "compare", "audit", "bench"} <= commands
    shown = {command: chatward(*command.split(), "--help").stdout for command in commands}
    for command, line in lines:
        for option in re.findall(r"--[a-z-]+", line):
            assert option in shown[command], f"chatward {command} has no {option}"


def test_nothing_is_left_to_fill_in() -> None:
    for name in DOCUMENTS:
        assert "@@" not in (ROOT / name).read_text(encoding="utf-8"), name
