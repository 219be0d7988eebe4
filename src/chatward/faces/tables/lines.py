"""Physical lines of a text file, numbered, one at a time, none longer than memory allows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, Final

from chatward.errors import DataError, NotUtf8Error
from chatward.faces.tables.places import RemoteFile
from chatward.faces.tables.rows import ROW_BYTES

BOM: Final = b"\xef\xbb\xbf"
_SKIP_BYTES: Final = 1024 * 1024
_ENCODINGS: Final = (
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)
_BINARIES: Final = (
    (b"PAR1", "is a Parquet file: give it a name that ends in .parquet"),
    (b"PK\x03\x04", "is a ZIP archive or an Excel workbook: unpack it, or save it as CSV"),
    (b"\x1f\x8b", "is compressed with gzip: unpack it first, for example with `gunzip`"),
    (b"\x28\xb5\x2f\xfd", "is compressed with zstd: unpack it first, for example with `unzstd`"),
)


class LineFile:
    """A file read line by line; lines end with a line feed.

    offset: bytes read so far. number: lines read so far, so after `read` the line's own number.
    bom: the byte order mark the file starts with, or nothing; no line holds it.
    """

    def __init__(self, path: Path | RemoteFile) -> None:
        """Open *path*. Raises NotUtf8Error for UTF-16 or UTF-32, DataError for what isn't text, StoreError for an object store's own trouble."""
        self.path = path
        try:
            self._file: IO[bytes] = path.open("rb")
            self.size = self._file.seek(0, os.SEEK_END)
            self._file.seek(0)
            head = self._file.read(len(BOM) + 1)
        except OSError as error:
            raise self._unreadable(error) from None
        for mark, encoding in _ENCODINGS:
            if head.startswith(mark):
                self.close()
                raise NotUtf8Error(
                    f"{str(path)!r} is {encoding}, not UTF-8: convert it first, for example "
                    f"`iconv -f {encoding} -t UTF-8`"
                )
        for mark, why in _BINARIES:
            if head.startswith(mark):
                self.close()
                raise DataError(f"{str(path)!r} {why}")
        self.bom = BOM if head.startswith(BOM) else b""
        self.rewind()

    def rewind(self) -> None:
        self.go_to(len(self.bom), 0)

    def go_to(self, offset: int, number: int) -> None:
        """Go on reading at *offset*, where line *number* + 1 starts."""
        self._file.seek(offset)
        self.offset, self.number = offset, number

    def read(self) -> bytes:
        """Return the next line with its end; b"" after the last.

        Of a line longer than ROW_BYTES only the first ROW_BYTES + 1 bytes are returned.
        """
        try:
            line = self._file.readline(ROW_BYTES + 1)
            self.offset += len(line)
            rest = line
            while len(line) > ROW_BYTES and rest and not rest.endswith(b"\n"):
                rest = self._file.readline(_SKIP_BYTES)
                self.offset += len(rest)
        except OSError as error:
            raise self._unreadable(error) from None
        self.number += bool(line)
        return line

    def close(self) -> None:
        self._file.close()

    def _unreadable(self, error: OSError) -> DataError:
        return DataError(
            f"{str(self.path)!r} can't be read ({error.strerror}): check the file, its disk and who may read it"
        )


def split_end(line: bytes) -> tuple[bytes, bytes]:
    """Return *line* without its end, and the end."""
    body = line.rstrip(b"\r\n")
    return body, line[len(body) :]


def not_utf8(path: Path | RemoteFile, line: int, byte: int) -> NotUtf8Error:
    """The error for a file of which no row can be decoded, seen first at *byte* on *line*."""
    return NotUtf8Error(
        f"{str(path)!r} isn't UTF-8 (byte 0x{byte:02x} on line {line}): "
        "convert it first, for example `iconv -f WINDOWS-1252 -t UTF-8`"
    )


def too_long() -> str:
    return f"longer than {ROW_BYTES // 1024**2} MiB: shorten it, or leave it out"
