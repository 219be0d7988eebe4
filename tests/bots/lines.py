"""A game server that speaks the protocol of docs/adapters.md, and the adapter that stands there."""

from __future__ import annotations

import asyncio
import json
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chatward.faces.bots.adapter import Adapter

PAGE = Path(__file__).parents[2] / "docs" / "adapters.md"
TOKEN = "lines-token-1234"


def lines_adapter(port: int, token: str = TOKEN) -> Adapter:
    """Return the adapter of the page, made from its own words."""
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert code is not None
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(code[1], str(PAGE), "exec"), names)
    made: Adapter = names["Lines"]("127.0.0.1", port, token)
    return made


@dataclass
class GameServer:
    """Listens on *port*, 0 for any. asked: the orders it got, in order, each with when. refuse: answers to give, by what is to be done. silent: takes orders and answers none."""

    port: int = 0
    asked: list[dict[str, Any]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    refuse: dict[str, str] = field(default_factory=dict)
    silent: bool = False
    _writers: list[asyncio.StreamWriter] = field(default_factory=list)
    _server: asyncio.Server | None = None

    async def __aenter__(self) -> GameServer:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await self.drop()

    async def drop(self) -> None:
        """Break all connections."""
        for writer in self._writers:
            writer.close()
        self._writers.clear()
        await asyncio.sleep(0.01)

    async def connected(self) -> None:
        while not self._writers:
            await asyncio.sleep(0.01)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hello = json.loads(await reader.readline())
        ok = hello == {"token": TOKEN}
        writer.write(json.dumps({"ok": ok}).encode() + b"\n")
        if not ok:
            writer.close()
            return
        self._writers.append(writer)
        try:
            while line := await reader.readline():
                order = json.loads(line)
                if order["do"] == "say":
                    self.said.append(order["text"])
                    continue
                self.asked.append({**order, "at": time.monotonic()})
                if self.silent:
                    continue
                why = self.refuse.get(order["do"], "")
                writer.write(json.dumps({"order": order["order"], "ok": not why, "why": why}).encode() + b"\n")
        except ConnectionError:
            pass

    def say(
        self,
        id: str,
        text: str,
        player: int = 7,
        name: str = "Ann",
        room: str = "lobby",
        role: str = "",
        new: bool = False,
    ) -> None:
        """Let a player write to whoever is connected."""
        said = {
            "id": id,
            "room": room,
            "player": player,
            "name": name,
            "role": role,
            "new": new,
            "text": text,
        }
        for writer in self._writers:
            writer.write(json.dumps(said).encode() + b"\n")

    def done(self) -> list[tuple[str, Any]]:
        """Return what was ordered: what, and about which message or player."""
        return [(order["do"], order.get("message", order["player"])) for order in self.asked]
