"""The secret's file, and the hashes made with it."""

import hashlib
import hmac
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from chatward.errors import LedgerError
from chatward.moderation.senders import Senders, read_secret
from tests.moderation.recorded import SECRET


def test_a_secret_is_made_once_and_for_this_user_only(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    before = os.umask(0)  # what the user's mask leaves open isn't what closes the file
    try:
        made = read_secret(path, create=True)
    finally:
        os.umask(before)
    assert len(made) == 32 and len(set(made)) > 8
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_secret(path, create=True) == read_secret(path, create=False) == made
    assert [found.name for found in tmp_path.iterdir()] == ["secret"]
    assert read_secret(tmp_path / "other", create=True) != made


def test_processes_that_start_at_once_agree_on_it(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    code = (
        "import sys; from pathlib import Path; from chatward.moderation.senders import read_secret\n"
        "sys.stdin.readline(); print(read_secret(Path(sys.argv[1]), create=True).hex())"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(6)
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = {process.communicate(timeout=60)[0].strip() for process in started}
    assert said == {path.read_bytes().hex()}
    assert [found.name for found in tmp_path.iterdir()] == ["secret"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620, 0o777])
def test_one_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "secret"
    made = read_secret(path, create=True)
    path.chmod(mode)
    for create in (True, False):
        with pytest.raises(LedgerError, match=rf"mode {mode:04o}.*chmod 600") as raised:
            read_secret(path, create)
        assert made.hex() not in str(raised.value)
    path.chmod(0o400)
    assert read_secret(path, create=False) == made


def test_what_is_no_secret_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    for size in (0, 31):
        short = tmp_path / f"short{size}"
        short.touch(0o600)
        short.write_bytes(b"s" * size)
        with pytest.raises(LedgerError, match=rf"has {size} bytes: give 32 random ones") as raised:
            read_secret(short, create=True)
        assert "sss" not in str(raised.value) and short.read_bytes() == b"s" * size
    with pytest.raises(LedgerError, match="no secret at .*none'.*begun with"):
        read_secret(tmp_path / "none", create=False)
    with pytest.raises(LedgerError, match="make its folder first"):
        read_secret(tmp_path / "nowhere" / "secret", create=True)
    with pytest.raises(LedgerError, match="can't be made or read"):
        read_secret(tmp_path, create=True)
    with pytest.raises(LedgerError, match="isn't an ordinary file"):
        read_secret(Path("/dev/null"), create=False)
    assert not (tmp_path / "none").exists()


def test_hashes_need_the_secret_and_differ_by_space() -> None:
    senders = Senders(SECRET)
    expected = hmac.new(SECRET, b"arena\0ann", hashlib.sha256).hexdigest()[:32]
    assert senders.sender("arena", "ann") == expected
    others = [
        Senders(b"x" * 32).sender("arena", "ann"),
        senders.sender("other", "ann"),
        senders.sender("arena", "Ann"),
        senders.sender("arena", "ann\ud800"),
    ]
    assert len({expected, *others}) == 5
    assert senders.sender("arena", "") is None
    assert senders.text("gg") == senders.text("gg") != senders.text("GG")
    with pytest.raises(LedgerError, match="of 31 bytes is too short"):
        Senders(b"x" * 31)
