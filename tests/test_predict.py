"""`chatward predict` and what all commands share, by the real program."""

import json
import subprocess
import threading
from pathlib import Path

import pytest

from tests.conftest import PROGRAM, Run


def test_a_table_with_bars(chatward: Run, tiny_model: Path) -> None:
    done = chatward("predict", "gg wp everyone", "uninstall you donkey", "--model", tiny_model)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["message", "label", "non-toxic", "mild", "toxicity", "toxic"]
    assert lines[1].startswith("gg wp everyone") and "█" in lines[1] and "%" in lines[1]
    assert len(lines) == 3
    assert done.stderr == ""


def test_json_lines(chatward: Run, tiny_model: Path) -> None:
    done = chatward("predict", "--json", "--model", tiny_model, "gg", 'say "hi"\n🔥')
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [f["text"] for f in found] == ["gg", 'say "hi"\n🔥']
    assert list(found[0]) == ["text", "label", "probabilities", "tier", "truncated"]
    assert list(found[0]["probabilities"]) == ["non-toxic", "mild toxicity", "toxic"]
    assert sum(found[0]["probabilities"].values()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("dash", [(), ("-",)])
def test_standard_input_line_by_line(chatward: Run, tiny_model: Path, dash: tuple[str, ...]) -> None:
    stdin = "gg wp\r\n\ncafé 🔥\nlast".encode()
    done = chatward("predict", "--json", "--model", tiny_model, *dash, stdin=stdin)
    assert [json.loads(line)["text"] for line in done.stdout.splitlines()] == ["gg wp", "", "café 🔥", "last"]


def test_no_standard_input_at_all(tiny_model: Path) -> None:
    shell = f"{PROGRAM} predict --model {tiny_model} <&-"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True)
    assert done.returncode == 2
    assert "no message: give one" in done.stderr


def test_empty_standard_input_is_no_message(chatward: Run, tiny_model: Path) -> None:
    done = chatward("predict", "--json", "--model", tiny_model)
    assert (done.returncode, done.stdout) == (0, "")


def test_markup_and_control_characters_are_shown_not_obeyed(chatward: Run, tiny_model: Path) -> None:
    done = chatward("predict", "[bold red]x[/] \x1b[31m\x07", "--model", tiny_model)
    assert "[bold red]x[/] \\x1b[31m\\x07" in done.stdout


def test_a_terminal_that_knows_no_unicode(chatward: Run, tiny_model: Path) -> None:
    done = chatward("predict", "gg 🔥", "--model", tiny_model, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr


def test_a_megabyte_and_bytes_that_are_not_utf8(chatward: Run, tiny_model: Path) -> None:
    done = chatward("predict", "--json", "--model", tiny_model, stdin=b"a" * 1_000_000)
    assert json.loads(done.stdout)["truncated"] is True
    done = chatward("predict", "--model", tiny_model, stdin=b"fine\ncaf\xe9\n")
    assert done.returncode == 12
    assert done.stderr.startswith("chatward: standard input isn't UTF-8 (byte 0xe9 on line 2)")
    assert "fine" in done.stdout, "what stands before is answered"
    done = chatward("predict", "--json", "--model", tiny_model, stdin=b"one\ntwo\ncaf\xe9\nfour\n")
    assert done.returncode == 12
    assert [json.loads(line)["text"] for line in done.stdout.splitlines()] == ["one", "two"]
    raw = subprocess.run([PROGRAM, "predict", b"caf\xe9", "--json", "--model", tiny_model], capture_output=True)
    assert raw.returncode == 0
    assert json.loads(raw.stdout)["text"] == "caf\udce9"


def test_a_live_pipe_is_answered_line_by_line(tiny_model: Path) -> None:
    command = [PROGRAM, "predict", "--json", "--model", tiny_model]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as run:
        assert run.stdin and run.stdout
        watchdog = threading.Timer(60, run.kill)
        watchdog.start()
        for text in ("gg", "wp"):
            run.stdin.write(f"{text}\n".encode())
            run.stdin.flush()
            assert json.loads(run.stdout.readline())["text"] == text
        run.stdin.close()
        assert run.wait(60) == 0
        watchdog.cancel()


def test_a_reader_that_goes_away(tiny_model: Path) -> None:
    shell = f"yes gg | head -n 20000 | {PROGRAM} predict --json --model {tiny_model} | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", shell], capture_output=True, text=True)
    assert json.loads(done.stdout)["text"] == "gg"
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("gg", "--model", "nowhere"), 31, "no model folder at 'nowhere'"),
        (("gg", "--threads", "0"), 2, "threads is 0"),
        (("gg", "--threads", "many"), 2, "Invalid value"),
        (("gg", "--jason"), 2, "No such option"),
    ],
)
def test_bad_options(
    chatward: Run, tiny_model: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    model = () if "--model" in arguments else ("--model", tiny_model)
    done = chatward("predict", *arguments, *model)
    assert done.returncode == code
    assert words in done.stderr
    assert done.stdout == ""


def test_a_spoiled_model(chatward: Run, model_copy: Path) -> None:
    with (model_copy / "model.onnx").open("ab") as file:
        file.write(b"\0")
    done = chatward("predict", "gg", "--model", model_copy)
    assert done.returncode == 34
    assert "was changed after the model was made" in done.stderr
    (model_copy / "manifest.json").unlink()
    assert chatward("predict", "gg", "--model", model_copy).returncode == 32


def test_version_and_help(chatward: Run) -> None:
    assert chatward("--version").stdout.startswith("chatward 0.")
    shown = chatward("--help").stdout
    assert all(command in shown for command in ("predict", "score", "train", "app"))


def test_python_m_is_the_same_program(tiny_model: Path) -> None:
    command = [PROGRAM.with_name("python"), "-m", "chatward", "predict", "gg", "--json", "--model", tiny_model]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["text"] == "gg"
