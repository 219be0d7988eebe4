"""What answering costs: energy and CO2e per 1,000 messages of a finished graph."""

from __future__ import annotations

import itertools
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from chatward import carbon
from chatward.training.export import batches
from chatward.training.graph import session

_SECONDS: Final = 2.0
_ROWS: Final = 2000


def measure_inference(
    graph: Path,
    rows: list[list[int]],
    pad_id: int,
    country: str | None,
    pue: float,
    seconds: float = _SECONDS,
) -> dict[str, Any]:
    """Run *graph* over token ids of chat for *seconds*, on one thread, in batches sorted by length.

    Returns ``messages``, ``messages_per_s``, ``threads``, ``energy_wh`` and ``emissions_g_co2e`` per 1,000 messages (None
    where they can't be had) and the emission report. Tokenising is left out.
    """
    run = session(str(graph))
    parts = list(batches(rows[:: max(1, len(rows) // _ROWS)], pad_id))
    done = 0
    with (
        tempfile.TemporaryDirectory(dir=graph.parent) as folder,
        carbon.track(Path(folder), "chatward inference", country=country, pue=pue) as tracking,
    ):
        began = time.monotonic()
        for places, feeds in itertools.cycle(parts):
            run.run(["logits"], feeds)
            done += len(places)
            if time.monotonic() - began >= seconds:
                break
        spent = time.monotonic() - began
    return {
        "messages": done,
        "messages_per_s": done / spent,
        "threads": 1,
        "per_1000_messages": carbon.per_thousand(tracking.report, done),
        "emissions": tracking.report.as_dict(),
    }
