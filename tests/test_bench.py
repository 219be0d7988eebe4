"""`chatward bench` by the real program."""

import json
from pathlib import Path

import pytest

from tests.conftest import Run


def test_speed_memory_and_energy_are_told(chatward: Run, trained: Path, tmp_path: Path) -> None:
    lines = tmp_path / "lines.csv"
    lines.write_bytes(b"message\n" + b"\n".join(b"gg wp %d" % i for i in range(300)) + b"\nbad \xff\n")
    done = chatward("bench", lines, "--model", trained, "--seconds", "1", "--json", "--country", "PER")
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    found = json.loads(line)
    assert (found["messages"], found["rows_not_read"], found["file"]) == (300, 1, "lines.csv")
    for way in ("single", "batched"):
        part = found[way]
        assert 0 < part["p50_ms"] <= part["p95_ms"] <= part["p99_ms"]
        assert part["timed_messages"] / part["messages_per_s"] >= 1
        cost = part["per_1000_messages"]
        grams = cost["energy_wh"] / 1000 * found["emissions"]["intensity_g_per_kwh"]
        assert cost["emissions_g_co2e"] == pytest.approx(grams, rel=1e-6)
    assert found["batched"]["messages_per_s"] > found["single"]["messages_per_s"]
    assert 20 < found["peak_memory_mb"] < 1000
    shown = chatward("bench", lines, "--model", trained, "--seconds", "0.5", cwd=tmp_path)
    assert "1 row couldn't be read" in shown.stdout
    assert "1,000 messages batched" in shown.stdout and "Peak memory" in shown.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["lines.csv"]


def test_nothing_to_time(chatward: Run, tmp_path: Path) -> None:
    (tmp_path / "none.csv").write_text("message\n")
    done = chatward("bench", tmp_path / "none.csv")
    assert done.returncode == 13
    assert "has no message to time" in done.stderr
