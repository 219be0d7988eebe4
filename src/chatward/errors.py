"""Every error chatward raises on purpose, each with its exit code and HTTP status.

    ChatwardError ............................ 1   500
    ├── UsageError ........................... 2   400   options that contradict each other
    ├── DataError ........................... 10   422
    │   ├── DataNotFoundError ............... 11   404   the file or folder isn't there
    │   ├── NotUtf8Error .................... 12   415   bytes that aren't UTF-8
    │   ├── EmptyDataError .................. 13   422   no row to work on
    │   ├── MissingColumnError .............. 14   422   the named column isn't there
    │   ├── BadRowError ..................... 15   422   a training row that can't be used
    │   ├── UnknownFormatError .............. 16   415   neither CSV, JSONL nor Parquet
    │   ├── CorrectionsError ................ 17   422   corrected labels that fit no row
    │   └── MatchError ...................... 18   422   a match or a replay that can't be read
    │       └── MatchNotParsedError ......... 19   409   a match with no chat in it yet
    ├── RecipeError ......................... 20   422   a wrong key or value in a recipe
    ├── BackboneError ....................... 21   404   a pre-trained encoder that can't be loaded
    ├── ResumeError ......................... 22   409   kept training state that can't be continued
    ├── ParityError ......................... 23   500   the exported model strays from the trained one
    ├── ModelError .......................... 30   500
    │   ├── ModelNotFoundError .............. 31   404   no such model folder
    │   ├── ManifestError ................... 32   500   no manifest, or one that can't be read
    │   ├── ModelFormatError ................ 33   500   written for another version of chatward
    │   ├── ModelIntegrityError ............. 34   500   a file missing, added or changed
    │   ├── LabelsError ..................... 35   422   a classifier whose labels aren't the three levels
    │   └── NothingComparedError ............ 36   422   not one of the models could be measured
    ├── MessageTypeError (a TypeError too) .. 40   422   a message that isn't a string
    ├── OutputError ......................... 50   500   a result that can't be written
    │   └── OutputBusyError ................. 51   409   another job is writing it
    ├── MissingExtraError ................... 60   501   an optional dependency isn't installed
    ├── PortError ........................... 61   500   the web page's port is taken
    ├── HubError ............................ 70   502   the Hub can't be reached, refuses or breaks off
    │   └── HubAccessError .................. 71   403   no token, or one that may not do this
    ├── OpenDotaError ....................... 72   502   OpenDota can't be reached, refuses, or its limit is used up
    ├── StoreError .......................... 73   502   an object store that can't be reached, or refuses
    │   └── StoreAccessError ................ 74   403   no rights to it, or wrong ones
    ├── EngineError ......................... 75   502   a cluster that can't be reached, or that lost the work
    ├── PolicyError ......................... 80   422   a wrong key or value in a moderation policy
    ├── LedgerError ......................... 81   500   a record that can't be used
    │   ├── LedgerUnavailableError .......... 82   503   its database can't be reached
    │   ├── LedgerFullError ................. 83   507   its disk is full
    │   ├── RecordNotFoundError ............. 84   404   no such decision, or another's
    │   └── ConflictError ................... 85   409   what is already recorded says otherwise
    ├── KeysError ........................... 86   500   a file of API keys that can't be used
    ├── RequestError ........................ 87   400   what a client asked of the service, in a way it can't be answered
    │   ├── UnauthorisedError ............... 88   401   no API key, or a wrong one
    │   ├── ForbiddenError .................. 89   403   an API key that may not do this
    │   ├── TooLargeError ................... 90   413   a body, batch or message over its limit
    │   └── BusyError ....................... 91   429   more than can be answered now, or than the key may ask
    ├── PlatformError ....................... 92   502   a chat platform that can't be reached, or refuses
    │   └── PlatformAccessError ............. 93   403   no token for it, a wrong one, or one that may not do this
    └── StreamError ......................... 94   502   a stream's server that can't be reached, or refuses
        └── StreamAccessError ............... 95   403   a wrong password for it, or a user who may not do this

Codes 0, 1, 2 and 130 keep their usual meaning: success, unforeseen failure, wrong usage, Ctrl-C.
"""

from __future__ import annotations

import re
from typing import ClassVar, Final

_FOLDERS: Final = re.compile(
    r"(?<![\w:/.\\])(?:~|\.{0,2}|[A-Za-z]:)(?:[/\\][^\s'\"/\\:,;()]+)*[/\\](?=[^\s'\"/\\:,;()])"
)


def without_paths(text: str) -> str:
    """Return *text* with each path of folders left out before a file's name: where files lay is nobody's business.

    Hub names (``user/model``) and addresses stay as they are.
    """
    return _FOLDERS.sub("", text)


class ChatwardError(Exception):
    """Base of the tree. ``str(error)`` says what is wrong, with which value, and what to do."""

    exit_code: ClassVar[int] = 1
    http_status: ClassVar[int] = 500


class UsageError(ChatwardError):
    exit_code = 2
    http_status = 400


class DataError(ChatwardError):
    exit_code = 10
    http_status = 422


class DataNotFoundError(DataError):
    exit_code = 11
    http_status = 404


class NotUtf8Error(DataError):
    exit_code = 12
    http_status = 415


class EmptyDataError(DataError):
    exit_code = 13


class MissingColumnError(DataError):
    exit_code = 14


class BadRowError(DataError):
    exit_code = 15


class UnknownFormatError(DataError):
    exit_code = 16
    http_status = 415


class CorrectionsError(DataError):
    exit_code = 17


class MatchError(DataError):
    exit_code = 18


class MatchNotParsedError(MatchError):
    exit_code = 19
    http_status = 409


class RecipeError(ChatwardError):
    exit_code = 20
    http_status = 422


class BackboneError(ChatwardError):
    exit_code = 21
    http_status = 404


class ResumeError(ChatwardError):
    exit_code = 22
    http_status = 409


class ParityError(ChatwardError):
    exit_code = 23


class ModelError(ChatwardError):
    exit_code = 30


class ModelNotFoundError(ModelError):
    exit_code = 31
    http_status = 404


class ManifestError(ModelError):
    exit_code = 32


class ModelFormatError(ModelError):
    exit_code = 33


class ModelIntegrityError(ModelError):
    exit_code = 34


class LabelsError(ModelError):
    exit_code = 35
    http_status = 422


class NothingComparedError(ModelError):
    exit_code = 36
    http_status = 422


class MessageTypeError(ChatwardError, TypeError):
    exit_code = 40
    http_status = 422


class OutputError(ChatwardError):
    exit_code = 50


class OutputBusyError(OutputError):
    exit_code = 51
    http_status = 409


class MissingExtraError(ChatwardError):
    """An optional dependency is missing; the message names the extra that brings it.

    what: what needs it. missing: the library that wasn't found, where that helps.
    """

    exit_code = 60
    http_status = 501

    def __init__(self, extra: str, what: str, missing: str | None = None) -> None:
        self.extra = extra
        found = f" ({missing} isn't installed)" if missing else ""
        super().__init__(f'{what} needs the "{extra}" extra: pip install "chatward[{extra}]"{found}')


class PortError(ChatwardError):
    exit_code = 61


class HubError(ChatwardError):
    exit_code = 70
    http_status = 502


class HubAccessError(HubError):
    exit_code = 71
    http_status = 403


class OpenDotaError(ChatwardError):
    exit_code = 72
    http_status = 502


class StoreError(ChatwardError):
    exit_code = 73
    http_status = 502


class StoreAccessError(StoreError):
    exit_code = 74
    http_status = 403


class EngineError(ChatwardError):
    exit_code = 75
    http_status = 502


class PolicyError(ChatwardError):
    exit_code = 80
    http_status = 422


class LedgerError(ChatwardError):
    exit_code = 81


class LedgerUnavailableError(LedgerError):
    exit_code = 82
    http_status = 503


class LedgerFullError(LedgerError):
    exit_code = 83
    http_status = 507


class RecordNotFoundError(LedgerError):
    exit_code = 84
    http_status = 404


class ConflictError(LedgerError):
    exit_code = 85
    http_status = 409


class KeysError(ChatwardError):
    exit_code = 86


class RequestError(ChatwardError):
    """What a client asked of the service. code: the same for programs, as ``"message_too_long"``."""

    exit_code = 87
    http_status = 400

    def __init__(self, message: str, code: str = "bad_request") -> None:
        super().__init__(message)
        self.code = code


class UnauthorisedError(RequestError):
    exit_code = 88
    http_status = 401


class ForbiddenError(RequestError):
    exit_code = 89
    http_status = 403


class TooLargeError(RequestError):
    exit_code = 90
    http_status = 413


class BusyError(RequestError):
    """retry_after: seconds after which to ask again, 1 or more."""

    exit_code = 91
    http_status = 429

    def __init__(self, message: str, code: str, retry_after: int) -> None:
        super().__init__(message, code)
        self.retry_after = retry_after


class PlatformError(ChatwardError):
    exit_code = 92
    http_status = 502


class PlatformAccessError(PlatformError):
    exit_code = 93
    http_status = 403


class StreamError(ChatwardError):
    exit_code = 94
    http_status = 502


class StreamAccessError(StreamError):
    exit_code = 95
    http_status = 403
