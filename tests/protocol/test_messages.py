"""The events: immutable values that keep secrets to themselves."""

import pytest

from hosier.errors import ReplyCode
from hosier.protocol.address import UNSPECIFIED
from hosier.protocol.auth.password import Credentials
from hosier.protocol.messages import (
    NEED_DATA,
    PAUSED,
    AuthMessage,
    AuthStep,
    Command,
    MethodsOffered,
    Reply,
    Request,
    Signal,
)


def test_values() -> None:
    assert MethodsOffered(b"\x00") == MethodsOffered(b"\x00")
    assert Request(5, Command.CONNECT, UNSPECIFIED) == Request(5, 1, UNSPECIFIED, b"")
    assert (Signal.NEED_DATA, Signal.PAUSED) == (NEED_DATA, PAUSED)
    with pytest.raises(AttributeError):
        MethodsOffered(b"").methods = b"\x02"  # type: ignore[misc]


def test_only_zero_succeeds() -> None:
    """S5-REQ-44: any nonzero REP is a failure, 0x5A included, which only SOCKS4 means well."""
    assert Reply(ReplyCode.SUCCEEDED).succeeded
    assert not any(Reply(code).succeeded for code in range(1, 256))
    assert Reply(1).bound is UNSPECIFIED  # S5-REQ-47


@pytest.mark.parametrize("message", [AuthMessage, AuthStep])
def test_no_secret_is_printed(message: type[AuthMessage]) -> None:
    """UP-REQ-13: neither directly nor inside something else."""
    shown = repr([message(Credentials(b"user", b"hunter2")), message(b"hunter2")])
    assert "hunter2" not in shown
    assert "Credentials" in shown
