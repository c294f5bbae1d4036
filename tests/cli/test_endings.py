"""A line, and a code that tells whose fault it was."""

from __future__ import annotations

import errno
import re
from pathlib import Path

import pytest

from hosier.cli.endings import ALL_WELL, NOBODY_READS, PROXY_FAILED, TARGET_FAILED, ended, failed
from hosier.cli.main import main
from hosier.errors import AuthError, ConfigError, LocalProtocolError, ProxyConnectionError, ReplyCode, reply_error

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (reply_error(ReplyCode.CONNECTION_REFUSED, "target.example:80"), TARGET_FAILED),
        (ProxyConnectionError("cannot connect to the proxy"), PROXY_FAILED),
        (AuthError("refused"), PROXY_FAILED),
        (OSError("odd"), PROXY_FAILED),
    ],
)
def test_whose_fault(error: Exception, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert failed(error) == code
    assert capsys.readouterr() == ("", f"hosier: {error}\n")


def test_mistakes_are_the_users() -> None:
    with pytest.raises(ConfigError):
        failed(ConfigError("write something else"))
    with pytest.raises(ConfigError, match="octets"):
        failed(LocalProtocolError("a host name has 1 to 255 octets"))


def test_ends_of_connections(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(BrokenPipeError(errno.EPIPE, "Broken pipe")) == NOBODY_READS
    assert capsys.readouterr().err == ""
    assert ended(ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")) == TARGET_FAILED
    assert capsys.readouterr().err == "hosier: the connection broke: Connection reset by peer\n"


@pytest.mark.parametrize("verb", ["connect", "forward", "listen", "probe"])
def test_one_table_for_all(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The same codes in each command's help as in the page."""
    with pytest.raises(SystemExit):
        main([verb, "--help"])
    told = re.findall(r"^ +(\d+)  \w", capsys.readouterr().out, re.MULTILINE)
    page = re.findall(r"^\| (\d+) \|", (ROOT / "docs" / "commands.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert told == page == ["0", "1", "2", "3", "141"]
    assert [int(code) for code in told] == [ALL_WELL, TARGET_FAILED, 2, PROXY_FAILED, NOBODY_READS]
