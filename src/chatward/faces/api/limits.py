"""How much one client may send: the numbers of the service, which its OpenAPI names as well."""

from __future__ import annotations

from typing import Final

MAX_MESSAGES: Final = 1000
"""Messages in a request."""

MAX_CHARACTERS: Final = 20_000
"""Characters (code points) in a message: what Perspective takes, and far more than the model reads."""

MAX_NAME: Final = 200
"""Characters of an id, a sender or a channel."""

MAX_ROLES: Final = 20
MAX_NOTE: Final = 2000
"""Characters of an appeal, or of a moderator's note."""

MAX_BODY_BYTES: Final = 2_000_000
"""Bytes of a request's body."""

MAX_SMALL_BODY_BYTES: Final = 64_000
"""Bytes of a body that holds no messages: a verdict, an appeal, a form."""

MAX_HELD_BYTES: Final = 48_000_000
"""Bytes of all bodies that are being read or answered at one time; above it requests are refused."""

MAX_FRAME_BYTES: Final = 200_000
"""Bytes of a WebSocket frame, which holds one message."""

MAX_FRAMES: Final = 256
"""Frames of one connection that wait for their answers; while there are as many no more is read."""

BODY_SECONDS: Final = 10.0
"""Within which a request's body must have come."""

DRAIN_SECONDS: Final = 30.0
"""Within which what is in flight must be done once the service was told to stop."""

QUEUE: Final = 300
"""Messages that may wait, by default."""
