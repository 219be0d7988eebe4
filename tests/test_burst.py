"""benchmarks/burst.py: the simulation says what queueing theory says, and runs without data or network."""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml

from tests.conftest import ROOT

SCRIPT = ROOT / "benchmarks" / "burst.py"


@pytest.fixture(scope="module")
def burst() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_of_bursts", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name != "CHATWARD_DATA"}
    command = [sys.executable, SCRIPT, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=120)


def poisson(rate: float, count: int, seed: int = 0) -> Any:
    return np.cumsum(np.random.default_rng(seed).exponential(1 / rate, count))


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_arrivals_above_capacity_pile_up_as_a_fluid_would(burst: ModuleType, workers: int) -> None:
    rate, seconds, service = 30_000.0, 4.0, burst.Service(a=0.001, b=250e-6, batch=100)
    capacity = workers * 100 / (0.001 + 100 * 250e-6)
    moments = np.arange(int(rate * seconds)) / rate
    found = burst.simulate([moments], service, burst.Scaling(workers, workers))
    backlog = (rate - capacity) * seconds
    assert found.queue.max() == pytest.approx(backlog, rel=0.02)
    (answered,) = found.answered
    assert answered.max() == pytest.approx(seconds + backlog / capacity, rel=0.02)
    # Who comes last waits while all before are answered.
    assert (answered - moments).max() == pytest.approx(backlog / capacity, rel=0.02)
    assert found.empty_after(seconds) == pytest.approx(0.99 * backlog / capacity, rel=0.02)


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_single_messages_at_random_wait_as_pollaczek_and_khinchine_say(burst: ModuleType, load: float) -> None:
    each = 0.002
    moments = poisson(load / each, 400_000)
    found = burst.simulate([moments], burst.Service(a=0.0, b=each, batch=1), burst.Scaling(1, 1))
    queued = (found.answered[0] - moments - each).mean()
    assert queued == pytest.approx(load * each / (2 * (1 - load)), rel=0.04)  # M/D/1


def test_everybody_is_answered_in_order_and_no_batch_is_too_large(burst: ModuleType) -> None:
    moments = poisson(20_000, 50_000)
    service = burst.Service(a=0.002, b=100e-6, batch=64)
    (answered,) = burst.simulate([moments], service, burst.Scaling(1, 1)).answered
    assert not np.isnan(answered).any()
    assert (answered - moments >= service.a + service.b - 1e-12).all()
    assert (np.diff(answered) >= 0).all()
    ends, sizes = np.unique(answered, return_counts=True)
    assert sizes.max() == 64
    assert (np.diff(ends) >= service.a + service.b * sizes[1:] - 1e-9).all()


def test_more_workers_never_make_it_worse(burst: ModuleType) -> None:
    moments = np.sort(np.concatenate([poisson(300, 6000), 5 + 4 * np.random.default_rng(1).random(60_000)]))
    runs = [
        burst.simulate([moments], burst.Service(0.001, 200e-6), burst.Scaling(n, n)) for n in (1, 2, 3, 5, 8)
    ]
    for figures in (
        [found.queue.max() for found in runs],
        [(found.answered[0] - moments).max() for found in runs],
        [(found.answered[0] - moments).mean() for found in runs],
        [found.empty_after(9.0) for found in runs],
    ):
        assert figures == sorted(figures, reverse=True)
    assert runs[0].queue.max() > 2 * runs[-1].queue.max()


def test_who_goes_first_waits_less_and_the_work_stays_the_same(burst: ModuleType) -> None:
    first, later = poisson(1000, 4000), poisson(9000, 36_000, seed=1)
    one, service = burst.Scaling(1, 1), burst.Service(0.0, 1 / 6000, batch=100)
    both = np.sort(np.concatenate([first, later]))
    (plain,) = burst.simulate([both], service, one).answered
    favoured, rest = burst.simulate([first, later], service, one).answered
    # At most the batch in hand and its own.
    assert (favoured - first).max() <= 2 * 100 / 6000 + 1e-9
    assert (rest - later).max() > (plain - both).max()
    assert max(favoured.max(), rest.max()) == pytest.approx(plain.max())


def test_a_server_that_all_workers_share_sets_the_pace(burst: ModuleType) -> None:
    moments = np.zeros(200_000)
    service = burst.Service(0.001, 100e-6, redis=20e-6)
    paces = [
        len(moments) / burst.simulate([moments], service, burst.Scaling(n, n)).answered[0].max()
        for n in (1, 4, 16)
    ]
    assert paces[0] == pytest.approx(512 / (0.001 + 512 * 100e-6), rel=0.01)
    assert paces[1] == pytest.approx(4 * paces[0], rel=0.02)
    assert paces[2] == pytest.approx(1 / 20e-6, rel=0.02)


def test_scaled_workers_come_when_they_can(burst: ModuleType) -> None:
    rate, service = 4000.0, burst.Service(0.0, 1e-3, batch=10)  # 1,000 a second each
    moments = np.arange(int(rate * 60)) / rate
    scaling = burst.Scaling(1, 16, lag=10_000, every=15.0, start=20.0)
    found = burst.simulate([moments], service, scaling)
    (answered,) = found.answered
    answers = lambda start, end: int(((answered >= start) & (answered < end)).sum())  # noqa: E731
    # 45,000 wait at the first look: five are wanted, two may be, and work at 35 s; at the next, four, at 50 s.
    assert answers(0, 35) == pytest.approx(35_000, rel=0.01)
    assert answers(35, 50) == pytest.approx(2 * 15_000, rel=0.01)
    assert answers(50, 65) == pytest.approx(4 * 15_000, rel=0.01)
    assert found.workers == 14  # 135,000 wait at the last look
    calm = burst.simulate([moments[::5]], service, scaling)
    assert calm.workers == 1


def test_what_is_simulated_is_what_is_deployed(burst: ModuleType) -> None:
    raw = yaml.safe_load((ROOT / "deploy" / "kubernetes" / "worker-scaledobject.yaml").read_text("utf-8"))
    up = raw["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleUp"]
    (trigger,), (policy,) = raw["spec"]["triggers"], up["policies"]
    scaling = burst.Scaling(1, 10)
    assert (raw["spec"]["minReplicaCount"], raw["spec"]["maxReplicaCount"]) == (scaling.least, scaling.most)
    assert int(trigger["metadata"]["lagCount"]) == scaling.lag
    assert up["stabilizationWindowSeconds"] == 0
    assert (policy["type"], policy["value"]) == ("Percent", 100 * (scaling.growth - 1))
    assert policy["periodSeconds"] == scaling.every


def test_traffic_is_what_was_asked_for(burst: ModuleType) -> None:
    options = argparse.Namespace(channels=50, rate=0.03, raided=20, messages=48, seconds=16.0, first=16, seed=3)
    moments, raid, first = burst.traffic(options)
    assert (np.diff(moments) >= 0).all()
    before = moments < burst.BEFORE
    ordinary = len(moments) - 20 * 48
    assert ordinary == pytest.approx(50 * 0.03 * (burst.BEFORE + 16 + burst.AFTER), rel=0.15)
    assert 20 * 48 <= raid.sum() <= 20 * 48 + 50
    # Nobody but raiders writes more than 16 in 16 seconds; of each raided channel 16 are first, and few of a later 16 seconds.
    assert first[before].all() and first[moments > burst.BEFORE + 33].all()
    assert 20 * 16 <= (first & raid).sum() <= 20 * 16 + 50
    assert (~first & raid).sum() >= 20 * (48 - 17)


def test_it_runs_offline_without_data_and_says_the_same_again(tmp_path: Path) -> None:
    small = ["--channels", 400, "--raided", 400, "--workers", 1, 2, "--a-ms", 2, "--b-us", 1500]
    done = [run(*small, "--plot", tmp_path / f"{number}.svg") for number in range(2)]
    assert [one.returncode for one in done] == [0, 0], done[0].stderr
    assert done[0].stdout == done[1].stdout
    assert (
        "12 messages a second, then 1,200 more (100 times that) for 16 s: 19,200 in 400 channels."
        in done[0].stdout
    )
    rows = [line.split(" | ") for line in done[0].stdout.splitlines() if line.startswith("| ")][1:]
    assert [row[0] for row in rows] == ["| 1", "| 2", "| 1 to 2 (1 came)"]
    # One answers 665 a second: (1,212 - 665) * 16.
    assert int(rows[0][1].replace(",", "")) == pytest.approx(8750, rel=0.05)
    pictures = [(tmp_path / f"{number}.svg").read_bytes() for number in range(2)]
    assert pictures[0] == pictures[1] and pictures[0].startswith(b"<?xml")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--raided", 11, "--channels", 10],
            "--raided is 11 of 10 channels: give that many --channels or fewer",
        ),
        (["--a-ms", 2], "give --a-ms and --b-us together"),
        (["--added-us", 50, "--workers", 1], "adding messages alone takes 15"),
    ],
)
def test_what_makes_no_sense_is_said(arguments: list[object], words: str) -> None:
    done = run(*arguments)
    assert done.returncode != 0
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_the_feeder_adds_every_line_once(burst: ModuleType, tmp_path: Path) -> None:
    from tests.stream.server import redis_server

    with redis_server(tmp_path / "redis") as server:
        lines = [f"gg wp {number} ñ" for number in range(2500)]
        burst.feed(server.port, lines, 100_000.0)
        assert [row["message"] for row in server.rows("chat")] == lines
