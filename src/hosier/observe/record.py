"""What is known of a session when it has ended."""

from collections.abc import Mapping
from typing import NamedTuple

from ..protocol.address import Address

__all__ = ("DatagramCounts", "SessionRecord")


class DatagramCounts(NamedTuple):
    """What a UDP association relayed and what it did not."""

    sent: int
    """Datagrams from client to targets."""

    received: int
    """Datagrams from targets to client."""

    dropped: Mapping[str, int]
    """How many were dropped, by reason; errors that ICMP reported are in it, too."""


class SessionRecord(NamedTuple):
    """One session, for logs, counters and hooks. It holds no secret."""

    client: tuple[str, int]
    """Address and port that the client came from."""

    user: str | None
    """Who it is, if a method or rule established that."""

    version: int
    """4 or 5; 0 if the client spoke neither."""

    method: str
    """The authentication method's number and name; empty if none was selected."""

    command: str
    """"CONNECT" and so on; empty if no request came."""

    target: Address | None
    """What the client asked for, as it asked."""

    dialled: Address | None
    """The address that was reached for it; with BIND, the peer that came."""

    bound: Address | None
    """Where it listened for a peer, as the client was told; None with CONNECT."""

    reply: int | None
    """The reply's code; None if none was sent."""

    sent: int
    """Octets of payload from client to target."""

    received: int
    """Octets of payload from target to client."""

    seconds: float
    """From accept to end."""

    end: str
    """Why it ended, in words."""

    datagrams: DatagramCounts | None = None
    """For UDP ASSOCIATE only; ``sent`` and ``received`` are octets there, too."""

    rule: str = ""
    """Which rule decided, where there are rules."""

    log_level: str = "normal"
    """"silent": no line is to be written about it; else "normal" or "verbose"."""
