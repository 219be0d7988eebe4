"""The service in a process of its own, and what it is asked, for benchmarks/service.py."""

from __future__ import annotations

import csv
import http.client
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from chatward import LABELS, Detector, artifact
from chatward.data.invent import invent
from chatward.text import normalise

_REPEATED: Final = 5000  # messages back, from which one may be sent again
_FLAGS: Final = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8")
_TICKS: Final = os.sysconf("SC_CLK_TCK")


class Request(NamedTuple):
    """raw: what is sent. texts: what it asks for."""

    raw: bytes
    texts: tuple[str, ...]


def chat(data: Path | None) -> list[str]:
    """Return the lines that messages are made of."""
    sample = Path(artifact.__file__).parent / "data" / "sample" / "conda" / "train.csv"
    with (data / "conda" / "unlabelled.csv" if data else sample).open(encoding="utf-8", newline="") as file:
        return [row["utterance"] for row in csv.DictReader(file) if row["utterance"].strip()]


def stream(lines: Sequence[str], count: int, seed: int) -> tuple[list[str], float]:
    """Return *count* messages such as players send, and which share of them came before.

    New ones are *lines* and texts invented of their pieces, all different. As many as in *lines* itself are one of the last 5,000 once more, so that those sent often are sent more often.
    """
    rng = random.Random(seed)
    texts = list(map(normalise, lines))
    share = 1 - len(set(texts)) / len(texts)
    there = list(dict.fromkeys(lines))
    wanted = int(count * (1 - share)) + 1000
    new = (there + invent([texts], [1.0], max(0, wanted - len(there)), seed))[:wanted]
    rng.shuffle(new)
    sent: list[str] = []
    while len(sent) < count:
        if sent and (rng.random() < share or not new):
            sent.append(sent[-rng.randint(1, min(len(sent), _REPEATED))])
        else:
            sent.append(new.pop())
    return sent, 1 - len(set(map(normalise, sent))) / count


def requests_of(messages: Sequence[str], size: int, port: int) -> list[Request]:
    """Return requests of *size* messages each."""
    made = []
    for start in range(0, len(messages) - size + 1, size):
        texts = tuple(messages[start : start + size])
        body = orjson.dumps({"messages": texts})
        head = (
            f"POST /v1/classify HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        made.append(Request(head.encode() + body, texts))
    return made


def check(body: bytes, texts: Sequence[str], detector: Detector) -> None:
    """Raise ValueError where *body* doesn't answer *texts* as *detector* does."""
    told = orjson.loads(body)["predictions"]
    if len(told) != len(texts):
        raise ValueError(f"{len(told)} predictions for {len(texts)} messages")
    for one, own in zip(told, detector.predict(texts), strict=True):
        shares = one["probabilities"]
        if list(shares) != list(LABELS) or abs(sum(shares.values()) - 1) > 1e-6:
            raise ValueError(f"probabilities {shares}")
        gap = max(abs(shares[label] - own.probabilities[label]) for label in LABELS)
        if one["label"] != own.label or one["tier"] != own.tier or gap > 1e-6:
            raise ValueError(
                f"{one['label']} by {one['tier']}, and Detector.predict says {own.label} by {own.tier}"
            )


class Mark(NamedTuple):
    """at: time, in seconds. server, client, core: processor time until then, in seconds, of both and of the server's core, whoever had it. peak: the server's memory at most since it was last asked to begin anew, MB."""

    at: float
    server: float
    client: float
    core: float
    peak: float


class Server:
    """`chatward serve` in a process on one core. Use it in a `with` statement. idle: its memory once it is ready and before anybody asked anything, MB."""

    def __init__(self, agreement: float, core: int, model: Path | None) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._command = [sys.executable, "-m", "chatward", "serve", "--port", str(self.port)]
        self._command += ["--agreement", str(agreement), *(["--model", str(model)] if model else [])]
        self._core = core

    def __enter__(self) -> Server:
        self._log = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            self._command,
            stdout=self._log,
            stderr=self._log,
            preexec_fn=lambda: os.sched_setaffinity(0, {self._core}),
        )
        until = time.monotonic() + 60
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > until:
                self._log.seek(0)
                self._process.kill()
                raise SystemExit(f"`chatward serve` didn't become ready: {self._log.read()[-2000:]}")
            time.sleep(0.05)
        if (cores := os.sched_getaffinity(self._process.pid)) != {self._core}:
            raise SystemExit(f"the service runs on cores {cores} and not on {self._core}")
        time.sleep(0.5)
        self.idle = self._memory("VmRSS")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(40)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._log.seek(0)
        told = [line for line in self._log.read().splitlines() if not line.startswith("chatward: serving")]
        self._log.close()
        if code or told:
            print(f"The service ended with {code}, and said: {' / '.join(told)[:1000]}", file=sys.stderr)

    def _ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def _memory(self, name: str) -> float:
        lines = Path(f"/proc/{self._process.pid}/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024

    def begin_anew(self) -> None:
        """Let the peak of its memory be what it has now."""
        Path(f"/proc/{self._process.pid}/clear_refs").write_text("5", encoding="utf-8")

    def mark(self) -> Mark:
        """Return how things stand."""
        stat = Path(f"/proc/{self._process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        used = (int(stat[11]) + int(stat[12])) / _TICKS
        return Mark(time.perf_counter(), used, time.process_time(), _busy(self._core), self._memory("VmHWM"))


def used(before: Mark, after: Mark) -> dict[str, float]:
    """Return the shares of a core that were used between two marks, others_cpu by whatever else ran on the server's, and the peak of its memory."""
    seconds = after.at - before.at
    server = (after.server - before.server) / seconds
    return {
        "server_cpu": server,
        "others_cpu": max(0.0, (after.core - before.core) / seconds - server),
        "client_cpu": (after.client - before.client) / seconds,
        "peak_mb": after.peak,
    }


def _busy(core: int) -> float:
    lines = Path("/proc/stat").read_text(encoding="utf-8").splitlines()
    told = next(line for line in lines if line.startswith(f"cpu{core} ")).split()
    user, nice, system, _, _, irq, softirq, steal = map(int, told[1:9])
    return (user + nice + system + irq + softirq + steal) / _TICKS


def processor() -> dict[str, Any]:
    """Return what a reader has to know of this machine."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    told = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    flags = told.get("flags", "").split()
    return {
        **artifact.machine(),
        "processor": told.get("model name", "unknown"),
        "flags": [flag for flag in _FLAGS if flag in flags],
    }
