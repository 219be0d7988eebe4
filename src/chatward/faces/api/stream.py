"""`WS /v1/stream`: a message a frame, an answer a frame; answers come as they are ready, each with the id of its message."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Annotated, Any, Final

import orjson
from pydantic import Field, TypeAdapter, ValidationError, model_validator
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from chatward.errors import BusyError, ChatwardError, ConflictError
from chatward.faces.api.json_body import read_json
from chatward.faces.api.keys import Key, key_of
from chatward.faces.api.limits import MAX_FRAMES, MAX_NAME
from chatward.faces.api.problems import WENT_WRONG, HttpError, code_of, invalid, unforeseen
from chatward.faces.api.service import Service
from chatward.faces.api.shapes import Asked, MessageToModerate, Name, Text, moderated_shape, prediction_shape

STOPPING: Final = 1012
"""WebSocket's own code for a server that restarts."""

FINISH_SECONDS: Final = 5.0
"""For which a client that doesn't read its answers can keep a connection from ending."""

_MOST_WRONG: Final = 100


class Frame(Asked):
    """What a client sends: a message to classify, or one to moderate. id: comes back with its answer."""

    id: Name | Annotated[int, Field(ge=-(2**53), le=2**53)] | None = None
    message: Text | None = None
    moderate: MessageToModerate | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Frame:
        if (self.message is None) == (self.moderate is None):
            raise ValueError("give one of `message`, a text to classify, and `moderate`, an object")
        return self


_FRAME: Final[TypeAdapter[Frame]] = TypeAdapter(Frame)


async def stream(socket: WebSocket, service: Service) -> None:
    """Answer the frames of one connection until either side ends it; after the service was told to stop, those that had come."""
    key = key_of(socket.scope)
    await socket.accept()
    connection = _Connection(socket, service, key)
    reading = asyncio.create_task(connection.read())
    stopping = asyncio.create_task(service.told_to_stop.wait())
    try:
        await asyncio.wait({reading, stopping}, return_when=asyncio.FIRST_COMPLETED)
        reading.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(FINISH_SECONDS):
                await connection.finish()
        if (
            socket.client_state is WebSocketState.CONNECTED
            and socket.application_state is WebSocketState.CONNECTED
        ):
            await socket.close(STOPPING if stopping.done() else connection.code, connection.reason)
    except (WebSocketDisconnect, RuntimeError, OSError):
        pass  # it has gone; what it asked for is answered to nobody
    finally:
        stopping.cancel()
        await connection.end()


class _Connection:
    """One client. code, reason: with which to close it."""

    def __init__(self, socket: WebSocket, service: Service, key: Key) -> None:
        self._socket, self._service, self._key = socket, service, key
        self._room = asyncio.Semaphore(MAX_FRAMES)
        self._tasks = set[asyncio.Task[None]]()
        self._wrong = 0
        self.code, self.reason = 1000, ""

    async def read(self) -> None:
        """Take frames while there is room for them. Ends with the connection, or after too many that can't be read."""
        while True:
            await self._room.acquire()
            message = await self._socket.receive()
            if message["type"] != "websocket.receive":
                return
            data = message.get("text")
            raw = message.get("bytes") if data is None else data.encode("utf-8", "surrogatepass")
            try:
                frame = read_json(raw or b"", _FRAME)
            except ValidationError as error:
                self._room.release()
                await self._tell(_id_of(raw or b""), invalid(error))
                self._wrong += 1
                if self._wrong >= _MOST_WRONG:
                    self.code, self.reason = 1008, f"{_MOST_WRONG} frames in a row couldn't be read"
                    return
                continue
            self._wrong = 0
            task = asyncio.create_task(self._answer(frame))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _answer(self, frame: Frame) -> None:
        try:
            try:
                answer = await self._ask(frame)
            except ChatwardError as error:
                await self._tell(frame.id, error)
                return
            except Exception as error:
                unforeseen("/v1/stream", error)
                await self._tell(frame.id, HttpError(500, WENT_WRONG, "internal"))
                return
            await self._send(answer)
        except (WebSocketDisconnect, RuntimeError, OSError):
            pass  # the client has gone
        finally:
            self._room.release()

    async def _ask(self, frame: Frame) -> dict[str, Any]:
        key = self._service.still(self._key)
        if frame.moderate is not None:
            key.may("moderate")
            message = frame.moderate.message()
            ((prediction, recorded),) = await self._service.moderate(key, [message])
            if isinstance(recorded, ConflictError):
                raise recorded
            return {"id": frame.id, "decision": moderated_shape(message, prediction, recorded)}
        assert frame.message is not None
        key.may("classify")
        (prediction,) = await self._service.classify(key, [frame.message])
        return {"id": frame.id, "prediction": prediction_shape(prediction)}

    async def _tell(self, id: str | int | None, error: ChatwardError) -> None:
        self._service.metrics.refused(code_of(error))
        problem: dict[str, Any] = {"code": code_of(error), "message": str(error)}
        if isinstance(error, BusyError):
            problem["retry_after"] = error.retry_after
        await self._send({"id": id, "error": problem})

    async def _send(self, answer: dict[str, Any]) -> None:
        await self._socket.send_text(orjson.dumps(answer).decode())

    async def finish(self) -> None:
        """Wait until all that was taken is answered."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    async def end(self) -> None:
        """Leave what nobody waits for any more."""
        for task in list(self._tasks):
            task.cancel()


def _id_of(raw: bytes) -> str | int | None:
    """Return the id of a frame that can't be answered, so that its sender knows which it was; None where it has none that could be one."""
    try:
        found = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    id = found.get("id") if isinstance(found, dict) else None
    if isinstance(id, str) and len(id) <= MAX_NAME:
        return id
    return id if isinstance(id, int) and not isinstance(id, bool) and abs(id) <= 2**53 else None
