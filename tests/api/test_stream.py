"""`WS /v1/stream`, asked by a real client."""

from __future__ import annotations

import asyncio
import json
import random
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from chatward import Detector
from chatward.faces.api.keys import add_key
from tests.api.program import Program, run_async, serving


@pytest.fixture(scope="module")
def service(tiny_model: Path) -> Iterator[Program]:
    with serving("--model", tiny_model) as program:
        yield program


def url(program: Program) -> str:
    return program.url.replace("http", "ws") + "/v1/stream"


async def asked(
    program: Program, *frames: Any, answers: int | None = None, **options: Any
) -> list[dict[str, Any]]:
    """Send *frames* (JSON values, or text and bytes as they are) and return what comes back."""
    async with connect(url(program), **options) as socket:
        for frame in frames:
            await socket.send(frame if isinstance(frame, str | bytes) else json.dumps(frame))
        wanted = len(frames) if answers is None else answers
        return [json.loads(await asyncio.wait_for(socket.recv(), 20)) for _ in range(wanted)]


def test_each_frame_is_answered_by_its_id(service: Program, tiny_model: Path, chat_texts: list[str]) -> None:
    frames = [{"id": place, "message": text} for place, text in enumerate(chat_texts)]
    answers = run_async(asked(service, *frames))
    found = {answer["id"]: answer["prediction"] for answer in answers}
    expected = Detector.load(tiny_model).predict(chat_texts)
    assert [found[place]["label"] for place in range(len(chat_texts))] == [p.label for p in expected]
    for place, prediction in enumerate(expected):
        assert found[place]["probabilities"] == pytest.approx(prediction.probabilities, abs=1e-6)


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("", "json_invalid"),
        ("gg", "json_invalid"),
        (b"\xff", "json_invalid"),
        ({}, "invalid"),
        ([], "invalid"),
        ({"message": 4}, "invalid"),
        ({"message": "gg", "moderate": {"text": "gg"}}, "invalid"),
        ({"message": "gg", "id": [1]}, "invalid"),
        ({"message": "x" * 20_001}, "invalid"),
        ({"id": 7, "moderate": {"text": "gg"}}, "no_policy"),
    ],
)
def test_a_frame_that_cant_be_answered_is_told_and_the_next_is_answered(
    service: Program, frame: Any, code: str
) -> None:
    answers = run_async(asked(service, frame, {"id": "next", "message": "moderate"}))
    by_id = {answer["id"]: answer for answer in answers}
    assert by_id["next"]["prediction"]["label"]
    (wrong,) = [answer for answer in answers if "error" in answer]
    assert wrong["error"]["code"] == code


def test_too_large_a_frame_ends_the_connection(service: Program) -> None:
    async def check() -> int:
        async with connect(url(service)) as socket:
            await socket.send("x" * 300_000)
            with pytest.raises(ConnectionClosed) as found:
                await asyncio.wait_for(socket.recv(), 20)
            return found.value.rcvd.code if found.value.rcvd else 0

    assert run_async(check()) == 1009


def test_who_only_sends_nonsense_is_sent_away(service: Program) -> None:
    async def check() -> tuple[int, int]:
        answers = 0
        async with connect(url(service)) as socket:
            for _ in range(100):
                await socket.send("nonsense")
            with pytest.raises(ConnectionClosed) as found:
                while True:
                    await asyncio.wait_for(socket.recv(), 20)
                    answers += 1
            return answers, found.value.rcvd.code if found.value.rcvd else 0

    assert run_async(check()) == (100, 1008)


def test_without_a_key_nobody_gets_in(tiny_model: Path, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    _, secret = add_key(file, "bot")

    async def status(**options: Any) -> int:
        with pytest.raises(InvalidStatus) as found:
            async with connect(**options):
                pass
        return found.value.response.status_code

    with serving("--model", tiny_model, "--keys", file) as program:
        at = url(program)
        assert run_async(status(uri=at)) == 401
        assert run_async(status(uri=at, additional_headers={"Authorization": "Bearer x"})) == 401
        assert run_async(status(uri=f"{at}?key={secret}")) == 400
        with_key = {"Authorization": f"Bearer {secret}"}
        (answer,) = run_async(asked(program, {"message": "gg"}, additional_headers=with_key))
        assert answer["prediction"]


def test_a_page_of_another_site_cant_use_it_without_keys(service: Program) -> None:
    async def check() -> int:
        with pytest.raises(InvalidStatus) as found:
            async with connect(url(service), origin="https://evil.example"):
                pass
        return found.value.response.status_code

    assert run_async(check()) == 403


def test_frames_that_had_come_are_answered_when_it_is_told_to_stop(tiny_model: Path) -> None:
    async def check(program: Program) -> tuple[set[int], int]:
        async with connect(url(program)) as socket:
            for place in range(200):
                await socket.send(json.dumps({"id": place, "message": f"well played number {place}"}))
            first = json.loads(await asyncio.wait_for(socket.recv(), 20))
            program.process.terminate()
            answered = {first["id"]}
            with pytest.raises(ConnectionClosed) as found:
                while True:
                    answered.add(json.loads(await asyncio.wait_for(socket.recv(), 20))["id"])
            return answered, found.value.rcvd.code if found.value.rcvd else 0

    with serving("--model", tiny_model) as program:
        answered, code = run_async(check(program))
        assert program.process.wait(timeout=20) == 0
    # Frames are read in order, so what was taken is a beginning of them, answered whole.
    assert answered == set(range(len(answered)))
    assert code == 1012


FRAMES = 100_000
BROKEN_CONNECTIONS = 1_500


def content_of(rng: random.Random) -> bytes:
    """Return what a random frame holds: a good request, one with some bytes changed, any bytes, or any JSON."""
    kind = rng.random()
    good = json.dumps({"id": rng.randrange(1000), "message": _text(rng)}).encode("utf-8", "surrogatepass")
    if kind < 0.4:
        return good
    if kind < 0.65:
        spoiled = bytearray(good)
        for _ in range(rng.randrange(1, 4)):
            spoiled[rng.randrange(len(spoiled))] = rng.randrange(256)
        return bytes(spoiled)
    if kind < 0.8:
        return rng.randbytes(rng.randrange(0, 200))
    odd = [
        None,
        [],
        {},
        1e308,
        "x",
        {"message": None},
        {"moderate": {}},
        [[[[]]]],
        {"id": 2**70, "message": "gg"},
    ]
    return json.dumps(rng.choice(odd)).encode()


def _text(rng: random.Random) -> str:
    letters = "abc \u202e\x00😀é'\"<>;-\\\ud800"
    return "".join(rng.choice(letters) for _ in range(rng.randrange(0, 60)))


async def content_fuzz(program: Program, rng: random.Random, frames: int) -> None:
    """Send so many frames of random content over a few connections, and see that each is answered once."""

    async def connection(count: int) -> None:
        async with connect(url(program), max_queue=None, ping_interval=None) as socket:

            async def send() -> None:
                for place in range(count):
                    # Every eighth is good, since who sends a hundred bad ones in a row is sent away.
                    content = b'{"message": "gg"}' if place % 8 == 0 else content_of(rng)
                    try:
                        await socket.send(content.decode() if rng.random() < 0.5 else content)
                    except UnicodeDecodeError:
                        await socket.send(content)

            sending = asyncio.create_task(send())
            for _ in range(count):
                answer = json.loads(await asyncio.wait_for(socket.recv(), 30))
                assert answer.get("prediction") or answer["error"]["code"] in {
                    "invalid",
                    "json_invalid",
                    "no_policy",
                    "busy",
                }
            await sending

    await asyncio.gather(*(connection(frames // 4) for _ in range(4)))


async def protocol_fuzz(program: Program, rng: random.Random, connections: int) -> None:
    """Open so many connections, and send each some good frames and then bytes that aren't any."""
    head = (
        f"GET /v1/stream HTTP/1.1\r\nHost: 127.0.0.1:{program.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )

    def frame(opcode: int, body: bytes) -> bytes:
        mask, size = rng.randbytes(4), len(body)
        start = (
            bytes([0x80 | opcode, 0x80 | size])
            if size < 126
            else bytes([0x80 | opcode, 0xFE]) + struct.pack("!H", size)
        )
        return start + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(body))

    async def connection() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", program.port)
        writer.write(head.encode())
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        good = [frame(rng.choice([1, 2, 9, 10]), content_of(rng)[:120]) for _ in range(rng.randrange(8))]
        bad = rng.choice(
            [
                frame(rng.choice([0, 3, 7, 8, 11, 15]), content_of(rng)[:120]),
                rng.randbytes(rng.randrange(1, 60)),
            ]
        )
        with suppress(ConnectionError):
            writer.write(b"".join([*good, bad]))
            await writer.drain()
            writer.write_eof()
            came = b"".join([data async for data in _until_end(reader)])
            assert b'"internal"' not in came
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    for _ in range(connections // 10):
        await asyncio.gather(*(connection() for _ in range(10)))


async def _until_end(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while data := await asyncio.wait_for(reader.read(1 << 16), 20):
        yield data


def test_a_hundred_thousand_random_frames(service: Program) -> None:
    """No crash, no 500, no growth; what breaks the protocol ends its connection only."""
    rng = random.Random(7)
    run_async(content_fuzz(service, rng, FRAMES // 5))
    run_async(protocol_fuzz(service, rng, BROKEN_CONNECTIONS // 5))
    before = service.memory_mb()
    run_async(content_fuzz(service, rng, FRAMES - FRAMES // 5))
    run_async(protocol_fuzz(service, rng, BROKEN_CONNECTIONS - BROKEN_CONNECTIONS // 5))
    grown = service.memory_mb() - before
    assert grown < 20, f"{grown:.1f} MB more after four fifths of the frames"
    assert service.classify("gg").status == 200
    assert [line for line in service.lines if not line.startswith("chatward: serving")] == []
    metrics = service.ask("/metrics").body
    assert 'status="500"' not in metrics
    assert 'code="internal"' not in metrics
