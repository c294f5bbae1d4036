"""What is known of a request when it is judged."""

from dataclasses import dataclass

__all__ = ("Facts",)


@dataclass(slots=True)
class Facts:
    """Who asks for what. What is not known yet, or does not exist, is None: a condition on it does not hold."""

    listener: str = ""
    """Where the client came in, as the settings write it: ``127.0.0.1:1080``."""

    client: bytes = b""
    """The client's address, 4 or 16 octets, without disguise."""

    user: str | None = None
    groups: frozenset[str] = frozenset()
    version: int = 5
    method: str = "none"
    """What established the user: ``none``, ``password`` and so on; for SOCKS4 ``ident``, or ``userid``, unproved."""

    command: str = "connect"
    """``connect``, ``bind`` or ``associate``."""

    name: str | None = None
    """What was asked for by name, in plain form (``name_patterns``); None where it was an address."""

    address: bytes | None = None
    """What that stands for, 4 or 16 octets; None until it is looked up."""

    port: int | None = None
    """Of the target; a peer that BIND waits for has none (S4-REQ-34)."""

    minute: int = 0
    """Of the week (``time_windows``)."""
