"""The options that benchmarks share."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path

from chatward.errors import without_paths


def parser_of(about: str | None) -> argparse.ArgumentParser:
    """Return a parser of --data, --seed and --out. about: the benchmark's docstring, of which its first line is shown."""
    made = argparse.ArgumentParser(description=(about or "").splitlines()[0])
    made.add_argument("--data", type=Path, default=os.environ.get("CHATWARD_DATA"))
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--out", type=Path, help="JSON file to write")
    return made


def parsed(parser: argparse.ArgumentParser, *, needs_data: bool = True) -> argparse.Namespace:
    """Return the options, or end with an error if there is no data to read or --out can't be written."""
    options = parser.parse_args()
    if options.data is not None:
        options.data = Path(options.data)
    elif needs_data:
        parser.error("give --data DIR, or set CHATWARD_DATA")
    if options.out and not options.out.parent.is_dir():
        parser.error(f"no folder at {str(options.out.parent)!r}: make it first, or give another --out")
    if options.out and options.out.exists():
        parser.error(f"{str(options.out)!r} is there already: give another --out, or remove it first")
    return options


def asked() -> str:
    """Return the command that was given, for a report: without paths of this machine."""
    return without_paths(shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]))
