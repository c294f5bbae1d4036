"""What a client can ask for: one file per command, one line here."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Final

from ...protocol.messages import Command, Request
from .associate import associate
from .bind import bind
from .connect import connect

if TYPE_CHECKING:
    from ..session import Session

__all__ = ("COMMANDS",)

COMMANDS: Final[Mapping[int, Callable[["Session", Request], Awaitable[bytes]]]] = {
    Command.CONNECT: connect,
    Command.BIND: bind,
    Command.UDP_ASSOCIATE: associate,
}
"""A command performs the request, sends its replies and leaves a relay in the session, if there is one to run; it
returns the octets of payload that came early."""
