"""Where a match comes from: a file, standard input, or OpenDota's number."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import BinaryIO

from chatward.errors import DataNotFoundError, MatchError
from chatward.faces.match.match import Match
from chatward.faces.match.opendota import MOST_JSON, read_match
from chatward.faces.match.replay import MOST_BYTES, is_replay, read_replay

STDIN = "-"
_BEGINNING = 8
"""Bytes by which a replay is known."""


def number_of(source: str) -> int | None:
    """Return the match's number where *source* is one and no file of that name lies there; None else."""
    is_number = source.isascii() and source.isdigit() and len(source) < 19
    return int(source) if is_number and not Path(source).exists() else None


def read_source(source: str) -> Match:
    """Read the match in file *source*, an OpenDota match as JSON or a replay; ``-`` reads standard input.

    Raises DataNotFoundError, MatchError (or its MatchNotParsedError) or, for a replay without gem-dota, ModuleNotFoundError.
    """
    what = "standard input" if source == STDIN else repr(source)
    data = _bytes(source, what)
    if is_replay(data):
        return read_replay(data, what)
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise MatchError(
            f"{what} is neither an OpenDota match (JSON) nor a Dota 2 replay (.dem or .dem.bz2): "
            "give one of them, or a match's number"
        ) from None
    return read_match(value, what)


def _bytes(source: str, what: str) -> bytes:
    try:
        if source == STDIN:
            return _read(sys.stdin.buffer, what)
        with Path(source).open("rb") as file:
            return _read(file, what)
    except (FileNotFoundError, NotADirectoryError):
        raise DataNotFoundError(
            f"no file {source!r}, and it is no match's number: give a file, a number, or - for standard input"
        ) from None
    except IsADirectoryError:
        raise MatchError(f"{source!r} is a folder: give a file, or a match's number") from None
    except OSError as error:
        raise MatchError(
            f"{source!r} can't be read ({error.strerror}): change its permissions, or give another file"
        ) from None


def _read(file: BinaryIO, what: str) -> bytes:
    """Read *file*, which may have no end, as far as a match may be long."""
    beginning = file.read(_BEGINNING)
    most, kind = (MOST_BYTES, "replay") if is_replay(beginning) else (MOST_JSON, "OpenDota match")
    data = beginning + file.read(most)
    if len(data) > most:
        raise MatchError(f"{what} is larger than {most >> 20} MB, which no {kind} is: give another file")
    return data
