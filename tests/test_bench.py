"""`chatward bench` by the real program."""

import json
from pathlib import Path

import pytest

from tests.conftest import Run


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bench") / "lines.csv"
    rows = [f"gg wp {i},{i % 3}\n" for i in range(120)]
    path.write_bytes(("message,target\n" + "".join(rows + rows[:40])).encode() + b"bad \xff,0\n")
    return path


def test_speed_memory_energy_and_tiers_are_told(
    chatward: Run, trained: Path, lines: Path, tmp_path: Path
) -> None:
    how = ("--model", trained, "--rounds", 2, "--calls", 200, "--seconds", "0.5", "--country", "PER")
    done = chatward("bench", lines, *how, "--agreement", "0.98", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    found = json.loads(line)
    assert (found["messages"], found["different_messages"], found["rows_not_read"]) == (160, 120, 1)
    assert (found["file"], found["rounds"], found["agreement"]) == ("lines.csv", 2, 0.98)
    for part in (found["single"], found["single_without_cache"], found["full"]["single"]):
        assert 0 < part["p50_ms"] <= part["p95_ms"] <= part["p99_ms"]
        assert len(part["all_messages_per_s"]) == 2
    for way in ("single", "batched"):
        cost = found[way]["per_1000_messages"]
        grams = cost["energy_wh"] / 1000 * found["emissions"]["intensity_g_per_kwh"]
        assert cost["emissions_g_co2e"] == pytest.approx(grams, rel=1e-6)
    tiers = found["batched"]["tiers"]
    assert sum(tiers.values()) == pytest.approx(1)
    assert tiers["repeated"] == 40 / 160
    assert 0 <= found["label_agreement"] <= 1
    assert 20 < found["peak_memory_mb"] < 1000 and found["load_ms"] > 0 and found["start_s"] > 0
    assert found["reference"] is None and found["ratios"] is None and found["macro_f1"] is None
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


def test_the_table_says_what_was_found(chatward: Run, trained: Path, lines: Path) -> None:
    done = chatward(
        "bench", lines, "--model", trained, "--rounds", 1, "--calls", 50, "--seconds", "0.5", "--agreement", "1"
    )
    assert done.returncode == 0, done.stderr
    assert "1 row couldn't be read" in done.stdout
    assert "one at a time, nothing remembered" in done.stdout
    assert "full 75.0 % (agreement 1: the full model always)" in done.stdout
    assert "1,000 messages batched" in done.stdout and "Peak memory" in done.stdout


def test_a_promise_is_not_of_invented_lines(chatward: Run, trained: Path) -> None:
    how = ("--model", trained, "--rounds", 1, "--calls", 20, "--seconds", "0.5", "--agreement", "0.98")
    done = chatward("bench", *how)
    assert done.returncode == 0, done.stderr
    assert "messages of invented chat" in done.stdout
    assert "(promised: 98 %, of chat; these lines are invented, and harder)" in done.stdout


def test_both_are_scored_against_true_levels(chatward: Run, trained: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("message,target\n" + "".join(f"gg {i},{i % 3}\n" for i in range(30)))
    how = ("--model", trained, "--rounds", 1, "--calls", 20, "--seconds", "0.5", "--agreement", "0.98")
    done = chatward("bench", path, *how, "--label-column", "target", "--json")
    assert done.returncode == 0, done.stderr
    scored = json.loads(done.stdout)["macro_f1"]
    assert set(scored) == {"cascade", "full"} and all(0 <= value <= 100 for value in scored.values())
    shown = chatward("bench", path, *how, "--label-column", "target")
    assert "Macro F1" in shown.stdout and "of the full model alone" in shown.stdout
    assert "(promised: 98 %)" in shown.stdout


def test_the_reference_is_timed_in_the_same_run(chatward: Run, trained: Path, lines: Path) -> None:
    done = chatward(
        "bench", lines, "--model", trained, "--rounds", 1, "--calls", 50, "--seconds", "0.5", "--agreement", "0.98", "--reference", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["reference"]["single_ms"] > 0
    assert found["ratios"]["batched"] == pytest.approx(
        found["batched"]["messages_per_s"] / found["reference"]["batched_per_s"]
    )
    assert found["ratios"]["full_single"] == pytest.approx(
        found["reference"]["single_ms"] / found["full"]["single"]["p50_ms"]
    )


def test_nothing_to_time(chatward: Run, tmp_path: Path) -> None:
    (tmp_path / "none.csv").write_text("message\n")
    done = chatward("bench", tmp_path / "none.csv")
    assert done.returncode == 13
    assert "has no message to time" in done.stderr


def test_an_agreement_that_the_model_cannot_promise(chatward: Run, trained: Path, lines: Path) -> None:
    done = chatward("bench", lines, "--model", trained, "--agreement", "0.9999")
    assert done.returncode == 2
    assert "can't promise an agreement of 0.9999" in done.stderr


def test_bench_needs_its_extra(chatward: Run, lines: Path, tmp_path: Path) -> None:
    (tmp_path / "sklearn.py").write_text("raise ModuleNotFoundError(name='sklearn')")
    done = chatward("bench", lines, PYTHONPATH=str(tmp_path))
    assert done.returncode == 60
    assert '`chatward bench` needs the "lab" extra: pip install "chatward[lab]" (sklearn isn\'t' in done.stderr
